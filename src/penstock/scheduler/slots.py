"""Decide which tasks of the local scheduler may start, and why others wait. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

RESOURCES, PRIORITY, THROTTLED = "Resources", "Priority", "JobArrayTaskLimit"


@dataclass(frozen=True)
class Queued:
    """A job with tasks that wait and are not held; in the order of submission."""

    job: int
    cpus: int  # of one task
    throttle: int | None
    waiting: int
    active: int


@dataclass(frozen=True)
class Verdict:
    """How many tasks of a job may start now, and the reason for the rest."""

    job: int
    starts: int
    reason: str


def decide(jobs: Iterable[Queued], free: int) -> list[Verdict]:
    """Give free cpus to jobs in their order; nobody overtakes one that waits for cpus."""
    verdicts = []
    is_blocked = False
    for queued in jobs:
        allowed = queued.waiting
        if queued.throttle is not None:
            allowed = min(allowed, max(queued.throttle - queued.active, 0))
        starts = 0 if is_blocked else min(allowed, free // queued.cpus)
        free -= starts * queued.cpus
        if allowed == 0:
            reason = THROTTLED
        elif is_blocked:
            reason = PRIORITY
        else:
            reason = RESOURCES if starts < allowed else THROTTLED
        is_blocked = is_blocked or starts < allowed
        verdicts.append(Verdict(queued.job, starts, reason))
    return verdicts
