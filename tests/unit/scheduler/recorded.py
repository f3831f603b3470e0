"""What real Slurms printed, from tests/data."""

import json
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "data" / "slurm-22.05.8"


@cache
def index() -> dict[str, dict[str, Any]]:
    """Return the recordings by name."""
    return {row["name"]: row for row in json.loads((DATA / "index.json").read_text())}


def out(name: str) -> str:
    """Return what a command printed."""
    return (DATA / f"{name}.out").read_text()


def err(name: str) -> str:
    """Return what a command printed as its errors."""
    path = DATA / f"{name}.err"
    return path.read_text() if path.exists() else ""


def option(name: str, flag: str) -> str:
    """Return the value of an option of the command."""
    words = index()[name]["command"].split()
    return str(words[words.index(flag) + 1]).strip("'")
