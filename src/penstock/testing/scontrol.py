"""The model's scontrol."""

import re
from collections.abc import Callable

from penstock.testing import control
from penstock.testing.arguments import Call, Stop, node_list, read, span
from penstock.testing.associations import associations
from penstock.testing.control import Said, find, spoken
from penstock.testing.core import SlurmError
from penstock.testing.jobs import Job
from penstock.testing.site import Partition


def scontrol(call: Call) -> str:
    """Show and change."""
    asked = read(
        "scontrol", call.argv[1:], "M/clusters", "o/oneliner a/all d/details h/help V/version json"
    )
    if "version" in asked or asked.rest == ["version"]:
        return f"slurm-wlm {call.cluster.site.version}\n"
    if not asked.rest:
        raise Stop(1, "scontrol: error: interactive mode is not modelled\n")
    verb, *words = asked.rest
    if verb == "show":
        return _show(call, words, "oneliner" in asked)
    if verb == "ping":
        state = "DOWN" if call.cluster.is_down else "UP"
        return f"Slurmctld(primary) at localhost is {state}\n"
    if verb == "update":
        return _update(call, words)
    if verb in ("hold", "uhold", "release", "requeue", "requeuehold", "suspend", "resume"):
        return _control(call, verb, words)
    raise Stop(1, f"invalid keyword: {verb}\n")


def _control(call: Call, verb: str, words: list[str]) -> str:
    then = "hold" if verb == "requeuehold" else "requeue"
    if words and words[0].lower().startswith("state="):
        then = "special" if words.pop(0).lower().endswith("=specialexit") else then
    who = call.cluster.who(call.user)
    verbs: dict[str, Callable[[str], list[Said]]] = {
        "hold": lambda text: control.hold(call.cluster, text, who),
        "uhold": lambda text: control.hold(call.cluster, text, who, "user"),
        "release": lambda text: control.release(call.cluster, text, who),
        "requeue": lambda text: control.requeue(call.cluster, text, who, then),
        "requeuehold": lambda text: control.requeue(call.cluster, text, who, then),
    }
    if verb not in verbs:
        raise Stop(1, f"{verb} is not modelled\n")
    rpc = "REQUEST_JOB_REQUEUE" if verb.startswith("requeue") else "REQUEST_UPDATE_JOB"
    lines = []
    for text in [part for word in words for part in _split(word)]:
        lines += _try(call, text, rpc, verbs[verb])
    if not lines:
        return ""
    whole = re.fullmatch(r"(.*) for job \d+", lines[-1])
    if verb in ("hold", "uhold", "release") and whole:
        lines.append(f"slurm_suspend error: {whole[1]}")
    raise Stop(1, "".join(f"{line}\n" for line in lines))


