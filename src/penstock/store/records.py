"""Check the records of a spool, which its run could have written itself: pure.

Every function takes a record and raises ``ValueError``, ``TypeError``, ``KeyError`` or
``OverflowError`` where it is not what ``wire.spool`` says; ``WRONG`` has these.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from penstock.model.state import Cause
from penstock.store.bodies import compact
from penstock.store.points import MISSING, Columns
from penstock.store.values import columns
from penstock.wire.argv import text as as_argument

WRONG = (ValueError, TypeError, KeyError, OverflowError)
LAST_AT = 2.5e11  # seconds: the year 9892; datetime ends with 9999
NAME = 256  # characters
TEXT = 10_000
_STEP = 1 << 53

Record = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """What points come to. None: they have no number but NaN."""

    last: float
    step: int | None
    min: float | None
    max: float | None
    count: int


def text(value: object, longest: int = NAME) -> str:
    """Return a text that any database takes."""
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError("not a text, or too long")
    if not value.isascii():
        value.encode()  # half a surrogate raises
    if "\0" in value:
        raise ValueError("NUL")
    return value


def name(value: object) -> str:
    """Return a name: a text that is not empty."""
    found = text(value)
    if not found:
        raise ValueError("no name")
    return found


def time(value: object) -> float:
    """Return seconds since the epoch."""
    if not isinstance(value, int | float) or not 0 <= value <= LAST_AT:
        raise ValueError("not a time")
    return float(value)


def whole(value: object, most: int = (1 << 63) - 1) -> int:
    """Return a whole number from 0."""
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError("not a whole number")
    return int(value)


def points(told: Sequence[Record]) -> Columns:
    """Return the points of records of kind ``m``, together: many small ones cost little more."""
    name(told[0]["key"])
    values: list[Any] = []
    times: list[Any] = []
    steps: list[Any] = []
    for record in told:
        new, at, step = record["values"], record["times"], record.get("steps")
        if not isinstance(new, list) or not isinstance(at, list) or len(new) != len(at):
            raise TypeError("not lists of one length")
        if step is None:
            step = [None] * len(new)
        elif not isinstance(step, list) or len(step) != len(new):
            raise TypeError("steps")
        values += new
        times += at
        steps += step
    return Columns(_steps(steps), _times(times), array("d", values))


def _times(seconds: list[Any]) -> "array[int]":
    times = array("d", seconds)
    if times and not 0 <= min(times) <= max(times) <= LAST_AT:
        raise ValueError("times")
    return array("q", map(round, [at * 1000 for at in times]))


def _steps(listed: list[Any]) -> "array[int]":
    try:
        steps = array("q", listed)
        known: array[int] | list[int] = steps
    except TypeError:
        known = [step for step in listed if step is not None]
        steps = array("q", [MISSING if step is None else step for step in listed])
    if known and not -_STEP <= min(known) <= max(known) <= _STEP:
        raise ValueError("steps")
    return steps


def summary(told: Columns) -> Summary:
    """Return what points come to."""
    values: array[float] | list[float] = told.values
    total = sum(values)
    if isnan(total):  # a NaN, or infinities of both signs
        values = [value for value in values if not isnan(value)]
    step = told.steps[-1]
    return Summary(
        last=told.values[-1],
        step=None if step == MISSING else step,
        min=min(values, default=None),
        max=max(values, default=None),
        count=len(told),
    )


def told_param(record: Record) -> tuple[str, float | None, str | None, str]:
    """Return name, number, text and JSON of a parameter that the run told."""
    value = record["value"]
    body = compact(value)
    if len(body) > TEXT:
        raise ValueError("too long")
    return (name(record["name"]), *columns(value), body)


def tag(record: Record) -> tuple[str, str]:
    """Return name and text of a tag."""
    value = record["value"]
    if isinstance(value, list | dict):
        raise TypeError("not a tag")
    return name(record["name"]), text(value if isinstance(value, str) else as_argument(value), TEXT)


def output(record: Record) -> tuple[str, str, int]:
    """Return path (below the run's folder), digest and size of an output."""
    path = text(record["path"], 4096)
    if path.startswith("/") or ".." in path.split("/") or not path:
        raise ValueError("not below the run's folder")
    return path, text(record["digest"]), whole(record["bytes"])


def note(record: Record) -> tuple[float, str]:
    """Return time and text of a note, shortened."""
    what = record["what"]
    return time(record["at"]), text(what[:TEXT] if isinstance(what, str) else what, TEXT)


def exit_text(record: Record) -> str:
    """Return an exit record as the store keeps it. A cause that is not known here is left out."""
    cause = record.get("cause")
    body = {
        "at": time(record["at"]),
        "code": _or_none(record.get("code"), 1 << 31),
        "signal": _or_none(record.get("signal"), 1 << 16),
        "cause": cause if cause in set(Cause) else None,
        "detail": _detail(record.get("detail")),
        "sealed": record.get("sealed") is True,
        "peak": _or_none(record.get("peak")),
        "cpu": _seconds(record.get("cpu")),
        "wall": _seconds(record.get("wall")),
    }
    if body["code"] is None and body["signal"] is None and cause is None:
        raise ValueError("an exit without code, signal or cause")
    return json.dumps(body, separators=(",", ":"))


def _detail(value: object) -> str:
    return text(value[:TEXT], TEXT) if isinstance(value, str) else ""


def _or_none(value: object, most: int = (1 << 63) - 1) -> int | None:
    return None if value is None else whole(value, most)


def _seconds(value: object) -> float | None:
    return None if value is None else time(value)
