"""Run the scripts of modelled tasks for real: detached processes, their ends and their signals."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from penstock.testing.jobs import INFINITE, Plan, Process
from penstock.testing.model import Cluster

MARK = "execute"
EXITS = "exits"
VARIABLE = "PENSTOCK_MODEL_TASK"  # by this in its environment each process of a task is known
# The script's exit code goes into a file, whole or not at all. What the shell itself would say of a
# signal is nobody's output.
WRAPPER = (
    'exec 3>&2 2>/dev/null; (exec "$@" 2>&3 3>&-); '
    'echo "$?" > "$MODEL_EXIT.new"; mv "$MODEL_EXIT.new" "$MODEL_EXIT"'
)


def attach(cluster: Cluster, state: Path) -> None:
    """Let the cluster's tasks be processes of this machine."""
    for name in (EXITS, "scripts"):
        (state / name).mkdir(exist_ok=True)
    (state / MARK).touch()
    cluster.behave = partial(_plan, state)
    cluster.on_start = partial(_start, state)
    cluster.on_signal = partial(_signal, state)


def key(process: Process) -> str:
    """Return the name of one start of one task."""
    return f"{process.job.id}.{process.restart}.{int(process.start_at * 1000)}"


def _output(process: Process) -> Path:
    job = process.job
    text = job.options.output or ("slurm-%A_%a.out" if job.array is not None else "slurm-%j.out")
    names = {
        "%%": "%",
        "%A": str(job.group),
        "%a": "4294967294" if job.index is None else str(job.index),
        "%j": str(job.id),
        "%x": job.name,
        "%u": job.user,
        "%N": process.nodes[0],
    }
    for mark, value in names.items():
        text = text.replace(mark, value)
    return Path(job.options.folder) / text


def _plan(_state: Path, process: Process) -> Plan:
    """Leave the end to the real process; a folder that is missing for -o is 0:53."""
    is_lost = not _output(process).parent.is_dir()
    return Plan(0.01 if is_lost else INFINITE, on_term_s=None, is_launch_failure=is_lost)


def _start(state: Path, process: Process) -> None:
    script = state / "scripts" / key(process)
    script.write_bytes(process.job.options.script)
    script.chmod(0o700)
    env = process.environment()
    env[VARIABLE] = f"{state}:{key(process)}"
    env["MODEL_EXIT"] = str(state / EXITS / key(process))
    with _output(process).open("ab") as out:
        subprocess.Popen(
            ["/bin/sh", "-c", WRAPPER, "sh", str(script), *process.job.options.arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=env,
            cwd=process.job.options.folder,
        )


def _signal(state: Path, process: Process, number: int) -> None:
    """Signal every process of a task, as proctrack does; the wrapper only by KILL."""
    mark = f"{VARIABLE}={state}:{key(process)}".encode()
    for pid in _pids(mark):
        if number == signal.SIGKILL or not _is_wrapper(pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _pids(mark: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _is_wrapper(pid: int) -> bool:
    with suppress(OSError):
        return WRAPPER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def has_news(state: Path) -> bool:
    """Return whether a process has ended that the cluster does not know of."""
    exits = state / EXITS
    return exits.is_dir() and any(not path.name.endswith(".new") for path in exits.iterdir())


def end(cluster: Cluster, process: Process, status: int) -> None:
    """Let a task end as its script did: a status above 128 is a signal's."""
    is_signal = status > 128
    cluster.end(process, code=0 if is_signal else status, signal=status - 128 if is_signal else 0)


def collect(
    cluster: Cluster, state: Path, ended: Callable[[Cluster, Process, int], None] = end
) -> None:
    """Tell the cluster which scripts have ended, and how; what they left behind is killed."""
    if not has_news(state):
        return
    known = {key(process): process for process in cluster.processes}
    for path in sorted((state / EXITS).iterdir()):
        if path.name.endswith(".new"):
            continue
        status = int(path.read_text() or "0")
        process = known.get(path.name)
        if process is not None:
            _signal(state, process, signal.SIGKILL)
            ended(cluster, process, status)
        path.unlink()
