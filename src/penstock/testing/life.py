"""How a modelled task starts, is signalled, ends, comes back, and is forgotten."""

from functools import partial

from penstock.testing.core import Core
from penstock.testing.jobs import (
    CANCELLED,
    COMPLETED,
    FAILED,
    INFINITE,
    NODE_FAIL,
    OUT_OF_MEMORY,
    PENDING,
    PREEMPTED,
    RUNNING,
    TIMEOUT,
    Job,
    Process,
)

KILL, TERM, CONT = 9, 15, 18
NO_CODE = -1  # nobody was there to tell it
HELD_BACK = "job requeued in held state"


def start(core: Core, job: Job, nodes: tuple[str, ...]) -> None:
    """Start a record that is one job or one task."""
    core.pending.pop(job.id, None)
    core.counts["started"] += 1
    job.state, job.flag, job.start_reason, job.reason = RUNNING, "", job.reason, "None"
    job.start_at, job.end_at, job.where = core.now, None, nodes
    if job.eligible_at is None:
        job.eligible_at = core.now
    take(core, job)
    process = Process(job, job.restarts, nodes, core.now)
    job.process = process
    core.processes[process] = None
    process.plan = core.behave(process)
    if process.has_ended or job.process is not process:  # what it does has already ended it
        return
    core.tell(job)
    plan = process.plan
    if not plan.is_launch_failure:
        core.on_start(process)
    if process.end_at == INFINITE:
        end_in(core, process, plan.duration_s, plan.code, KILL if plan.is_oom else plan.signal)
    _limit(core, process)


