"""The processes of a task of the local scheduler, on Linux: start, find, signal.

A process is known by its pid, the time of its start and the boot, so that another one with the same
pid is not taken for it. The processes of a task are those of its session, and those with its mark
in their environment, whatever session they made.
"""

import ctypes
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

MARK = "PENSTOCK_LOCAL_TASK"
PR_SET_CHILD_SUBREAPER = 36
SHELL = "/bin/bash"


def adopt_orphans() -> None:
    """Become the parent of what the tasks leave behind, so that it can be reaped."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def identity(pid: int) -> str:
    """Return what tells a process from all others, or nothing where it is gone or a zombie."""
    fields = _stat(pid)
    if not fields or fields[0] in "ZX":
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{pid}:{fields[19]}:{boot}"


def is_alive(known: str) -> bool:
    """Return whether a process still is the one that was known."""
    return bool(known) and identity(pid_of(known)) == known


def pid_of(known: str) -> int:
    """Return the pid in an identity."""
    return int(known.partition(":")[0])


def _stat(pid: int) -> list[str]:
    """Return state, parent, group, session, … of a process: the fields after its name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def of_task(mark: str, session: int = 0) -> list[int]:
    """Return the pids of a task."""
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in _own() if _session(pid) == session != 0 or wanted in _environ(pid)]


def _own() -> Iterator[int]:
    uid = os.getuid()
    for entry in os.scandir("/proc"):
        with suppress(OSError):
            if entry.name.isdecimal() and entry.stat().st_uid == uid:
                yield int(entry.name)


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields and fields[0] not in "ZX" else 0


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def send(pids: list[int], number: int) -> None:
    """Signal processes; those that are gone are no error. Stopped ones are woken to hear it."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)


class Started:
    """A child that waits for ``go``: what is not recorded does not run.

    Where its parent dies before ``go``, it reads the end of the pipe, and ends.
    """

    def __init__(self, script: str, log: str, folder: str, environment: Mapping[str, str]) -> None:
        """Fork. Raises OSError where the log cannot be opened; nothing was started then."""
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        reader, self._writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become(reader, self._writer, output, (script, folder, dict(environment)))
        os.close(reader)
        os.close(output)
        self.identity = identity(self.pid)

    def go(self) -> None:
        """Let it run."""
        os.write(self._writer, b"g")
        os.close(self._writer)

    def abandon(self) -> None:
        """Let it end without having run."""
        os.close(self._writer)


def _become(
    reader: int, writer: int, output: int, what: tuple[str, str, dict[str, str]]
) -> None:  # pragma: no cover  the child: it never returns
    script, folder, environment = what
    try:
        os.close(writer)
        os.setsid()
        if os.read(reader, 1) != b"g":
            os._exit(1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.chdir(folder)
        os.execve(SHELL, [SHELL, script], environment)
    except BaseException:  # noqa: BLE001  a copy of the keeper must not go on
        os._exit(127)
