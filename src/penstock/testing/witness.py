"""A cluster that remembers what really was, whatever its accounting shows: for judges."""

from penstock.testing import control
from penstock.testing.accounting import Row, row_of
from penstock.testing.core import SlurmError
from penstock.testing.jobs import ENDS, PENDING, Job
from penstock.testing.model import Cluster
from penstock.testing.site import Site


class Witness(Cluster):
    """Keep each segment of each job under the name that it was submitted with."""

    def __init__(self, site: Site, *, seed: int) -> None:
        super().__init__(site, seed=seed)
        self._truth: dict[tuple[int, int], tuple[str, Row]] = {}  # the first name, and the row
        self._ends: dict[int, int] = {}  # how often each row has ended
        self.withdrawn: dict[tuple[str, int], int] = {}  # (first name, index) → uid

    def tell(self, job: Job, **changes: object) -> None:
        """Keep the record, and send it to the accounting."""
        if job.db == 0:
            job.db = self.accounting.new()
        row = row_of(job, **changes)
        old = self._truth.get((job.db, self._ends.get(job.db, 0)))
        if old is not None and old[1].state in ENDS and row.state == "REQUEUED":
            self._ends[job.db] = self._ends.get(job.db, 0) + 1  # it had ended, and is run again
        self._truth[job.db, self._ends.get(job.db, 0)] = job.options.name, row
        super().tell(job, **changes)

    def cancel(self, target: str | int, *, user: str = "alice", signal: int | None = None) -> None:
        """Keep who cancelled tasks that leave no row, and cancel."""
        going = []
        try:
            for job, some in control.find(self, str(target)):
                if job.state == PENDING and job.flag != "COMPLETING" and some is not None:
                    going += [(job.options.name, index) for index in some]
        except SlurmError:
            going = []
        super().cancel(target, user=user, signal=signal)
        self.withdrawn |= dict.fromkeys(going, self.who(user).uid)

    def segments(self, token: str, index: int) -> list[Row]:
        """Return all that ever was of one element, the oldest first."""
        return [
            row
            for _, (name, row) in sorted(self._truth.items())
            if name.startswith(token + ".") and _stands_for(row, index)
        ]

    def was_withdrawn(self, token: str, index: int) -> bool:
        """Return whether a task was cancelled while it waited in the rest of its array."""
        return any(at == index and name.startswith(token + ".") for name, at in self.withdrawn)

    def jobs_of(self, token: str) -> set[int]:
        """Return the ids of the jobs that an array was submitted as."""
        rows = [row for name, row in self._truth.values() if name.startswith(token + ".")]
        return {row.array or row.id for row in rows}


def _stands_for(row: Row, index: int) -> bool:
    if row.index is not None:
        return row.index == index
    return index in indices(row.rest)


def indices(text: str) -> set[int]:
    """Return the indices of ``3-7,9%2``."""
    found: set[int] = set()
    for part in filter(None, text.partition("%")[0].split(",")):
        low, _, high = part.partition(":")[0].partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found