def _limit(core: Core, process: Process) -> None:
    """Have the time limit enforced, at the controller's next look at it."""
    job, slack = process.job, core.site.limit_slack_s
    if job.time_s == INFINITE:
        return
    looks = -(-job.time_s // slack) * slack if slack else job.time_s
    core.at(process.start_at + looks, partial(_check_limit, core, process))


def _check_limit(core: Core, process: Process) -> None:
    job = process.job
    if job.process is not process or job.state != RUNNING:
        return
    if core.now - process.start_at < job.time_s:  # it was changed meanwhile
        _limit(core, process)
        return
    conclude(core, job, TIMEOUT, "TimeLimit")
    terminate(core, process)


def take(core: Core, job: Job) -> None:
    """Take what a job needs from its nodes."""
    _count(core, job, -1)
    if job.array is not None:
        core.active[job.array] = core.active.get(job.array, 0) + 1


def free(core: Core, job: Job) -> None:
    """Give back what a job held."""
    _count(core, job, 1)
    if job.array is not None:
        core.active[job.array] -= 1


def _count(core: Core, job: Job, sign: int) -> None:
    for name in job.where:
        node = core.nodes[name]
        cpus, mem_mb, gpus = needs(core, job, name)
        node.free_cpus += sign * cpus
        node.free_mem_mb += sign * mem_mb
        node.free_gpus += sign * gpus
        (node.jobs.discard if sign > 0 else node.jobs.add)(job.id)


def needs(core: Core, job: Job, name: str) -> tuple[int, int, int]:
    """Return cpus, memory and gpus that a job takes of a node."""
    kind, options = core.kinds[name], job.options
    per_cpu = core.partitions[job.partition].def_mem_per_cpu_mb
    mem_mb = options.mem_mb
    if mem_mb is None:
        mem_mb = kind.mem_mb if per_cpu is None else per_cpu * options.cpus
    cpus = kind.cpus if options.is_exclusive else options.cpus
    return cpus, mem_mb or kind.mem_mb, options.gpus


# --- processes ---


def end_in(core: Core, process: Process, seconds: float, code: int = 0, signal: int = 0) -> None:
    """Let a process end in some seconds; what was planned before is void."""
    process.ends += 1
    count = process.ends
    process.end_at, process.code, process.signal = core.now + seconds, code, signal
    if process.end_at < INFINITE:
        core.at(process.end_at, partial(_due, core, process, count))


def _due(core: Core, process: Process, count: int) -> None:
    if count == process.ends and not process.has_ended:
        _gone(core, process)


def _gone(core: Core, process: Process) -> None:
    process.has_ended = True
    core.processes.pop(process, None)
    if not process.plan.is_launch_failure:
        core.on_end(process)
    job = process.job
    if process.is_cut_off or job.process is not process:
        return
    if job.state == RUNNING and not job.flag:
        conclude(core, job, *_outcome(core, process))
    _settle_soon(core, job, process)


def _outcome(core: Core, process: Process) -> tuple[str, str, int, int]:
    if process.plan.is_launch_failure:
        return FAILED, "JobLaunchFailure", 0, 53
    if process.plan.is_oom and process.signal == KILL:
        if core.site.has_cgroups:
            return OUT_OF_MEMORY, "OutOfMemory", 0, 125
        return FAILED, "JobLaunchFailure", 0, KILL
    if process.signal:
        return FAILED, "JobLaunchFailure", 0, process.signal
    if process.code:
        return FAILED, "NonZeroExitCode", process.code, 0
    return COMPLETED, "None", 0, 0


def send_signal(core: Core, process: Process, number: int) -> None:
    """Send a signal to what runs for a job."""
    if process.has_ended:
        return
    process.was_signalled = True
    core.on_signal(process, number)
    plan = process.plan
    if number == KILL:
        end_in(core, process, 0, 0, KILL)
        return
    wait_s = plan.on_term_s if number == TERM else None
    if wait_s is not None and core.now + wait_s < process.end_at:
        is_own = plan.term_code is not None
        end_in(core, process, wait_s, plan.term_code or 0, 0 if is_own else TERM)


def terminate(core: Core, process: Process, wait_s: float | None = None) -> None:
    """Send TERM now, and KILL after KillWait."""
    if process.is_cut_off:
        return
    send_signal(core, process, TERM)
    wait_s = core.site.kill_wait_s if wait_s is None else wait_s
    core.at(core.now + wait_s, partial(_kill, core, process))


def _kill(core: Core, process: Process) -> None:
    if not process.is_cut_off:
        send_signal(core, process, KILL)


# --- ends ---


def conclude(core: Core, job: Job, state: str, reason: str, code: int = 0, signal: int = 0) -> None:
    """Give a running record its end; it is COMPLETING until its process has gone."""
    job.state, job.reason, job.code, job.signal = state, reason, code, signal
    job.flag, job.end_at = "COMPLETING", core.now
    process = job.process
    peak = process.plan.peak_mb if process else None
    step = _step(state, code, signal)
    if state == FAILED and process and process.plan.is_oom:
        step = f"{CANCELLED} by 0", *step[1:]  # slurmctld does it
    core.tell(job, step=step, peak_mb=peak)


def _step(state: str, code: int, signal: int) -> tuple[str, int, int]:
    if state in (COMPLETED, OUT_OF_MEMORY):
        return state, code, signal
    if state == NODE_FAIL:
        return CANCELLED, NO_CODE, 0
    if state == FAILED and not signal:
        return FAILED, code, 0
    return CANCELLED, 0, signal or TERM


def come_back(core: Core, job: Job, state: str, then: str) -> None:
    """End a segment of a running record, after which it goes back to the queue."""
    job.next = then
    reason = job.reason if job.held_by else "None"
    conclude(core, job, state, HELD_BACK if then in ("hold", "special") else reason)
    if state == "REQUEUED":
        job.state = PENDING


def _settle_soon(core: Core, job: Job, process: Process) -> None:
    """End COMPLETING; the node is free only then."""
    if core.site.completing_s:
        core.at(core.now + core.site.completing_s, partial(settle, core, job, process))
    else:
        settle(core, job, process)


def settle(core: Core, job: Job, process: Process) -> None:
    """Free the nodes, and forget or requeue the record."""
    if job.process is not process:
        return
    free(core, job)
    job.process, job.flag = None, ""
    if job.next:
        requeue(core, job)
    else:
        retire(core, job)
    core.wake()


def retire(core: Core, job: Job) -> None:
    """Count a record out; it is remembered for MinJobAge."""
    core.pending.pop(job.id, None)
    core.finished(job, job.count)
    kind = {COMPLETED: "completed", CANCELLED: "canceled"}.get(job.state, "failed")
    core.counts[kind] += 1
    job.gone_at = core.now + core.site.min_job_age_s
    at = job.gone_at
    core.at(at, partial(_purge, core, job, at))


def _purge(core: Core, job: Job, at: float) -> None:
    if job.gone_at != at:
        return  # it came back meanwhile
    core.remove(job)


def requeue(core: Core, job: Job) -> None:
    """Put a record back: same id, a new Submit, one more restart, and a row of its own."""
    then, job.next = job.next, ""
    job.restarts += 1
    job.submit_at, job.state, job.gone_at = core.now, PENDING, None
    job.start_at = job.end_at = job.eligible_at = None
    job.where, job.code, job.signal, job.cancelled_by, job.db = (), 0, 0, None, 0
    job.begin_at = core.now + core.site.requeue_wait_s
    job.flag, job.reason = "", "None"
    if then in ("hold", "special"):
        job.held_by, job.priority = job.held_by or "user", 0
        job.flag = "SPECIAL_EXIT" if then == "special" else ""
        job.reason = HELD_BACK
    elif job.held_by:
        job.reason = f"JobHeld{job.held_by.capitalize()}"
    core.pending[job.id] = job
    core.tell(job)
    core.at(job.begin_at, core.wake)
    core.wake()


def preempt(core: Core, job: Job) -> None:
    """Take a running record's place from it, as its partition says."""
    process = job.process
    assert process is not None
    part = core.partitions[job.partition]
    if part.preempt == "REQUEUE" and job.options.can_requeue:
        come_back(core, job, PREEMPTED, "requeue")
    else:
        conclude(core, job, PREEMPTED, "None")
    terminate(core, process, part.grace_s or None)


def lose(core: Core, job: Job, is_cut_off: bool) -> None:
    """Let a record's node fail. Cut off, its process goes on and nobody hears of it."""
    process = job.process
    if process is None:
        return
    if job.flag != "COMPLETING":
        if job.options.can_requeue:
            come_back(core, job, NODE_FAIL, "requeue")
        else:
            conclude(core, job, NODE_FAIL, "NodeDown")
    if is_cut_off:
        process.is_cut_off = True
    elif not process.has_ended:
        process.was_lost = process.has_ended = True
        core.processes.pop(process, None)
        core.on_end(process)
    settle(core, job, process)
