"""``request`` of a spec: what one run asks of the cluster, and sbatch's own options."""

import re
from collections.abc import Callable

from penstock.model.spec import Request
from penstock.planning import units
from penstock.planning.node import Node

_KEYS = ("cpus", "gpus", "mem", "time", "partition", "account", "qos", "options")
_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.:@=+-]*"  # a name of the cluster's: no space, no quote
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(?:=(.*))?")
_LONGEST = 4000

# Options that are Penstock's, each with the reason, or with the way to get the same.
OWNED: dict[str, str] = {
    "account": "use `account:` of the request",
    "array": "the runs are the array; `max_parallel:` limits how many run at once",
    "chdir": "each run has a working folder of its own",
    "clusters": "Penstock looks for its jobs on one cluster, and would not find these",
    "cpus-per-task": "use `cpus:` of the request",
    "dependency": "Slurm runs jobs whose dependency it has forgotten: Penstock does the waiting",
    "error": "the log of each run is kept by Penstock: `penstock logs`",
    "export": "the environment is the spec's: use `env:`",
    "export-file": "the environment is the spec's: use `env:`",
    "get-user-env": "it starts a login shell for each run, and holds jobs where that fails",
    "gpus": "use `gpus:` of the request",
    "help": "it submits nothing",
    "input": "commands get no input: have the command open the file",
    "job-name": "Penstock finds its jobs by their names",
    "mem": "use `mem:` of the request",
    "no-requeue": "Penstock says --requeue, so that not both it and Slurm try again",
    "open-mode": "a requeued job must add to the log, not empty it",
    "output": "the log of each run is kept by Penstock: `penstock logs`",
    "parsable": "Penstock reads what sbatch says",
    "partition": "use `partition:` of the request",
    "qos": "use `qos:` of the request",
    "quiet": "Penstock reads what sbatch says",
    "requeue": "Penstock says it already",
    "test-only": "it submits nothing; `penstock submit --dry-run` shows what would be",
    "time": "use `time:` of the request",
    "usage": "it submits nothing",
    "verbose": "Penstock reads what sbatch says",
    "version": "it submits nothing",
    "wait": "sbatch would not come back before the last run has ended",
    "wrap": "the script is Penstock's; what runs is `command:`",
}
_SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint",
    "c": "cpus-per-task", "D": "chdir", "d": "dependency", "e": "error", "F": "nodefile",
    "G": "gpus", "H": "hold", "h": "help", "i": "input", "J": "job-name", "k": "no-kill",
    "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes", "n": "ntasks",
    "O": "overcommit", "o": "output", "p": "partition", "Q": "quiet", "q": "qos",
    "S": "core-spec", "s": "oversubscribe", "t": "time", "V": "version", "v": "verbose",
    "W": "wait", "w": "nodelist", "x": "exclude",
}  # fmt: skip


def request(node: Node | None) -> Request:
    """Return the resources that a stage asks for. Raises SpecError."""
    if node is None:
        return Request()
    keys = node.mapping(_KEYS)
    made = Request(
        cpus=keys["cpus"].whole(1) if "cpus" in keys else 1,
        gpus=keys["gpus"].whole(0) if "gpus" in keys else 0,
        mem_mb=_amount(keys.get("mem"), units.mem_mb, units.MEM_HINT),
        time_s=_amount(keys.get("time"), units.time_s, units.TIME_HINT),
        partition=_word(keys.get("partition"), f"{_WORD}(?:,{_WORD})*"),  # any of several
        account=_word(keys.get("account")),
        qos=_word(keys.get("qos")),
        options=_options(keys.get("options")),
    )
    if made.gpus and any(option.startswith("--gres=") for option in made.options):
        hint = "keep one: `gpus: 1`, or `--gres=gpu:a100:1` alone"
        raise keys["options"].error("--gres and `gpus` both ask for devices", hint)
    return made


def _amount(node: Node | None, read: Callable[[str], int], hint: str) -> int | None:
    if node is None:
        return None
    try:
        return read(node.text())
    except ValueError as error:
        raise node.error(str(error), hint) from error


def _word(node: Node | None, pattern: str = _WORD) -> str | None:
    return None if node is None else node.string(pattern, "a name that Slurm can have")


# --- sbatch's own


def _options(node: Node | None) -> tuple[str, ...]:
    return () if node is None else tuple(map(_option, node.items()))


def _option(node: Node) -> str:
    text = node.text()
    if short := re.match(r"-([A-Za-z])", text):
        hint = f"write --{_SHORT[short[1]]}=…" if short[1] in _SHORT else "write its long name"
        raise node.error(f"{short[0]} is a short option; one can take it for another", hint)
    if not text.isprintable() or len(text) > _LONGEST:
        raise node.error("an option is one line of printable text", "write each as its own element")
    match = _OPTION.fullmatch(text)
    if match is None:
        hint = "--name=value, each as its own element: [--constraint=a100, --exclusive]"
        raise node.error(f"{text!r} is not an option of sbatch", hint)
    reason = _owner(match[1])
    if reason:
        raise node.error(f"--{match[1]} is not for a spec to set", reason)
    if match[1] == "signal":
        _check_signal(node, match[2] or "")
    return text


def _owner(name: str) -> str:
    """Return why an option, perhaps in a shortened form, is Penstock's; "" where it is not."""
    if name in OWNED:
        return OWNED[name]
    longer = next((owned for owned in OWNED if owned.startswith(name)), None)
    return f"sbatch takes it for --{longer}: {OWNED[longer]}" if longer else ""


def _check_signal(node: Node, value: str) -> None:
    """Allow what reaches a run: without ``B:`` a signal goes to steps, and a run is none."""
    if not re.fullmatch(r"B:(?:SIG)?(?:USR1|USR2|TERM|INT)(?:@\d+)?", value):
        raise node.error(
            f"--signal={value} would not reach the command",
            "--signal=B:USR1@120 sends USR1 two minutes before the time limit (or USR2, TERM, INT)",
        )
