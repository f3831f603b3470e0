"""What a tree of processes uses: memory now and at its peak, cpu seconds; and who is in it.

From /proc (proc(5)). The runner makes itself the reaper of its descendants (prctl(2),
PR_SET_CHILD_SUBREAPER), so what a command leaves behind stays below the runner. Where that does not
work, what is in the command's session counts.
"""

import ctypes
import os
import resource
import signal
import time

_SUBREAPER, _PDEATHSIG = 36, 1
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = float(os.sysconf("SC_CLK_TCK"))


def _prctl(option: int, value: int) -> bool:
    try:
        return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0)) == 0
    except (OSError, AttributeError):
        return False


def adopt() -> bool:
    """Become the parent of descendants whose own parent ends."""
    return _prctl(_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """End this process when its parent does: what a killed runner began must not go on."""
    if _prctl(_PDEATHSIG, signal.SIGKILL) and os.getppid() != parent:
        os._exit(1)


class Process:
    """A line of /proc/<pid>/stat, as far as it is asked for."""

    def __init__(self, pid: int) -> None:
        with open("/proc/%d/stat" % pid, "rb") as file:
            words = file.read().rpartition(b")")[2].split()  # its name may hold anything
        self.pid = pid
        self.is_dead = words[0] in (b"Z", b"X")
        self.parent = int(words[1])
        self.session = int(words[3])
        self.cpu_s = sum(int(word) for word in words[11:15]) / _TICK  # with children it waited for
        self.began = int(words[19])
        self.rss_bytes = int(words[21]) * _PAGE


def tree(root: int, session: int = 0) -> "list[Process]":
    """Return the living descendants of a process, and what else is in a session."""
    every = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                every[int(name)] = Process(int(name))
            except (OSError, IndexError, ValueError):
                continue
    below = {root}
    found = []
    waiting = sorted(every.values(), key=lambda process: process.began)
    grown = True
    while grown:  # a parent is older than its child, but for those that were adopted
        grown = False
        for process in waiting:
            if process.pid not in below and (
                process.parent in below or (session and process.session == session)
            ):
                below.add(process.pid)
                found.append(process)
                grown = True
    return [process for process in found if not process.is_dead]


def end(processes: "list[Process]", number: int = signal.SIGKILL) -> None:
    """Send a signal to processes that are still the same."""
    for process in processes:
        try:
            if Process(process.pid).began == process.began:
                os.kill(process.pid, number)
        except (OSError, IndexError, ValueError):
            continue


class Usage:
    """The use of the tree below this process, over time."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.cpu_s = 0.0
        self._took_s = 0.0
        self._looked_at = 0.0

    def look(self, session: int) -> None:
        """Look now, unless looking takes more than a hundredth of the time."""
        now = time.monotonic()
        if now - self._looked_at < 100 * self._took_s:
            return
        processes = tree(os.getpid(), session)
        self._add(sum(process.rss_bytes for process in processes))
        ended_s = _cpu_s(resource.RUSAGE_CHILDREN)
        self.cpu_s = max(self.cpu_s, ended_s + sum(process.cpu_s for process in processes))
        self._looked_at = now
        self._took_s = time.monotonic() - now

    def close(self) -> None:
        """Count those that have ended: their times, and the largest of them."""
        self._add(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
        self.cpu_s = max(self.cpu_s, _cpu_s(resource.RUSAGE_CHILDREN))

    def _add(self, bytes_: int) -> None:
        self.peak_bytes = max(self.peak_bytes, bytes_)


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def oom_kills(proc: str = "/proc/self", cgroups: str = "/sys/fs/cgroup") -> "int | None":
    """Return how many processes of this cgroup the kernel has ended for want of memory.

    Version 2: memory.events; version 1: memory.oom_control (Linux 4.13). None: it cannot be told.
    """
    try:
        with open(os.path.join(proc, "cgroup")) as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            files = [os.path.join(cgroups, "memory", path.strip("/"), "memory.oom_control")]
        elif not controllers:
            inner = os.path.join(path.strip("/"), "memory.events")
            files = [os.path.join(cgroups, inner), os.path.join(cgroups, "unified", inner)]
        else:
            continue
        for name in files:
            count = _counter(name)
            if count is not None:
                return count
    return None


def _counter(path: str) -> "int | None":
    try:
        with open(path) as file:
            words = dict(line.split(" ", 1) for line in file if " " in line)
        return int(words["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None
