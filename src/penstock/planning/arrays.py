"""Plan: from runs that are READY to arrays for the scheduler. Pure; it serves ``--dry-run`` too."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from penstock.errors import Refused
from penstock.model.run import Limits, PlannedArray, ReadyRun, StageRow
from penstock.model.spec import Request, Stage
from penstock.planning.units import people_time

_LABEL = 100  # characters; with the token it stays below the 255 that sacct keeps of a name


@dataclass
class _Room:
    """How much more of one stage may be planned."""

    stage: Stage
    arrays_left: int | None  # None: as many as it takes
    groups: dict[Request, list[ReadyRun]] = field(default_factory=dict)
    by_attempt: dict[int, list[ReadyRun]] = field(default_factory=dict)  # of these groups


def request_for(stage: Stage, attempt: int) -> Request:  # noqa: ARG001  a retry may ask for more
    """Return what an attempt (from 1) asks for: a function of these alone, so nothing is stored."""
    return stage.request


def plan(
    ready: Iterable[ReadyRun],
    stages: Mapping[int, StageRow],
    limits: Limits,
    room: int | None,
    busy: Mapping[int, int] | None = None,
) -> Iterator[PlannedArray]:
    """Yield arrays for the runs that may go to the scheduler now, in the order of ``ready``.

    An array holds runs of one stage with one request, as many as the cluster takes in one; the runs
    of a stage are spread evenly over as few arrays as they need. All together hold at most ``room``
    runs (None: no limit).

    ``max_parallel`` is divided over the arrays of its stage, for a throttle holds within one array
    only. ``busy`` is what the live arrays of each stage already have of it (the sum of their
    throttles). Where less is left than there are arrays, only as many are planned, one at a time
    each; the rest stays READY until an array has ended. Runs that are held back take no room, so
    those of other stages go ahead.
    """
    most = min(limits.max_array_size, limits.max_array_tasks or limits.max_array_size)
    stages_now: dict[int, _Room] = {}
    left = room
    for run in ready:
        if left is not None and left <= 0:
            break
        stage = stages[run.stage].stage
        if run.stage not in stages_now:
            free = _free(stage, (busy or {}).get(run.stage, 0))
            stages_now[run.stage] = _Room(stage, free)
        if _take(stages_now[run.stage], run, most) and left is not None:
            left -= 1
    for key, taken in stages_now.items():
        yield from _arrays(key, taken, most, (busy or {}).get(key, 0))


def _free(stage: Stage, busy: int) -> int | None:
    return None if stage.max_parallel is None else max(0, stage.max_parallel - busy)


def _take(now: _Room, run: ReadyRun, most: int) -> bool:
    """Put a run into its group, unless that needs an array more than the stage may have."""
    group = now.by_attempt.get(run.attempt)
    if group is None:
        group = now.groups.setdefault(request_for(now.stage, run.attempt), [])
        now.by_attempt[run.attempt] = group
    if now.arrays_left is not None and len(group) % most == 0:
        if now.arrays_left == 0:
            return False
        now.arrays_left -= 1
    group.append(run)
    return True


def _arrays(key: int, taken: _Room, most: int, busy: int) -> Iterator[PlannedArray]:
    pieces = [
        (request, piece) for request, runs in taken.groups.items() for piece in _split(runs, most)
    ]
    free = _free(taken.stage, busy)
    throttles = _shares(free, [len(piece) for _, piece in pieces])
    for (request, piece), throttle in zip(pieces, throttles, strict=True):
        yield PlannedArray(key, request, tuple(piece), throttle)


def _split(runs: list[ReadyRun], most: int) -> Iterator[list[ReadyRun]]:
    """Yield as few pieces as it takes, in order, their lengths at most one apart."""
    count = -(-len(runs) // most)
    for number in range(count):
        yield runs[len(runs) * number // count : len(runs) * (number + 1) // count]


def _shares(total: int | None, sizes: list[int]) -> list[int | None]:
    """Divide a total, which is no less than there are sizes, evenly; what is of no use goes on."""
    shares: list[int | None] = [None] * len(sizes)
    if total is None:
        return shares
    smallest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for done, index in enumerate(smallest_first):
        share = min(sizes[index], total // (len(sizes) - done))
        shares[index] = share
        total -= share
    return shares


def label(experiment: str, stage: str) -> str:
    """Return the part of a job's name that is for people: ``digits``, ``digits.train``."""
    name = experiment if stage == "main" else f"{experiment}.{stage}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:_LABEL]


def check_time(request: Request, limits: Limits) -> None:
    """Raise Refused where no partition that is named allows the time.

    Slurm accepts such a job, and it pends for ever (PartitionTimeLimit). A partition without a
    known limit allows any time.
    """
    named = request.partition or limits.default_partition
    if request.time_s is None or limits.time_s is None or not named:
        return
    longest = [limits.time_s.get(name) for name in named.split(",")]
    known = [seconds for seconds in longest if seconds is not None]
    if len(known) < len(longest) or request.time_s <= max(known):
        return
    raise Refused(
        f"time: {people_time(request.time_s)} is more than partition {named} allows: "
        f"{people_time(max(known))}",
        hint="ask for less time, or for another partition; Slurm would let it wait for ever",
    )
