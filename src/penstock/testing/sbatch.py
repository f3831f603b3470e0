"""The model's sbatch and scancel."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from pathlib import PurePath

from penstock.testing.arguments import Call, Read, Stop, megabytes, moment, read, seconds
from penstock.testing.core import DENIED, INVALID_ID, NOT_WHOLE, SlurmError
from penstock.testing.indices import parse
from penstock.testing.jobs import Options
from penstock.testing.submit import accept, examined

VALUED = (
    "A/account a/array b/begin c/cpus-per-task comment C/constraint d/dependency D/chdir e/error "
    "export gpus-per-node gpus gres i/input J/job-name M/clusters mail-type mail-user mem "
    "mem-per-cpu N/nodes n/ntasks ntasks-per-node open-mode o/output p/partition q/qos "
    "reservation signal t/time w/nodelist wrap x/exclude L/licenses nice priority wckey "
    "kill-on-invalid-dep time-min deadline tmp ntasks-per-core hint gpus-per-task"
)
FLAGS = (
    "H/hold parsable no-requeue requeue test-only exclusive Q/quiet v/verbose V/version "
    "W/wait ignore-pbs s/oversubscribe overcommit get-user-env"
)
# What each component of a heterogeneous job asks for anew; all else it has of the one before it.
OF_COMPONENT = frozenset(
    {
        *("mem", "mem-per-cpu", "cpus-per-task", "ntasks", "nodes", "gres", "gpus"),
        *("gpus-per-node", "gpus-per-task", "nodelist", "constraint", "exclusive"),
    }
)
# Of the environment's SBATCH_*, those that change what is submitted.
FROM_ENVIRONMENT = {
    "SBATCH_ACCOUNT": "account", "SBATCH_ARRAY_INX": "array", "SBATCH_JOB_NAME": "job-name",
    "SBATCH_PARTITION": "partition", "SBATCH_QOS": "qos", "SBATCH_TIMELIMIT": "time",
    "SBATCH_MEM_PER_NODE": "mem", "SBATCH_OUTPUT": "output", "SBATCH_CONSTRAINT": "constraint",
}  # fmt: skip


def sbatch(call: Call) -> str:
    """Submit; print the id."""
    lines = _components(call.argv[1:])
    if "version" in lines[0]:
        return f"slurm-wlm {call.cluster.site.version}\n"
    script, command = _script(call, lines[-1])
    every = _merged(call, script, lines)
    options = [_options(call, one, script, command, lines[-1]) for one in every]
    asked = every[0]
    if "test-only" in asked:
        return _test(call, options[0])
    is_het = len(options) > 1
    call.rpc("REQUEST_SUBMIT_BATCH_HET_JOB" if is_het else "REQUEST_SUBMIT_BATCH_JOB")
    try:
        if is_het:
            job = call.cluster.submit_het(*options, user=call.user)
        else:
            job = accept(call.cluster, options[0], call.user)
    except SlurmError as error:
        detail = f"sbatch: error: {error.detail}\n" if error.detail else ""
        raise Stop(1, f"{detail}sbatch: error: Batch job submission failed: {error}\n") from error
    if "parsable" in asked:
        return f"{job};{asked.last('clusters')}\n" if "clusters" in asked else f"{job}\n"
    where = f" on cluster {asked.last('clusters')}" if "clusters" in asked else ""
    return f"Submitted batch job {job}{where}\n"


def _test(call: Call, options: Options) -> str:
    call.rpc("REQUEST_FED_INFO", "REQUEST_JOB_WILL_RUN")
    try:
        job = examined(call.cluster, options, call.user)
    except SlurmError as error:
        detail = f"sbatch: error: {error.detail}\n" if error.detail else ""
        raise Stop(1, f"{detail}allocation failure: {error}\n") from error
    node = next(iter(call.cluster.nodes))
    raise Stop(
        0,
        f"sbatch: Job {job.id} to start at {call.time(call.cluster.now)} using "
        f"{options.cpus} processors on nodes {node} in partition {job.partition}\n",
    )


def _script(call: Call, line: Read) -> tuple[bytes, str]:
    if "wrap" in line:
        return b"#!/bin/sh\n" + line.last("wrap").encode() + b"\n", ""
    script, command = call.stdin, ""
    if line.rest:
        command = line.rest[0]
        try:
            script = call.open_file(str(PurePath(call.folder) / command))
        except IsADirectoryError:
            script = b""
        except OSError as error:
            raise Stop(1, f"sbatch: error: Unable to open file {command}\n") from error
    if not script:
        raise Stop(1, "sbatch: error: Batch script is empty!\n")
    if not script.startswith(b"#!"):
        raise Stop(
            1,
            "sbatch: error: This does not look like a batch script.  The first\n"
            "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
            "sbatch: error: For instance: #!/bin/sh\n",
        )
    return script, command


def _components(argv: Sequence[str]) -> list[Read]:
    """Return what the command line asks of each component: between them stands a colon."""
    lines = [read("sbatch", argv, VALUED, FLAGS, stop_at_rest=True, code=255)]
    while lines[-1].rest[:1] == [":"]:
        rest = lines[-1].rest[1:]
        lines.append(read("sbatch", rest, VALUED, FLAGS, stop_at_rest=True, code=255))
    return lines


def _inside(script: bytes) -> list[Read]:
    """Return what the script asks of each component."""
    words: list[list[str]] = [[]]
    for text in script.decode(errors="replace").splitlines():
        if text.startswith("#SBATCH"):
            more = shlex.split(text[len("#SBATCH") :], comments=True)
            words.append([]) if more == ["hetjob"] else words[-1].extend(more)
        elif text.strip() and not text.startswith("#"):
            break
    return [read("sbatch", some, VALUED, FLAGS, code=255) for some in words]


def _merged(call: Call, script: bytes, lines: list[Read]) -> list[Read]:
    """Return what counts: the command line, before the environment, before the script."""
    outside = {
        name: [call.env[variable]]
        for variable, name in FROM_ENVIRONMENT.items()
        if variable in call.env
    }
    every: list[Read] = []
    before: dict[str, list[str]] = {}
    for inside, line in zip_longest(_inside(script), lines, fillvalue=Read({}, [])):
        values = {**before, **inside.values, **outside, **line.values}
        every.append(Read(values, lines[-1].rest))
        before = {name: value for name, value in values.items() if name not in OF_COMPONENT}
        outside = {}
    return every


def _options(call: Call, asked: Read, script: bytes, command: str, line: Read) -> Options:
    folder = asked.last("chdir", call.folder)
    name = asked.last("job-name") or ("wrap" if "wrap" in line else command.rsplit("/", 1)[-1])
    options = Options(
        name=name or "sbatch",
        partition=asked.last("partition") or None,
        account=asked.last("account") or None,
        qos=asked.last("qos") or None,
        is_held="hold" in asked,
        is_exclusive="exclusive" in asked,
        can_requeue=_may_requeue(asked),
        dependency=asked.last("dependency"),
        features=tuple(filter(None, asked.last("constraint").split("&"))),
        wanted_nodes=tuple(filter(None, asked.last("nodelist").split(","))),
        script=script,
        command=command,
        folder=folder,
        output=asked.last("output"),
        arguments=tuple(line.rest[1:]),
        env=tuple(call.env.items()),
        comment=asked.last("comment"),
    )
    return _resources(call, asked, options)


def _may_requeue(asked: Read) -> bool:
    for name in reversed(list(asked.values)):
        if name in ("requeue", "no-requeue"):
            return name == "requeue"
    return True


def _resources(call: Call, asked: Read, options: Options) -> Options:
    time_s = seconds(asked.last("time", "0"))
    if time_s is None:
        raise Stop(255, "sbatch: error: Invalid --time specification\n")
    mem_mb = megabytes(asked.last("mem", "0"))
    per_cpu = megabytes(asked.last("mem-per-cpu", "0"))
    if mem_mb is None or per_cpu is None:
        raise Stop(255, "sbatch: error: Invalid --mem specification\n")
    begin_s = 0.0
    if "begin" in asked:
        at = moment(asked.last("begin"), call)
        if at is None:
            raise Stop(255, "sbatch: error: Invalid --begin specification\n")
        begin_s = max(0.0, at - call.cluster.now)
    try:
        indices, throttle = parse(asked.last("array")) if "array" in asked else ([], None)
        cpus = int(asked.last("cpus-per-task", "1")) * int(asked.last("ntasks", "1"))
        nodes = int(asked.last("nodes", "1").partition("-")[0])
    except ValueError as error:
        text = "Invalid job array specification"
        raise Stop(1, f"sbatch: error: Batch job submission failed: {text}\n") from error
    return replace(
        options,
        array=tuple(indices),
        throttle=throttle,
        cpus=cpus,
        nodes=nodes,
        gpus=_gpus(asked),
        mem_mb=mem_mb or (per_cpu * cpus) or None,
        time_s=time_s or None,
        begin_s=begin_s,
    )


def _gpus(asked: Read) -> int:
    for name in ("gpus", "gpus-per-node", "gpus-per-task"):
        if name in asked:
            return int(asked.last(name).rpartition(":")[2])
    for gres in filter(None, asked.last("gres").split(",")):
        kind, *rest = gres.split(":")
        if kind not in ("gpu", "gres/gpu"):
            raise Stop(1, "sbatch: error: Invalid generic resource (gres) specification\n")
        return int(rest[-1]) if rest else 1
    return 0


# --- scancel ---

SIGNALS = {"HUP": 1, "INT": 2, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18}


def scancel(call: Call) -> str:
    """Cancel or signal; what has ended or is not known is no error."""
    asked = read(
        "scancel",
        call.argv[1:],
        "s/signal u/user n/name/jobname t/state p/partition A/account M/clusters q/qos",
        "b/batch f/full H/hurry me Q/quiet v/verbose i/interactive V/version",
    )
    signal = None
    if "signal" in asked:
        text = asked.last("signal").upper().removeprefix("SIG")
        signal = int(text) if text.isdigit() else SIGNALS.get(text, 15)
        if "batch" not in asked and "full" not in asked and signal != 9:
            signal = 0  # it reaches steps only, and there is none
    targets = asked.rest or _mine(call, asked)
    said, code = [], 0
    for target in targets:
        error = _cancel(call, target, signal)
        if error and error.number in (DENIED[1], NOT_WHOLE[1]):
            said.append(f"scancel: error: Kill job error on job id {target}: {error}\n")
            code = error.number % 256
        elif error and "verbose" in asked:
            said.append(f"scancel: error: Kill job error on job id {target}: {error}\n")
    raise Stop(code, "".join(said))


def _mine(call: Call, asked: Read) -> list[str]:
    user = call.user if "me" in asked else asked.last("user")
    name, state = asked.last("name"), asked.last("state")
    if not user and not name and not state:
        raise Stop(1, "scancel: error: No job identification provided\n")
    call.rpc("REQUEST_FED_INFO", "REQUEST_JOB_INFO")
    return [
        str(job.id)
        for job in list(call.cluster.jobs.values())
        if not job.is_over
        and (not user or job.user == user)
        and (not name or job.name in name.split(","))
        and (not state or job.state in state.upper().split(","))
    ]


def _cancel(call: Call, target: str, signal: int | None) -> SlurmError | None:
    if not target[:1].isdigit():
        raise Stop(1, f"scancel: error: Invalid job id {target}\n")
    call.rpc("REQUEST_KILL_JOB")
    if signal == 0:
        return None
    try:
        call.cluster.cancel(target, user=call.user, signal=signal)
        if sibling := call.cluster.beside():
            with suppress(SlurmError):  # it has never had it
                sibling.cancel(target, user=call.user, signal=signal)
    except SlurmError as error:
        return error
    except ValueError:
        return SlurmError(*INVALID_ID)
    return None
