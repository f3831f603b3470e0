"""The modelled scheduler: what starts where, what gives way, and why the others wait.

Greedy: in order of tier and priority, each starts where it fits; there are no reservations, so a
large job can starve behind small ones, where a real backfill would hold nodes for it.
"""

from collections.abc import Container

from penstock.testing.core import Core, SlurmError
from penstock.testing.jobs import COMPLETED, ENDS, RUNNING, Job
from penstock.testing.life import needs, preempt, start

WAITS_FOR_NODES = (
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"
)


def look(core: Core) -> None:
    """Start what can start."""
    blocked: set[str] = set()
    for job in sorted(core.pending.values(), key=lambda job: _rank(core, job)):
        if job.id not in core.pending:
            continue
        reason = why_not(core, job)
        if reason:
            job.reason = reason
            continue
        if job.eligible_at is None:
            job.eligible_at = core.now
            core.tell(job)
        if job.het is not None and job.het[1]:
            continue  # the first component starts it
        every = _whole(core, job)
        if not (_start_all(core, job) if job.het is None else _start_whole(core, every)):
            # A throttled array does not block the others; what lacks room is first in its line.
            why = "Priority" if job.partition in blocked else _lacks(core, job)
            blocked.add(job.partition)
            for one in every:
                one.reason = why


def _rank(core: Core, job: Job) -> tuple[int, int, int]:
    return -core.partitions[job.partition].tier, -job.priority, job.id


def why_not(core: Core, job: Job) -> str:
    """Return why a record may not start even with room, or nothing."""
    if job.held_by:
        is_told = job.reason.startswith(("JobHeld", "job requeued"))
        return job.reason if is_told else f"JobHeld{job.held_by.capitalize()}"
    if job.begin_at > core.now:
        return "BeginTime"
    return dependency(core, job) or _refused(core, job)


def _refused(core: Core, job: Job) -> str:
    part = core.partitions[job.partition]
    if part.max_time_s is not None and job.time_s > part.max_time_s:
        return "PartitionTimeLimit"
    if part.accounts is not None and job.account not in part.accounts:
        return (
            f"Job's account not permitted to use this partition "
            f"({part.name} allows {','.join(sorted(part.accounts))} not {job.account})"
        )
    return "" if part.is_up else "PartitionDown"


def dependency(core: Core, job: Job) -> str:
    """Return Dependency, DependencyNeverSatisfied, or nothing.

    A job that the controller has forgotten counts as done, well or not (seen on 22.05).
    """
    for part in filter(None, job.options.dependency.split(",")):
        kind, *ids = part.split(":")
        for text in ids:
            states = {record.state for record in core.records(int(text.partition("_")[0]))}
            if not states <= ENDS:
                return "Dependency"
            if kind == "afterok" and states - {COMPLETED}:
                return "DependencyNeverSatisfied"
            if kind == "afternotok" and states and not states - {COMPLETED}:
                return "DependencyNeverSatisfied"
    return ""


def _start_all(core: Core, job: Job) -> bool:
    """Start as many tasks of a record as fit; return whether nothing waits for room."""
    count = job.count
    has_room = _start_some(core, job)
    if job.rest is not None and job.count < count:
        core.tell(job)
    return has_room


def _start_some(core: Core, job: Job) -> bool:
    while True:
        if job.throttle and core.active.get(job.group, 0) >= job.throttle:
            job.reason = "JobArrayTaskLimit"
            return True
        nodes = fit(core, job)
        if nodes is None:
            return False
        try:
            task = job if job.rest is None else core.split(job, job.rest[0])
        except SlurmError:  # no id is free
            return False
        start(core, task, nodes)
        if task is job:
            return True


def _whole(core: Core, job: Job) -> list[Job]:
    """Return a record; of a heterogeneous job all components that wait."""
    if job.het is None:
        return [job]
    return [one for one in core.pending.values() if one.het and one.het[0] == job.het[0]]


def _start_whole(core: Core, every: list[Job]) -> bool:
    """Start all components of a heterogeneous job, on nodes of their own, or none.

    Return whether none of them waits for room.
    """
    if any(why_not(core, one) for one in every):
        return True
    places: list[tuple[str, ...]] = []
    for one in every:
        nodes = fit(core, one, apart=[name for taken in places for name in taken])
        if nodes is None:
            return False
        places.append(nodes)
    for one, nodes in zip(every, places, strict=True):
        start(core, one, nodes)
    return True


def fit(core: Core, job: Job, *, apart: Container[str] = ()) -> tuple[str, ...] | None:
    """Return the nodes on which a job can start now, apart from some."""
    found: list[str] = []
    for name in allowed(core, job):
        node = core.nodes[name]
        if not node.free_cpus or node.state != "UP" or name in apart:
            continue
        cpus, mem_mb, gpus = needs(core, job, name)
        if cpus <= node.free_cpus and mem_mb <= node.free_mem_mb and gpus <= node.free_gpus:
            found.append(name)
            if len(found) == job.options.nodes:
                return tuple(found)
    return None


def allowed(core: Core, job: Job) -> list[str]:
    """Return the nodes of a job's partition that have what it asks for."""
    part = core.partitions[job.partition]
    wanted, these = set(job.options.features), job.options.wanted_nodes
    return [
        name
        for name, kind in core.kinds.items()
        if (part.nodes is None or name in part.nodes)
        and wanted <= kind.features
        and (not these or name in these)
    ]


def could_ever(core: Core, job: Job) -> bool:
    """Return whether enough nodes could take a job when they are empty."""
    count = 0
    for name in allowed(core, job):
        kind = core.kinds[name]
        cpus, mem_mb, gpus = needs(core, job, name)
        count += cpus <= kind.cpus and mem_mb <= kind.mem_mb and gpus <= kind.gpus
    return count >= job.options.nodes


def _lacks(core: Core, job: Job) -> str:
    up = [name for name in allowed(core, job) if core.nodes[name].state == "UP"]
    if len(up) < job.options.nodes:
        away = [name for name in job.options.wanted_nodes if name not in up]
        return f"ReqNodeNotAvail, UnavailableNodes:{','.join(away)}" if away else WAITS_FOR_NODES
    _make_room(core, job)
    return "Resources"


def _make_room(core: Core, job: Job) -> None:
    """Preempt the youngest jobs of lower tiers, no more than are needed."""
    tier = core.partitions[job.partition].tier
    victims = []
    going: list[Job] = []
    for name in allowed(core, job):
        for number in core.nodes[name].jobs:
            other = core.jobs[number]
            part = core.partitions[other.partition]
            if other.flag == "COMPLETING":
                going.append(other)
            elif other.state == RUNNING and part.tier < tier and part.preempt != "OFF":
                victims.append(other)
    victims = sorted({v.id: v for v in victims}.values(), key=lambda v: (-(v.start_at or 0), v.id))
    chosen: list[Job] = []
    while not _would_fit(core, job, going + chosen):
        if not victims:
            return
        chosen.append(victims.pop(0))
    for victim in chosen:
        preempt(core, victim)


def _would_fit(core: Core, job: Job, gone: list[Job]) -> bool:
    count = 0
    leaving = {other.id: other for other in gone}.values()
    for name in allowed(core, job):
        node = core.nodes[name]
        if node.state != "UP":
            continue
        free = [node.free_cpus, node.free_mem_mb, node.free_gpus]
        for other in leaving:
            if name in other.where:
                free = [a + b for a, b in zip(free, needs(core, other, name), strict=True)]
        need = needs(core, job, name)
        count += all(a <= b for a, b in zip(need, free, strict=True))
    return count >= job.options.nodes
