"""``penstock-log loss=0.3 acc=0.9 step=2``: log from a shell, awk, R or any other language."""

import os
import sys

from penstock.tracking import client
from penstock.wire import event

MYPY = False  # typing takes time to import
if MYPY:
    from typing import Any

HELP = """usage: penstock-log [NAME=NUMBER]... [step=N] [--tag|--param K=V] [--artifact PATH]

  loss=0.3 acc=0.9 step=2   metrics, of one step; without a step each metric counts
  --tag note="try two"      a tag of the run
  --param depth=3           a parameter that the run itself decided
  --artifact model.bin      a file or folder to keep with the results; PATH=NAME renames it

Outside a run it says so, does nothing, and exits with 0. Exit code 2: an argument is not
understood; 1: it could not be logged.
"""

OPTIONS = ("--tag", "--param", "--artifact")


class Wrong(Exception):
    """An argument is not understood; the message says which and why."""


def main(argv: "list[str] | None" = None) -> int:
    """Log what the arguments say; return the exit code."""
    given = sys.argv[1:] if argv is None else argv
    # Python 3.6 in a bare locale takes UTF-8 for broken ASCII.
    arguments = [os.fsencode(each).decode("utf-8", "surrogateescape") for each in given]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")  # noqa: T201
        return 0 if arguments else 2
    try:
        told = parse(arguments)
    except (Wrong, ValueError) as error:
        return _say(str(error), 2)
    try:
        for each in told:
            client.tell(each)
    except (OSError, ValueError) as error:
        return _say("not logged: %s" % error, 1)
    return 0


def _say(what: str, code: int) -> int:
    print("penstock-log: %s" % what, file=sys.stderr)  # noqa: T201
    return code


def parse(arguments: "list[str]") -> "list[dict[str, Any]]":
    """Return the events of the arguments. Raises Wrong, ValueError."""
    metrics: "dict[str, float]" = {}
    step: "int | None" = None
    told: "list[dict[str, Any]]" = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        option, is_joined, value = argument.partition("=")
        if option in OPTIONS:
            if not is_joined and not waiting:
                raise Wrong("%s needs a value (see --help)" % option)
            told.append(_option(option, value if is_joined else waiting.pop(0)))
        elif argument.startswith("-"):
            raise Wrong("unknown option %s (there are %s)" % (option, ", ".join(OPTIONS)))
        elif not is_joined:
            raise Wrong("%r is not NAME=NUMBER" % argument)
        elif option == "step":
            step = event.step(_number(option, value))
        else:
            metrics[event.name(option)] = _number(option, value)
    if metrics:
        told.append({"k": "m", "at": client.now(), "step": step, "values": metrics})
    elif step is not None:
        raise Wrong("a step without a metric")
    return told


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Wrong("%s=%s: a metric is a number" % (name, value)) from None


def _option(option: str, value: str) -> "dict[str, Any]":
    name, is_joined, rest = value.partition("=")
    if option == "--artifact":
        return _artifact(name, rest)
    if not is_joined:
        raise Wrong("%s %s is not K=V" % (option, value))
    kind = option[2:]
    return {"k": kind, "at": client.now(), "values": {event.name(name): event.text(rest)}}


def _artifact(path: str, name: str) -> "dict[str, Any]":
    source = os.path.abspath(path)
    kept = event.inside(name or os.path.basename(source))
    if not os.path.exists(source):
        raise Wrong("--artifact %s: there is no such file or folder" % path)
    return {"k": "file", "at": client.now(), "path": source, "name": kept}


if __name__ == "__main__":
    sys.exit(main())
