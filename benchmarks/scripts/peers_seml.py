"""What seml makes of Slurm's words: its lists of states, and its reading of squeue's ids.

seml asks squeue for the states of its active lists; what is not there is over for it.
"""

import json
import os
import sys
from pathlib import Path

from seml.settings import SETTINGS
from seml.utils.slurm import get_slurm_arrays_tasks

KINDS = {
    "PENDING": "waits",
    "RUNNING": "runs",
    "PAUSED": "held",
    "INTERRUPTED": "cancelled",
    "FAILED": "failed",
    "COMPLETED": "well",
}


def kind(asked: dict[str, str]) -> dict[str, object]:
    """Return in which of its lists a word is, and whether its squeue would show the task."""
    states, word = SETTINGS.SLURM_STATES, asked["word"]
    is_over = word not in states.ACTIVE
    named = [mine for name, mine in KINDS.items() if word in states[name]]
    return {"over": is_over, "kind": named[0] if named else None}


def tasks(expression: str, folder: Path) -> dict[str, object]:
    """Return the tasks that it takes to be alive where squeue prints one id."""
    (folder / "squeue").write_text(f"#!/bin/sh\ncat <<'END'\n{expression}\nEND\n")
    (folder / "squeue").chmod(0o755)
    arrays = get_slurm_arrays_tasks()
    found = [
        f"{job}_{index}"
        for job, (waiting, running) in arrays.items()
        for index in (*(one for part in waiting for one in part), *running)
    ]
    return {"tasks": sorted(found)}


def main(file: Path) -> None:
    """Answer all; what is raised is an answer."""
    asked = json.loads(file.read_text())
    programs = file.parent / "seml-programs"
    programs.mkdir(exist_ok=True)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    expressions: list[dict[str, object]] = []
    for expression in asked["expressions"]:
        try:
            expressions.append(tasks(expression, programs))
        except Exception as error:  # noqa: BLE001
            expressions.append({"raised": type(error).__name__})
    states = [kind(one) for one in asked["states"]]
    print(json.dumps({"states": states, "expressions": expressions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
