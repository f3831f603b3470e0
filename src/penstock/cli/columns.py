"""The columns of a run, by the names that filters use too."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from penstock.cli.output import Column, state_colour
from penstock.cli.text import duration, number, value, when
from penstock.errors import UsageError
from penstock.model.run import RunRow

PLAIN: dict[str, Callable[[RunRow], object]] = {
    "run": lambda run: run.name,
    "uid": lambda run: run.uid,
    "experiment": lambda run: run.experiment,
    "number": lambda run: run.number,
    "stage": lambda run: run.stage,
    "state": lambda run: run.state.value,
    "cause": lambda run: run.cause,
    "attempt": lambda run: run.attempt,
    "created": lambda run: run.created_at,
    "started": lambda run: run.started_at,
    "ended": lambda run: run.ended_at,
}
OTHER = ("duration", "folder")
GROUPS = ("params", "metrics", "tags")
MOST_METRICS = 6


@dataclass(frozen=True)
class Cells:
    """What a table needs beside the run: where results are, and what time it is."""

    results: Path
    now: datetime

    def raw(self, run: RunRow, name: str) -> object:
        """Return a column's value as data."""
        if name == "duration":
            return took(run, self.now)
        if name == "folder":
            return str(self.results / run.name)
        if name in PLAIN:
            return PLAIN[name](run)
        group, _, key = name.partition(".")
        found: object = getattr(run, group).get(key)
        return found

    def shown(self, run: RunRow, name: str) -> str:
        """Return a column's value as people read it."""
        found = self.raw(run, name)
        if name == "state":
            return run.state + (f" ({run.cause})" if run.cause else "")
        if found is None:
            return ""
        if name == "duration":
            return duration(took(run, self.now))
        if isinstance(found, datetime):
            return when(found, self.now)
        return number(float(str(found))) if name.startswith("metrics.") else value(found)

    def written(self, run: RunRow, name: str) -> str:
        """Return a column's value for a file of values."""
        found = self.raw(run, name)
        if found is None:
            return ""
        if isinstance(found, datetime):
            return found.isoformat()
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def took(run: RunRow, now: datetime) -> float | None:
    """Return how long a run took, or has taken until now (seconds)."""
    if run.started_at is None:
        return None
    return ((run.ended_at or now) - run.started_at).total_seconds()


def checked(names: Sequence[str]) -> list[str]:
    """Return the names. Raises UsageError for one that is none."""
    for name in names:
        group, _, key = name.partition(".")
        if name not in PLAIN and name not in OTHER and not (group in GROUPS and key):
            raise UsageError(
                f"there is no column {name!r}",
                hint=f"there are {', '.join((*PLAIN, *OTHER))}, and params., metrics., tags.NAME",
            )
    return list(names)


def usual(runs: Sequence[RunRow]) -> list[str]:
    """Return the columns that tell runs apart: parameters that vary, a few metrics, the state."""
    return [
        "run",
        "state",
        *(f"params.{name}" for name in _varying(runs)),
        *(f"metrics.{name}" for name in _names(run.metrics for run in runs)[:MOST_METRICS]),
        *(["duration"] if any(run.started_at for run in runs) else []),
    ]


def every(runs: Sequence[RunRow]) -> list[str]:
    """Return all columns that some run has a value for."""
    named = (
        f"{group}.{name}"
        for group in GROUPS
        for name in _names(getattr(run, group) for run in runs)
    )
    return [*PLAIN, *OTHER, *named]


def _names(maps: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for one in maps for name in one))


def _varying(runs: Sequence[RunRow]) -> list[str]:
    """Return the parameters that differ among runs; all of them where there is one run."""
    names = _names(run.params for run in runs)
    if len(runs) < 2:
        return names
    missing = object()
    seen = {name: [run.params.get(name, missing) for run in runs] for name in names}
    return [name for name, values in seen.items() if any(one != values[0] for one in values)]


def heads(names: Sequence[str]) -> list[Column]:
    """Return the heads of a table."""
    return [
        Column(
            name.partition(".")[2] or name,
            is_fixed=name == "run",
            is_right=name.startswith("metrics.") or name in ("duration", "number", "attempt"),
            colour=state_colour if name == "state" else lambda _: "",
        )
        for name in names
    ]
