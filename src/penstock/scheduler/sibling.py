"""Follow jobs that another cluster of a federation has taken: here they are REVOKED.

Seen on two clusters of 22.05 in a federation: arrays never leave the cluster that they were sent
to, though all its nodes are drained; single jobs do. squeue with ``--all`` or ``-j`` tells only the
word of this cluster, sacct without ``--federation`` too.
"""

from collections.abc import Callable
from dataclasses import replace

from penstock.errors import SchedulerError
from penstock.model.evidence import Poll, Task
from penstock.model.state import Kind, word

FEDERATION = "--federation"


def followed(poll: Poll, ask: Callable[[], Poll]) -> Poll:
    """Return an answer with what the other clusters say of jobs that are REVOKED here.

    ``ask`` asks them. Where they do not answer, or do not name a job, its word stays REVOKED: no
    end, and nothing that is known of its runs is changed by it.
    """
    revoked = {task.job for task in poll.tasks if is_revoked(task)}
    if not revoked:
        return poll
    try:
        told, why = ask(), "no other cluster names it"
    except SchedulerError as error:
        told, why = replace(poll, tasks=(), odd=()), error.what
    there = [task for task in told.tasks if task.job in revoked and not is_revoked(task)]
    found = {task.job for task in there}
    here = [task for task in poll.tasks if not (task.job in found and is_revoked(task))]
    lost = [_odd(job, why) for job in sorted(revoked - found)]
    odd = tuple(dict.fromkeys([*poll.odd, *told.odd, *lost]))
    return replace(poll, tasks=(*here, *there), odd=odd, again=poll.again + 1)


def is_revoked(task: Task) -> bool:
    """Return whether a cluster says that another one has a job."""
    return word(task.word).kind is Kind.SIBLING


def _odd(job: int, why: str) -> str:
    return (
        f"another cluster of the federation has job {job} (REVOKED), and {why}: its runs stay as "
        f"they are until their own records tell more; `squeue --me {FEDERATION}` shows it"
    )
