"""Start a daemon in the background, and end it: only ever our own process, checked."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from penstock.daemon import life
from penstock.daemon.life import Life
from penstock.errors import PenstockError, UsageError
from penstock.reconciler.world import is_gone
from penstock.scheduler.slurm import SUBMIT_TIMEOUT_S
from penstock.service.project import Project

START_S = 60
STOP_S = SUBMIT_TIMEOUT_S + 60  # the step in hand is ended first, and sbatch may take its time
SAID = 2000  # characters of what one said that did not start


def log_of(project: Project) -> Path:
    """Return the log's file."""
    return project.settings.home / f"daemon.{project.user}.log"


def life_of(project: Project) -> Path:
    """Return the file that says which daemon lives."""
    return life.path_of(project.settings.home, project.user)


def argv(project: Project, *words: str) -> list[str]:
    """Return the command line of a command in a project, whatever PATH there is."""
    root = str(project.settings.root)
    return [sys.executable, "-m", "penstock.cli", "--project", root, *words]


def start(project: Project) -> Life:
    """Start a daemon in a session of its own; return it when it lives. Raises UsageError."""
    path = life_of(project)
    other = life.living(path, project.clock.now())
    if other is not None:
        raise UsageError(
            f"a daemon lives already: process {other.pid} on {other.host}",
            hint="`penstock daemon status` tells more",
        )
    with (project.settings.home / f"daemon.{project.user}.out").open("wb") as out:
        child = subprocess.Popen(
            argv(project, "daemon", "run", "--log"),
            cwd=project.settings.root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        found = life.read(path)
        if found is not None and found.is_here and found.pid == child.pid:
            child.returncode = 0  # it is not waited for: it goes on
            return found
        if child.poll() is not None:
            break
        time.sleep(0.05)
    said = Path(out.name).read_text(errors="replace")[-SAID:].strip()
    raise PenstockError(f"the daemon did not start: {said or 'it said nothing'}")


def stop(project: Project) -> Life | None:
    """End the daemon and wait for it; None: none lives. Raises UsageError where it isn't here."""
    path = life_of(project)
    found = life.living(path, project.clock.now())
    if found is None:
        return None
    if not found.is_here:
        raise UsageError(
            f"the daemon is process {found.pid} on {found.host}",
            hint=f"`ssh {found.host}`, then `penstock daemon stop` there",
        )
    try:
        handle = os.pidfd_open(found.pid)  # from here on the number means this process
    except ProcessLookupError:
        return None
    try:
        if is_gone(found.holder) or not _is_daemon(found.pid):
            return None
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], STOP_S)[0]:
            raise PenstockError(
                f"the daemon, process {found.pid}, has not ended within {STOP_S} s",
                hint="a call to the scheduler may hang: look at `penstock daemon logs`",
            )
    finally:
        os.close(handle)
    return found


def _is_daemon(pid: int) -> bool:
    """Return whether a process is a daemon of ours by its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"daemon" in words and any(b"penstock" in word for word in words)
