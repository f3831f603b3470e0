"""How often to look at the queue: quick after a change, slower in quiet times and after errors.

And slower where its answers take long.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

SLOWER = 1.5
BACK_OFF = 2.0
REST = 10  # times as long as an answer took: a controller that is slow has too much to do


@dataclass(frozen=True)
class Pace:
    """The last look at the queue, and how long to wait after it (seconds)."""

    at: datetime | None = None
    wait_s: float = 0

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to look. A clock that went back does not stop the looks."""
        if self.at is None or now < self.at:
            return True
        return now - self.at >= timedelta(seconds=self.wait_s)


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
    return Pace(now, max(shortest, min(max(wait_s, REST * took_s), longest)))
