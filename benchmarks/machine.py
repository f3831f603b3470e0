"""Say on what machine figures were taken: they mean little without."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from benchmarks import venvs

GIB = 1 << 30


def about() -> str:
    """Return the machine in one line: processor, memory, file system, system, Python, Slurm."""
    parts = [
        f"{len(os.sched_getaffinity(0))} cores of {_after('/proc/cpuinfo', 'model name')}",
        f"{_memory_bytes() / GIB:.0f} GiB",
        f"{_file_system('/tmp')} below /tmp",
        f"Linux {platform.release()}",
        _version(venvs.python(), "--version"),
        _version("slurmctld", "-V"),  # which needs no configuration for it
    ]
    return ", ".join(part for part in parts if part)


def _after(file: str, key: str) -> str:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "an unknown kind"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _file_system(path: str) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [(len(place), kind) for place, kind in mounts if Path(path).is_relative_to(place)]
    return max(around)[1] if around else "an unknown file system"


def _version(program: str, option: str) -> str:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        return ""
    told = subprocess.run([found, option], capture_output=True, text=True, check=False)
    return told.stdout.strip()
