"""Watch runs until all have ended: what moved, how fast, how long still."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock.service import query
from penstock.service.project import Project
from penstock.service.query import Standing
from penstock.service.upkeep import freshen

STEP_S = 1.0
WINDOW = timedelta(minutes=10)  # the rate is of this time


@dataclass(frozen=True)
class Progress:
    """How all that is watched stands."""

    at: datetime
    standings: tuple[Standing, ...]
    hindrances: tuple[str, ...]  # why it may not be up to date
    per_s: float | None = None

    @property
    def total(self) -> int:
        """Return how many runs are watched."""
        return sum(one.total for one in self.standings)

    @property
    def over(self) -> int:
        """Return how many have ended."""
        return sum(one.over for one in self.standings)

    @property
    def is_over(self) -> bool:
        """Return whether all have ended."""
        return self.over == self.total

    @property
    def left_s(self) -> float | None:
        """Return how long it takes still, if it goes on like this."""
        if not self.per_s or self.is_over:
            return None
        return (self.total - self.over) / self.per_s


@dataclass
class Rate:
    """How many runs end in a second, over the last while. Pure but for what it remembers."""

    seen: deque[tuple[datetime, int]] = field(default_factory=deque)

    def add(self, at: datetime, over: int) -> float | None:
        """Note how many have ended by now; return the rate, None while none has."""
        self.seen.append((at, over))
        while at - self.seen[0][0] > WINDOW and len(self.seen) > 2:
            self.seen.popleft()
        began, before = self.seen[0]
        took = (at - began).total_seconds()
        return (over - before) / took if over > before and took > 0 else None


def watched(project: Project, experiment: str) -> list[str]:
    """Return what to watch: the one that is named, else all that are not over, else the last."""
    found = query.standings(project, experiment, why=False)
    live = [one.experiment for one in found if not one.is_over]
    return live or [one.experiment for one in found[-1:]]


def watch(project: Project, experiment: str = "") -> Iterator[Progress]:
    """Yield how runs stand, about each second, until all have ended.

    Brings the record up to date itself, with no more questions to the scheduler than a daemon.
    """
    freshen(project)
    names = watched(project, experiment)
    rate = Rate()
    while names:
        hindrances = freshen(project)
        now = project.clock.now()
        found = [one for one in query.standings(project) if one.experiment in names]
        over = sum(one.over for one in found)
        progress = Progress(now, tuple(found), tuple(hindrances), rate.add(now, over))
        yield progress
        if progress.is_over:
            return
        project.clock.sleep(STEP_S)
