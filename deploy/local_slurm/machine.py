"""What the machine must have: programs and users."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
PROGRAMS = (
    "munged",
    "mariadbd",
    "mariadb-install-db",
    "slurmdbd",
    "slurmctld",
    "slurmd",
    "sbatch",
    "sacctmgr",
)
# The system's folders come first: a test may have put its own program named sbatch before them.
SEARCH_PATH = (
    f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}"
)


class LocalSlurmError(Exception):
    """What went wrong and what to do about it."""


def say(text: str) -> None:
    print(f"local-slurm: {text}", file=sys.stderr)


def tool(name: str) -> str:
    return shutil.which(name, path=SEARCH_PATH) or name


def accepts(path: Path) -> bool:
    """Tell whether something listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def make_user(name: str) -> None:
    """Make an ordinary user with a home folder, unless there is one."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
        say(f"made the user {name}")


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program, path=SEARCH_PATH) is None]


def install() -> None:
    """Install the packages of Debian or Ubuntu, unless all programs are there."""
    if not missing_programs():
        say("all programs are there")
        return
    if shutil.which("apt-get") is None:
        raise LocalSlurmError(
            f"only Debian and Ubuntu are known here; install by other means: {' '.join(PACKAGES)}"
        )
    if os.geteuid() != 0:
        raise LocalSlurmError("installing needs root: run it with sudo or as root")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(command, env=environment, check=True)
