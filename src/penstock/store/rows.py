"""Small things of rows: times that may be NULL, and lists in statements."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from penstock.clock import moment, stamp

FEW = 500  # values in one statement
T = TypeVar("T")


def time(seconds: float | None) -> datetime | None:
    """Return a column's time."""
    return None if seconds is None else moment(seconds)


def seconds(at: datetime | None) -> float | None:
    """Return a time as a column has it."""
    return None if at is None else stamp(at)


def marks(values: Collection[object]) -> str:
    """Return ``(?, ?, ?)``, for IN."""
    return "(" + ", ".join("?" * len(values)) + ")"


def batches(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists that fit into one statement."""
    every = list(values)
    return (every[at : at + FEW] for at in range(0, len(every), FEW))
