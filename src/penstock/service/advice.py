"""What to do next about a run that failed, by its cause. Pure."""

from penstock.model.run import RunRow
from penstock.model.state import CAUSES, Cause
from penstock.store.detail import AttemptRow

NEXT: dict[Cause, str] = {
    Cause.EXIT: "`penstock logs {run}` has what it wrote last",
    Cause.SIGNAL: "`penstock logs {run}` has what it wrote last (signal 11: it crashed)",
    Cause.MEMORY: "ask for more with `request: mem:` in the spec; `memory` says what it used",
    Cause.TIME: "ask for more with `request: time:` in the spec, or let it do less",
    Cause.DEADLINE: "take the deadline out of `request: options:`, or set a later one",
    Cause.NODE: "submit it again: the machine failed, not the run",
    Cause.LAUNCH: "see the array's slurm.log; the project's folder must be seen by compute nodes",
    Cause.PREEMPTED: "submit it again, or take a partition or qos that is not preempted",
    Cause.REFUSED: "change `request:` in the spec as the message says, and submit again",
    Cause.SETUP: "`penstock logs {run}` says more; is `command:` right, and on the nodes too?",
    Cause.OUTPUT: "make the command write what `outputs:` names, below its working folder",
    Cause.NO_RECORD: "see the array's slurm.log: no `python` on the node, a full disk or quota?",
    Cause.LOST: "submit it again if it is gone; `penstock show {run} --evidence` tells more",
}


def sentence(cause: str | None, detail: str = "") -> str:
    """Return a cause in plain words."""
    if not cause:
        return detail
    words = CAUSES[Cause(cause)] if cause in set(Cause) else cause
    return f"{words}: {detail}" if detail else words


def next_step(run: RunRow) -> str:
    """Return what its user can do; empty where nothing has to be done."""
    if run.cause not in set(Cause):
        return ""
    return NEXT.get(Cause(run.cause), "").format(run=run.name)


def how_it_ended(attempt: AttemptRow) -> str:
    """Return ``exit code 3``, ``signal 9 (SIGKILL)``, or nothing."""
    if attempt.signal:
        return f"signal {attempt.signal}{_signal_name(attempt.signal)}"
    return "" if attempt.exit_code is None else f"exit code {attempt.exit_code}"


def _signal_name(number: int) -> str:
    import signal  # noqa: PLC0415  only for runs that died of one

    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
