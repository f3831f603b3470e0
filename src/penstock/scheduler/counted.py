"""Count what is asked of the scheduler: a line of a small file for each question.

All processes of a user append to the same file; nothing waits for the disk. Costs are those that
``slurm`` and ``pyslurm`` state for their verbs, in RPCs to the controller.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from penstock.clock import Clock, moment, stamp
from penstock.model.evidence import Poll
from penstock.model.run import Capabilities, Limits
from penstock.scheduler.protocol import Scheduler, Submission

COSTS = {
    "capabilities": 2, "limits": 2, "check": 2, "submit": 1, "observe": 3, "cancel": 1,
    "history": 0, "find": 0,
}  # fmt: skip
AGAIN = 3  # of a look's further question: always squeue's
FIRST = {"limits": 2}  # more, the first time
MOST_BYTES = 1 << 18  # some 10,000 questions; then the file of before is replaced


@dataclass(frozen=True)
class Asked:
    """A question."""

    at: datetime
    verb: str
    rpcs: int


class Counted:
    """A scheduler whose questions are counted."""

    def __init__(
        self,
        inner: Scheduler,
        path: Path,
        clock: Clock,
        *,
        is_slurm: bool,
        costs: Mapping[str, int] = COSTS,
    ) -> None:
        self._inner, self._path, self._clock = inner, path, clock
        self._is_slurm, self._costs = is_slurm, {**costs, "again": AGAIN}
        self._seen: set[str] = set()

    def _count(self, verb: str, many: int = 1) -> None:
        rpcs = 0
        if self._is_slurm:
            rpcs = self._costs[verb] * many + (0 if verb in self._seen else FIRST.get(verb, 0))
        self._seen.add(verb)
        line = f"{stamp(self._clock.now()):.0f} {verb} {rpcs}\n"
        with contextlib.suppress(OSError):  # a count is not worth a failure
            if self._path.exists() and self._path.stat().st_size > MOST_BYTES:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def capabilities(self) -> Capabilities:
        """Return what this scheduler is and can do."""
        if "capabilities" not in self._seen:
            self._count("capabilities")
        return self._inner.capabilities()

    def limits(self) -> Limits:
        """Return what the cluster lets this user submit now."""
        self._count("limits")
        return self._inner.limits()

    def check(self, submission: Submission) -> None:
        """Raise where the scheduler would refuse."""
        self._count("check")
        self._inner.check(submission)

    def submit(self, submission: Submission) -> int:
        """Submit an array; return its job id."""
        self._count("submit")
        return self._inner.submit(submission)

    def observe(self) -> Poll:
        """Return the scheduler's word on all jobs of this user."""
        self._count("observe")
        poll = self._inner.observe()
        for _ in range(poll.again):
            self._count("again")
        return poll

    def history(self, jobs: Iterable[int], *, since: datetime) -> Poll:
        """Return the accounting's word on arrays by job id."""
        self._count("history")
        return self._inner.history(jobs, since=since)

    def find(self, token: str, *, since: datetime) -> Poll:
        """Return the accounting's word on jobs by token."""
        self._count("find")
        return self._inner.find(token, since=since)

    def cancel(self, targets: Iterable[tuple[int, int | None]]) -> None:
        """Cancel tasks or whole jobs."""
        asked = list(targets)
        self._count("cancel", len({job for job, _ in asked}))
        self._inner.cancel(asked)


def path_of(home: Path, user: str) -> Path:
    """Return the file of a user's questions."""
    return home / f"asked.{user}"


def asked(path: Path) -> Iterator[Asked]:
    """Yield the questions that are on file; lines that cannot be read are left out."""
    for file in (path.with_name(path.name + ".1"), path):
        with contextlib.suppress(OSError):
            for line in file.read_text(errors="replace").splitlines():
                words = line.split(" ")
                with contextlib.suppress(ValueError, IndexError, OverflowError, OSError):
                    yield Asked(moment(float(words[0])), words[1], int(words[2]))
