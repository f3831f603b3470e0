"""How often to look at the queue: quick after a change, slower in quiet times and after errors.

And slower where its answers take long.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

SLOWER = 1.5
BACK_OFF = 2.0
REST = 10  # times as long as an answer took: a controller that is slow has too much to do


@dataclass(frozen=True)
class Pace:
    """The last look at the queue, and how long to wait after it (seconds).

    Beside them what people are told of silences: who answered when, and when absence means much.
    """

    at: datetime | None = None
    wait_s: float = 0
    answered_at: datetime | None = None  # the last look that was no failure
    accounting_at: datetime | None = None  # when the accounting was asked last
    accounting_answered_at: datetime | None = None
    absent_s: float | None = None  # the cluster's MinJobAge and its accounting's lag

    @property
    def unanswered(self) -> str:
        """Return who did not answer when asked last: ``queue``, ``accounting`` or nobody."""
        if self.at is not None and self.at != self.answered_at:
            return "queue"
        return "accounting" if self.accounting_at != self.accounting_answered_at else ""

    def is_due(self, now: datetime, *, floor_s: float = 0, force: bool = False) -> bool:
        """Return whether it is time to look. A clock that went back does not stop the looks.

        ``force``: as soon as the site allows it, which is so long after the last (``floor_s``).
        """
        if self.at is None or now < self.at:
            return True
        wait_s = max(floor_s, 0 if force else self.wait_s)
        return now - self.at >= timedelta(seconds=wait_s)


def after(
    last: Pace,
    now: datetime,
    *,
    changed: bool,
    failed: bool,
    bounds_s: tuple[float, float],
    took_s: float = 0,
) -> Pace:
    """Return the pace after a look. ``bounds_s``: the site's shortest and longest wait."""
    shortest, longest = bounds_s
    wait_s = max(last.wait_s, shortest)
    if failed:
        wait_s *= BACK_OFF
    elif changed:
        wait_s = shortest
    else:
        wait_s *= SLOWER
    return replace(
        last,
        at=now,
        wait_s=max(shortest, min(max(wait_s, REST * took_s), longest)),
        answered_at=last.answered_at if failed else now,
    )


def accounted(pace: Pace, now: datetime, *, answered: bool) -> Pace:
    """Return the pace with that the accounting was asked, and whether it answered."""
    last = now if answered else pace.accounting_answered_at
    return replace(pace, accounting_at=now, accounting_answered_at=last)
