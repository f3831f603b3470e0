"""What submitit makes of Slurm's words: its watcher reads a table of sacct, and says what is done.

An answer on a state is whether it is over; submitit gives the word itself as it is.
"""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import SlurmInfoWatcher

HEAD = "JobID|State|NodeList"


def over(asked: dict[str, str]) -> dict[str, object]:
    """Return whether a task is over."""
    watcher = SlurmInfoWatcher()
    rows = [HEAD, f"12_7|{asked['word']}|n1"]
    if asked["step"]:
        rows.append(f"12_7.batch|{asked['step']}|n1")
    told = watcher.read_info("\n".join(rows) + "\n")
    watcher._info_dict.update(told)  # noqa: SLF001  as its own update() does with what sacct prints
    return {"over": watcher.is_done("12_7", mode="cache")}


def tasks(expression: str) -> dict[str, object]:
    """Return the tasks for which it has a state then; none where it does not understand."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        known = SlurmInfoWatcher().read_info(f"{HEAD}\n{expression}|RUNNING|n1\n")
    return {"tasks": None if told else sorted(known)}


def main(file: Path) -> None:
    """Answer all; what is raised is an answer."""
    asked = json.loads(file.read_text())
    states = [answered(over, one) for one in asked["states"]]
    expressions = [answered(tasks, one) for one in asked["expressions"]]
    print(json.dumps({"states": states, "expressions": expressions}))


def answered(ask: Callable[[Any], dict[str, object]], one: object) -> dict[str, object]:
    try:
        return ask(one)
    except Exception as error:  # noqa: BLE001
        return {"raised": type(error).__name__}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
