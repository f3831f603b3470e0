"""The modelled controller takes a job, or refuses it as a real one does."""

from collections import deque

from penstock.testing.core import Core, SlurmError
from penstock.testing.jobs import INFINITE, Job, Options
from penstock.testing.schedule import could_ever
from penstock.testing.site import Partition, User

BAD_ACCOUNT = "Invalid account or account/partition combination specified"
LIMIT = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
FULL = "Resource temporarily unavailable"


def accept(core: Core, options: Options, user: str) -> int:
    """Take a job; return its id. Raises SlurmError."""
    job = examined(core, options, user)
    count = max(1, len(options.array))
    core.counts["submitted"] += count
    core.begun(job, count)
    core.add(job)
    core.pending[job.id] = job
    core.tell(job)
    if job.begin_at > core.now:
        core.at(job.begin_at, core.wake)
    core.wake()
    return job.id


def examined(core: Core, options: Options, user: str) -> Job:
    """Return the record that a submission would make. Raises SlurmError."""
    who = core.users.get(user) or User(user, 65_534, ())
    part = _partition(core, options, who.name)
    account = _account(core, options, who)
    _qos(options, who)
    if options.array and options.array[-1] >= core.site.max_array_size:
        raise SlurmError("Invalid job array specification", 2036)
    _room(core, options, who, account)
    time_s = options.time_s or part.default_time_s or part.max_time_s or INFINITE
    held = "user" if options.is_held else ""
    job = Job(
        id=0,
        options=options,
        user=who.name,
        uid=who.uid,
        account=account,
        partition=part.name,
        name=options.name,
        time_s=time_s,
        submit_at=core.now,
        throttle=options.throttle,
        begin_at=core.now + options.begin_s if options.begin_s else 0,
        held_by=held,
        reason="JobHeldUser" if held else "None",
    )
    if not could_ever(core, job):
        raise _too_large(core, job)
    job.id = core.take_id()
    core.lowest_priority -= 1
    job.priority = 0 if held else core.lowest_priority
    if options.array:
        job.array, job.rest = job.id, deque(options.array)
    return job


def _partition(core: Core, options: Options, user: str) -> Partition:
    if options.partition is None:
        part = next((part for part in core.partitions.values() if part.is_default), None)
        if part is None:
            raise SlurmError("No partition specified or system default partition", 2061)
        return part
    if options.partition not in core.partitions:
        detail = f"invalid partition specified: {options.partition}"
        raise SlurmError("Invalid partition name specified", 2000, detail)
    part = core.partitions[options.partition]
    if part.users is not None and user not in part.users:
        raise SlurmError("User's group not permitted to use this partition", 2054)
    return part


def _account(core: Core, options: Options, who: User) -> str:
    account = options.account or next(iter(who.accounts), "")
    if core.site.enforce_limits and not who.is_admin and account not in who.accounts:
        raise SlurmError(BAD_ACCOUNT, 2045)
    return account


def _qos(options: Options, who: User) -> None:
    if options.qos and options.qos not in who.qos:
        raise SlurmError("Invalid qos specification", 2066)


def _room(core: Core, options: Options, who: User, account: str) -> None:
    count = max(1, len(options.array))
    if core.unfinished + count > core.site.max_job_count:
        sleeps = "Slurm temporarily unable to accept job, sleeping and retrying"
        raise SlurmError(FULL, 11, sleeps)
    if not core.site.enforce_limits:
        return
    used = core.submitted.get((who.name, account), 0)
    if who.max_submit is not None and used + count > who.max_submit:
        raise SlurmError(LIMIT, 2050, "AssocMaxSubmitJobLimit")
    qos = options.qos or "normal"
    most = core.site.qos.get(qos)
    if most is not None and core.in_qos.get((who.name, qos), 0) + count > most:
        raise SlurmError(LIMIT, 2050, "QOSMaxSubmitJobPerUserLimit")


def _too_large(core: Core, job: Job) -> SlurmError:
    options = job.options
    kinds = core.kinds.values()
    if options.features and not any(set(options.features) <= kind.features for kind in kinds):
        return SlurmError("Invalid feature specification", 2009)
    most = max(kind.mem_mb for kind in kinds)
    detail = "Memory specification can not be satisfied" if (options.mem_mb or 0) > most else ""
    return SlurmError("Requested node configuration is not available", 2014, detail)
