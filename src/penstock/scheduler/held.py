"""Tell held tasks of an array from those with which squeue puts them in one row."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from penstock.model.evidence import Poll, Task
from penstock.model.state import is_held_in_part

AT_ONCE = 1000  # jobs of one question


def apart(poll: Poll, ask: Callable[[Sequence[str]], Poll]) -> Poll:
    """Return a queue's answer with such arrays as they are: they are asked about task by task.

    ``ask`` takes squeue's options. An answer that fails is none to the whole: by the joined row a
    held task would be queued again.
    """
    jobs = sorted({task.job for task in poll.tasks if is_held_in_part(task.reason)})
    for first in range(0, len(jobs), AT_ONCE):
        some = jobs[first : first + AT_ONCE]
        told = ask(("--array", f"--jobs={','.join(map(str, some))}"))
        others = [task for task in poll.tasks if task.job not in some]
        tasks = (*others, *_alike(told.tasks))
        odd = tuple(dict.fromkeys([*poll.odd, *told.odd]))
        poll = replace(poll, tasks=tasks, odd=odd, again=poll.again + 1)
    return poll


def _alike(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks that are one record of Slurm as one: ten thousand may wait for the same."""
    found: dict[Task, frozenset[int]] = {}
    for task in tasks:
        record = replace(task, tasks=None)
        found[record] = found.get(record, frozenset()) | frozenset(task.tasks or ())
    return [replace(record, tasks=indices) for record, indices in found.items()]
