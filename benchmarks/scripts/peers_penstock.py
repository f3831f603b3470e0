"""What Penstock makes of Slurm's words: a row of squeue or sacct is read, and decided upon."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from penstock.errors import SchedulerError
from penstock.model.evidence import Evidence, Known, Sighting, Task, Transition
from penstock.model.state import FINAL, Cause, State
from penstock.planning.patience import Policy
from penstock.planning.reconcile import decide
from penstock.scheduler import parse
from penstock.scheduler.expression import parse as read

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = AT + timedelta(days=1)
HEAD = "JOBID|ARRAY_JOB_ID|JOBID|STATE|REASON|PARTITION|SUBMIT|START|END|NODES|USER|NAME|.\n"
FIELDS = ("JobID", "State", "Reason", "Submit", "Start", "End", "ExitCode", "JobName")
TIME = "2026-01-31T12:00:00+0000"
POLICY = Policy(
    record_grace=timedelta(seconds=60),
    absent_after=timedelta(seconds=360),
    lost_after=timedelta(hours=1),
    has_accounting=True,
    uid=1000,
)
KINDS = {
    State.QUEUED: "waits",
    State.HELD: "held",
    State.RUNNING: "runs",
    State.ENDING: "ends",
    State.COMPLETED: "well",
}
FAILURES = {
    Cause.EXIT: "user",
    Cause.SIGNAL: "user",
    Cause.MEMORY: "memory",
    Cause.TIME: "time",
    Cause.DEADLINE: "time",
    Cause.NODE: "machine",
    Cause.LAUNCH: "machine",
    Cause.PREEMPTED: "preempted",
}
CANCELLERS = {Cause.USER: "mine", Cause.ADMIN: "admin", Cause.OTHER_USER: "other"}


def queued(job: str, word: str = "RUNNING", reason: str = "None") -> Task:
    """Return what a row of squeue says."""
    fields = (job, "12", "12", word, reason, "batch", TIME, TIME, TIME, "n1", "me", "ps-1.x", ".")
    (task,) = parse.queue(HEAD + "|".join(fields) + "\n", LATER).tasks
    return task


def recorded(job: str, asked: dict[str, str]) -> tuple[Task, ...]:
    """Return what a row of sacct says, and one of its batch step."""
    rows = ["|".join(FIELDS), f"{job}|{asked['word']}||{TIME}|{TIME}|{TIME}|{asked['code']}|ps-1.x"]
    if asked["step"]:
        rows.append(f"{job}.batch|{asked['step']}||{TIME}|{TIME}|{TIME}|0:125|batch")
    return parse.history("\n".join(rows) + "\n", LATER, FIELDS).tasks


def kind(asked: dict[str, str]) -> dict[str, object]:
    """Return what becomes of an attempt of which this is said."""
    known = Known(1, State.QUEUED, 0, sent_at=AT - timedelta(hours=1))
    if asked["by"] == "squeue":
        task = queued("12_7", asked["word"], asked["reason"] or "None")
        seen = Evidence(queue=task, queue_at=LATER)
    else:
        known = Known(1, State.RUNNING, 0, known.sent_at, unknown_since=AT)
        opened = Sighting(0, "12_7", "n1", opened_at=AT, heard_at=AT)
        (task,) = recorded("12_7", asked)
        seen = Evidence(queue_at=LATER, history=task, history_at=LATER, sighting=opened)
    told = decide(known, seen, POLICY, LATER)
    if told is None:
        return {"over": False, "kind": KINDS[known.state]}
    if not isinstance(told, Transition):
        return {"over": False, "kind": "asks"}
    return {"over": told.state in FINAL, "kind": named(told, known)}


def named(told: Transition, known: Known) -> str:
    """Return the name of what was decided."""
    if told.state is State.FAILED:
        return f"failed: {FAILURES.get(told.cause or Cause.LOST, told.cause)}"
    if told.state is State.CANCELLED:
        by = CANCELLERS.get(told.cause or Cause.WITHDRAWN)
        return f"cancelled: {by}" if by else "cancelled"
    is_aged = told.unknown_since is not None and told.state is known.state
    return "unknown" if is_aged else KINDS[told.state]


def tasks(expression: str) -> dict[str, object]:
    """Return the tasks of which a row of squeue with this id speaks; of a step, sacct's."""
    said = read(expression)
    if said.step:
        asked = {"word": "COMPLETED", "code": "0:0", "step": ""}
        return {"tasks": [str(task.job) for task in recorded(expression, asked)]}
    found = queued(expression).tasks
    if found is None:
        return {"tasks": None, "throttle": said.throttle}
    of = "" if said.component is None else f"+{said.component}"
    named = [f"{said.job}_{n}{of}" for n in sorted(found)] or [f"{said.job}{of}"]
    return {"tasks": named, "throttle": said.throttle}


def main(file: Path) -> None:
    """Answer all."""
    asked = json.loads(file.read_text())
    answers: dict[str, list[dict[str, object]]] = {"states": [], "expressions": []}
    for one in asked["states"]:
        try:
            answers["states"].append(kind(one))
        except SchedulerError as error:
            answers["states"].append({"raised": str(error)})
    answers["expressions"] = [tasks(text) for text in asked["expressions"]]
    print(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
