"""Tell the time through a seam, so that a simulation can own it."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds since some instant; nobody sets this clock, on this host alone."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some instant; nobody sets this clock, on this host alone."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def stamp(at: datetime) -> float:
    """Return seconds since the epoch: how the store and the wire keep a time."""
    return at.timestamp()


def moment(seconds: float) -> datetime:
    """Return the aware time of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
