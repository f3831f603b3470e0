"""Slurm's ids of jobs, array tasks and steps, as text and back.

Source: ``_print_job_job_id`` of squeue and ``_xlate_array_task_str`` of Slurm's protocol; seen on
22.05: a list that is cut off may end without ``...`` and without its bracket.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Tasks: TypeAlias = "frozenset[int] | range | None"

MAX_INDEX = 4_000_000  # MaxArraySize is at most 4,000,001
NO_INDEX = 4_294_967_294  # what Slurm prints for the index of what is no array
NO_ARRAY: frozenset[int] = frozenset()

WHOLE = re.compile(
    r"""\s*(?P<job>\d+)
    (?:_(?:(?P<index>\d+)|(?P<tasks>\[[^\]]*\]?))(?P<narrow>\+(?!\d))?)?  # narrow: the column is
    (?:\+(?P<component>\d+))?                                             # of a heterogeneous job
    (?:\.(?P<step>[A-Za-z0-9_+]+))?\s*""",
    re.VERBOSE | re.ASCII,
)
PIECE = re.compile(r"\s*(\d+)(?:-(\d+)(?::(\d+))?)?\s*", re.ASCII)
CUT = re.compile(r"\.\.\.|…|\+$")


@dataclass(frozen=True)
class Expression:
    """A job id as printed. ``tasks`` is None where the list was cut off, empty for no array."""

    job: int
    tasks: Tasks = NO_ARRAY
    throttle: int | None = None
    component: int | None = None
    step: str = ""


def parse(text: str) -> Expression:
    """Return what ``12_[3-7,9%2]`` says. Raises ValueError where it is no id."""
    match = WHOLE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no job id")
    job = int(match["job"])
    component = int(match["component"]) if match["component"] else None
    tasks: Tasks = NO_ARRAY
    throttle = None
    if match["narrow"]:
        tasks = None
    elif match["index"]:
        tasks = _one(int(match["index"]))
    elif match["tasks"]:
        tasks, throttle = _list(match["tasks"])
    return Expression(job, tasks, throttle, component, match["step"] or "")


def _one(index: int) -> Tasks:
    return NO_ARRAY if index == NO_INDEX else frozenset(_range(str(index)))


def _list(text: str) -> tuple[Tasks, int | None]:
    body, _, throttle = text.removeprefix("[").removesuffix("]").partition("%")
    limit = int(throttle) if throttle.isdecimal() else None
    if not text.endswith("]") or CUT.search(body):
        return None, limit
    if throttle and limit is None:
        raise ValueError(f"{throttle!r} is no limit of tasks, in {text!r}")
    return indices(body), limit or None


def indices(text: str) -> frozenset[int] | range:
    """Return the indices of ``3-7,9``, ``0-20:4``. Raises ValueError."""
    pieces = [_range(piece) for piece in text.split(",")]
    if len(pieces) == 1 and len(pieces[0]) > 1:
        return pieces[0]
    return frozenset(index for piece in pieces for index in piece)


def _range(piece: str) -> range:
    match = PIECE.fullmatch(piece)
    if match is None:
        raise ValueError(f"{piece!r} is no range of indices")
    first, last, step = (None if part is None else int(part) for part in match.groups())
    assert first is not None
    last = first if last is None else last
    if last < first or step == 0 or last > MAX_INDEX:
        raise ValueError(f"{piece!r} is no range of indices")
    return range(first, last + 1, step or 1)


def spell(tasks: Iterable[int]) -> str:
    """Return indices as ``1-3,5``; without steps, which scancel does not take everywhere."""
    pieces: list[str] = []
    first = last = None
    for index in sorted(set(tasks)):
        if last is not None and index == last + 1:
            last = index
            continue
        if first is not None:
            pieces.append(f"{first}-{last}" if last != first else f"{first}")
        first = last = index
    if first is not None:
        pieces.append(f"{first}-{last}" if last != first else f"{first}")
    return ",".join(pieces)


def spelled(targets: Iterable[tuple[int, int | None]], at_once: int) -> Iterator[str]:
    """Yield ``12`` for whole jobs, ``12_[1-3,7]`` for tasks of others, so many in one."""
    tasks: dict[int, set[int]] = defaultdict(set)
    whole: dict[int, None] = {}
    for job, index in targets:
        if index is None:
            whole[job] = None
        else:
            tasks[job].add(index)
    yield from (str(job) for job in whole)
    for job in (one for one in tasks if one not in whole):
        every = sorted(tasks[job])
        for start in range(0, len(every), at_once):
            yield f"{job}_[{spell(every[start : start + at_once])}]"