def _split(word: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", word)


def _try(call: Call, text: str, rpc: str, do: Callable[[str], list[Said]]) -> list[str]:
    call.rpc(rpc)
    try:
        return spoken(text, do(text))
    except SlurmError as error:
        return [f"{error} for job {text}"]


def _update(call: Call, words: list[str]) -> str:
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    key = next((key for key in fields if key.lower() in ("jobid", "job")), None)
    if key is None:
        raise Stop(1, "No valid entity in update command\n")
    text = fields.pop(key)
    who = call.cluster.who(call.user)
    for name, value in fields.items():
        if name.lower() not in control.CHANGED:
            said = f"Update of this parameter is not supported: {name}={value}\nRequest aborted\n"
            raise Stop(1, said)
    lines = _try(
        call,
        text,
        "REQUEST_UPDATE_JOB",
        lambda target: control.update(call.cluster, target, who, fields),
    )
    if lines:
        raise Stop(1, "".join(f"{line}\n" for line in lines))
    return ""


# --- show ---


def _show(call: Call, words: list[str], is_short: bool) -> str:
    entity, *names = words or [""]
    if entity.startswith("conf"):
        return _config(call)
    if entity.startswith("part"):
        return _partitions(call, names, is_short)
    if entity.startswith("job"):
        return _jobs(call, names, is_short)
    if entity.startswith("assoc"):
        return associations(call, names, is_short)
    if entity.startswith("node"):
        return _nodes(call, names, is_short)
    raise Stop(1, f"invalid entity:{entity} for keyword:show \n")


def _config(call: Call) -> str:
    call.rpc("REQUEST_BUILD_INFO", "REQUEST_PING")
    cluster, site = call.cluster, call.cluster.site
    storage = "slurmdbd" if site.has_accounting else "none"
    is_preempted = any(part.preempt != "OFF" for part in site.partitions)
    values = {
        "AccountingStorageEnforce": "associations,limits,qos" if site.enforce_limits else "none",
        "AccountingStorageHost": "localhost",
        "AccountingStorageType": f"accounting_storage/{storage}",
        "AccountingStoreFlags": "(null)",
        "AuthInfo": f"cred_expire={int(site.requeue_wait_s)}",
        "AuthType": "auth/munge",
        "BOOT_TIME": call.time(cluster.boot_at),
        "ClusterName": site.name,
        "EnforcePartLimits": "NO",
        "FirstJobId": str(site.first_job_id),
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobRequeue": "1",
        "KillWait": f"{int(site.kill_wait_s)} sec",
        "MaxArraySize": str(site.max_array_size),
        "MaxJobCount": str(site.max_job_count),
        "MaxJobId": str(site.max_job_id),
        "MessageTimeout": "10 sec",
        "MinJobAge": f"{int(site.min_job_age_s)} sec",
        "NEXT_JOB_ID": str(cluster.next_id),
        "OverTimeLimit": "0 min",
        "PreemptMode": "REQUEUE" if is_preempted else "OFF",
        "PreemptType": "preempt/partition_prio" if is_preempted else "preempt/none",
        "PriorityType": "priority/basic",
        "SchedulerParameters": "(null)",
        "SchedulerType": "sched/backfill",
        "SelectType": "select/cons_tres",
        "SLURM_CONF": call.env.get("SLURM_CONF", "/etc/slurm/slurm.conf"),
        "SLURM_VERSION": site.version,
    }
    lines = [f"{key:<23} = {value}\n" for key, value in values.items()]
    head = f"Configuration data as of {call.time(cluster.now)}\n"
    return f"{head}{''.join(lines)}\nSlurmctld(primary) at localhost is UP\n"


def _blocks(blocks: list[list[str]], is_short: bool, *, gap: bool = True) -> str:
    """Write records, each a list of lines; short: each in one line."""
    if is_short:
        return "".join(" ".join(block) + "\n" for block in blocks)
    return "".join("\n   ".join(block) + "\n" + ("\n" if gap else "") for block in blocks)


def _partitions(call: Call, names: list[str], is_short: bool) -> str:
    call.rpc("REQUEST_PARTITION_INFO")
    wanted = [
        part
        for part in call.cluster.partitions.values()
        if (not names or part.name in names)
        and (part.users is None or call.user in part.users or call.is_admin)
    ]
    if names and not wanted:
        raise Stop(1, f"Partition {names[0]} not found\n")
    return _blocks([_partition(call, part) for part in wanted], is_short)


def _partition(call: Call, part: Partition) -> list[str]:
    names = part.nodes or tuple(call.cluster.kinds)
    cpus = sum(call.cluster.kinds[name].cpus for name in names)
    accounts = ",".join(sorted(part.accounts)) if part.accounts is not None else "ALL"
    groups = ",".join(sorted(part.users)) if part.users is not None else "ALL"
    longest = "UNLIMITED" if part.max_time_s is None else span(part.max_time_s)
    usual = "NONE" if part.default_time_s is None else span(part.default_time_s)
    memory = part.def_mem_per_cpu_mb
    return [
        f"PartitionName={part.name}",
        f"AllowGroups={groups} AllowAccounts={accounts} AllowQos=ALL",
        f"AllocNodes=ALL Default={'YES' if part.is_default else 'NO'} QoS=N/A",
        (
            f"DefaultTime={usual} DisableRootJobs=NO ExclusiveUser=NO GraceTime={part.grace_s} "
            "Hidden=NO"
        ),
        f"MaxNodes=UNLIMITED MaxTime={longest} MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED",
        f"Nodes={node_list(names)}",
        f"PriorityJobFactor=1 PriorityTier={part.tier} RootOnly=NO ReqResv=NO OverSubscribe=NO",
        f"OverTimeLimit=NONE PreemptMode={part.preempt}",
        (
            f"State={'UP' if part.is_up else 'DOWN'} TotalCPUs={cpus} TotalNodes={len(names)} "
            "SelectTypeParameters=NONE"
        ),
        "JobDefaults=(null)",
        f"DefMemPerCPU={memory} MaxMemPerNode=UNLIMITED"
        if memory
        else "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED",
    ]


def _jobs(call: Call, names: list[str], is_short: bool) -> str:
    call.rpc("REQUEST_FED_INFO", "REQUEST_JOB_INFO_SINGLE" if names else "REQUEST_JOB_INFO")
    if not names:
        jobs = list(call.cluster.jobs.values())
    else:
        try:
            jobs = [job for job, _ in find(call.cluster, names[0])]
        except SlurmError as error:
            raise Stop(1, f"slurm_load_jobs error: {error}\n") from error
    if not jobs:
        return "No jobs in the system\n"
    return _blocks([_job(call, job) for job in jobs], is_short)


def _job(call: Call, job: Job) -> list[str]:
    options = job.options
    lines = [
        f"JobId={job.id}{_array(job)} JobName={job.name}",
        f"UserId={job.user}({job.uid}) GroupId={job.user}({job.uid}) MCS_label=N/A",
        f"Priority={job.priority} Nice=0 Account={job.account} QOS={options.qos or 'normal'}",
        f"JobState={job.word} Reason={job.reason} Dependency={options.dependency or '(null)'}",
        (
            f"Requeue={int(options.can_requeue)} Restarts={job.restarts} BatchFlag=1 Reboot=0 "
            f"ExitCode={job.code}:{job.signal}"
        ),
        f"RunTime={span(_run_time(call, job))} TimeLimit={span(job.time_s)} TimeMin=N/A",
        (
            f"SubmitTime={call.time(job.submit_at)} "
            f"EligibleTime={call.time(job.eligible_at, 'Unknown')}"
        ),
        (
            f"StartTime={call.time(job.start_at, 'Unknown')} "
            f"EndTime={call.time(_end(job), 'Unknown')} Deadline=N/A"
        ),
        f"Partition={job.partition} AllocNode:Sid=localhost:1",
        "ReqNodeList=(null) ExcNodeList=(null)",
        f"NodeList={node_list(job.where)}",
        f"NumNodes={options.nodes} NumCPUs={options.cpus} NumTasks=1 CPUs/Task={options.cpus}",
        f"MinCPUsNode={options.cpus} MinMemoryNode={options.mem_mb or 100}M MinTmpDiskNode=0",
        f"Command={options.command or '(null)'}",
        f"WorkDir={options.folder}",
        f"StdOut={options.output or options.folder + '/slurm-%j.out'}",
    ]
    if job.where:
        lines.insert(11, f"BatchHost={job.where[0]}")
    return lines


def _array(job: Job) -> str:
    if job.het:
        return f" HetJobId={job.het[0]} HetJobOffset={job.het[1]}"
    if job.array is None:
        return ""
    throttle = f" ArrayTaskThrottle={job.throttle}" if job.throttle else ""
    text = str(job.index)
    if job.rest is not None:
        text = job.rest_text() + (f"%{job.throttle}" if job.throttle else "")
    return f" ArrayJobId={job.array} ArrayTaskId={text}{throttle}"


def _run_time(call: Call, job: Job) -> float:
    if job.start_at is None:
        return 0
    return max(0.0, (job.end_at or call.cluster.now) - job.start_at)


def _end(job: Job) -> float | None:
    if job.end_at is not None:
        return job.end_at
    return None if job.start_at is None else job.start_at + job.time_s


def _nodes(call: Call, names: list[str], is_short: bool) -> str:
    call.rpc("REQUEST_NODE_INFO", "REQUEST_PARTITION_INFO")
    blocks = []
    for name, node in call.cluster.nodes.items():
        if names and name not in names:
            continue
        kind = node.kind
        used = kind.cpus - node.free_cpus
        state = "IDLE" if not used else ("MIXED" if node.free_cpus else "ALLOCATED")
        blocks.append(
            [
                f"NodeName={name} Arch=x86_64 CoresPerSocket=1",
                f"CPUAlloc={used} CPUEfctv={kind.cpus} CPUTot={kind.cpus} CPULoad=0.00",
                f"RealMemory={kind.mem_mb} AllocMem={kind.mem_mb - node.free_mem_mb}",
                f"State={state if node.state == 'UP' else node.state} ThreadsPerCore=1",
            ]
        )
    return _blocks(blocks, is_short)
