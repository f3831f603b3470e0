"""The seam to the scheduler: a few verbs, and errors that never hide what is not known."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from penstock.model.evidence import Poll
from penstock.model.run import Capabilities, Limits
from penstock.model.spec import Request


@dataclass(frozen=True)
class Submission:
    """An array for the scheduler. The name of its job begins with ``token``."""

    token: str  # [a-z0-9-], at most 64 characters
    label: str  # for people: the rest of the job's name, [A-Za-z0-9._-]
    size: int  # indices 0 … size-1
    throttle: int | None
    request: Request
    folder: str  # absolute, of the array; holds script.sh
    log: str  # of the scheduler itself, appended to


class Scheduler(Protocol):
    """Ask, submit, cancel. SchedulerError from any verb means: nothing is known by it."""

    def capabilities(self) -> Capabilities:
        """Return what this scheduler is and can do; asked once, then remembered."""

    def limits(self) -> Limits:
        """Return what the cluster lets this user submit now."""

    def check(self, submission: Submission) -> None:
        """Raise Refused or LimitReached where the scheduler would refuse; submit nothing."""

    def submit(self, submission: Submission) -> int:
        """Submit ``<folder>/script.sh`` as an array job; return its job id.

        Raises Refused (for good), LimitReached (for now; NoRoom: fewer may fit), SchedulerMissing:
        in each of these it is sure that nothing was submitted. Raises Unsure where it may have
        been.
        """

    def observe(self) -> Poll:
        """Return the scheduler's word on all jobs of this user that it knows, ended ones too."""

    def history(self, jobs: Iterable[int], *, since: datetime) -> Poll:
        """Return the accounting's word on arrays by job id; one question for all of them."""

    def find(self, token: str, *, since: datetime) -> Poll:
        """Return the accounting's word on jobs by token, over every state and a wide window."""

    def cancel(self, targets: Iterable[tuple[int, int | None]]) -> None:
        """Cancel tasks as (job, index), or whole jobs with index None. Ended ones are no error."""
