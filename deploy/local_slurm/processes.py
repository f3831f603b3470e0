"""Processes by pid: who they are, starting them, ending exactly those that were meant."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

STOP_DEADLINE_S = 10.0


def start_time(pid: int) -> str | None:
    """Return when a process started, in ticks since boot, or None if it is gone or a zombie.

    A pid and its start time name a process for good: pids are used again.
    """
    values = _stat(pid)
    return values[19] if values and values[0] != "Z" else None


def lineage(pid: int) -> Iterator[int]:
    """Yield a process, its parent, and so on up."""
    while pid > 0:
        yield pid
        pid = int(values[1]) if (values := _stat(pid)) else 0


def spawn(argv: Sequence[str], user: str, env: Mapping[str, str], output: Path) -> int:
    """Start a daemon in a session of its own as a user, and return its pid."""
    entry = pwd.getpwnam(user)
    with output.open("wb") as stream:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=output.parent,
            env=env,
            start_new_session=True,
            umask=0o022,
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
        )
    # It is not waited for: the pid file is how it is found again, by this process or a later one.
    process.returncode = 0
    return process.pid


def read_pid(pid_file: Path, program: str) -> int | None:
    """Return the pid in a file if that process still runs: start time and program agree."""
    try:
        pid, started = pid_file.read_text().split()
        cmdline = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    is_ours = start_time(int(pid)) == started and cmdline[0] == program.encode()
    return int(pid) if is_ours else None


def write_pid(pid_file: Path, pid: int) -> None:
    replace_file(pid_file, f"{pid} {start_time(pid)}\n".encode())


def end(pids: Sequence[int]) -> None:
    """End processes: SIGTERM, and SIGKILL for those that have not gone by the deadline."""
    alive = {pid: started for pid in pids if (started := start_time(pid)) is not None}
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_DEADLINE_S
        for pid in alive:
            os.kill(pid, number)
        while alive and time.monotonic() < deadline:
            alive = {pid: started for pid, started in alive.items() if start_time(pid) == started}
            time.sleep(0.02)


def left_by_jobs(home: Path, nodes: Sequence[str]) -> list[int]:
    """Return the step daemons of one Slurm, and the processes that its jobs left behind.

    A step daemon is told by the files it has open in that Slurm's folder (its title overwrites its
    environment), a job's process by its environment: SLURM_CONF and the node's name. The caller and
    its parents are not among them, should it run in a job itself.
    """
    conf = f"SLURM_CONF={home}/slurm.conf".encode()
    of_a_node = {f"SLURMD_NODENAME={node}".encode() for node in nodes}
    callers = set(lineage(os.getpid()))
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = set((folder / "environ").read_bytes().split(b"\0"))
            is_step = (folder / "exe").readlink().name.startswith("slurmstepd")
            links = list((folder / "fd").iterdir()) if is_step else []
        except OSError:
            continue
        is_ours = any(_opens(link, home) for link in links) or (
            conf in variables and variables & of_a_node
        )
        if is_ours and int(folder.name) not in callers:
            left.append(int(folder.name))
    return left


def replace_file(path: Path, content: bytes, mode: int = 0o644, owner: str = "root") -> None:
    """Write a file so that it is never seen half written or, if it is secret, by others."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(partial, flags, mode), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    shutil.chown(partial, owner, owner)
    partial.replace(path)


def _opens(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    # From the third field on: the second is the program's name, which may hold spaces and brackets.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
