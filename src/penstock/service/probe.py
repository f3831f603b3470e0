"""Send a job that looks around on a compute node, and tries a lock that this host holds meanwhile.

What it finds of locks is kept in ``<home>/locks.json``, where the store's writers look:
``{"hosts": {"node7": {"proven": true, "at": "2026-11-26T08:00:00+00:00"}}}``.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock import aside
from penstock.errors import NotFoundError, PenstockError, SchedulerError
from penstock.model.spec import Request
from penstock.model.state import FINAL, word
from penstock.reconciler.send import new_token
from penstock.runner import probe
from penstock.scheduler import script
from penstock.scheduler.protocol import Scheduler, Submission
from penstock.service.project import Project
from penstock.store.writers import PROBED
from penstock.transport.local import LocalTransport

REQUEST = Request(mem_mb=200, time_s=300)
SLOWEST_S = 30.0  # what another host wrote is seen so late at most (attribute caches)


@dataclass(frozen=True)
class Locks:
    """What became of a lock that was held, and of one that was not."""

    held: str
    free: str

    @property
    def work(self) -> bool:
        """Say whether locks keep a second process out, and only then."""
        return (self.held, self.free) == ("refused", "given")

    @property
    def why_not(self) -> str:
        """Say what went wrong."""
        if self.held == "given":
            return "a lock that is held was given to another as well"
        return f"a lock that is held: {self.held}; one that nobody holds: {self.free}"


@dataclass(frozen=True)
class Report:
    """What a job found on its node."""

    host: str
    node: str
    job: int
    ahead_s: float  # how much the node's clock is before ours
    python: str
    locks: Locks
    apptainer: str

    @property
    def is_elsewhere(self) -> bool:
        """Say whether it was another host than this."""
        return self.host != socket.gethostname()


def between_processes(home: Path) -> Locks:
    """Hold a lock in the home, and try it in another process of this host. Raises OSError."""
    with _held(home / f".doctor-{secrets.token_hex(4)}") as folder:
        path = str(folder / "probe.py")
        shutil.copyfile(probe.__file__, path)
        subprocess.run([sys.executable, path, str(folder)], check=True, timeout=60)
        said = json.loads((folder / probe.REPORT).read_text())
        return Locks(said["held"], said["free"])


def on_a_node(project: Project, scheduler: Scheduler, *, wait_s: float) -> Report:
    """Send the job and wait for what it finds. Raises PenstockError, OSError.

    A job that does not begin in time is cancelled.
    """
    with _held(project.settings.home / "doctor" / new_token()) as folder:
        submission = _written(project, folder)
        job = scheduler.submit(submission)
        try:
            said = _wait(project, scheduler, folder, job, wait_s)
        except BaseException:
            with contextlib.suppress(PenstockError):
                scheduler.cancel([(job, None)])
            raise
        return Report(
            host=str(said["host"]),
            node=str(said["node"]),
            job=job,
            ahead_s=float(said["at"]) - (folder / probe.REPORT).stat().st_mtime,
            python=str(said["python"]),
            locks=Locks(str(said["held"]), str(said["free"])),
            apptainer=str(said["apptainer"]),
        )


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Make a folder with a lock that is held as long as it is there."""
    folder.mkdir(parents=True)
    try:
        file = probe.lock(str(folder / probe.HELD))
    except OSError:
        file = -1  # no locks here at all: the other one finds that out
    try:
        yield folder
    finally:
        if file >= 0:
            os.close(file)
        shutil.rmtree(folder, ignore_errors=True)


def _written(project: Project, folder: Path) -> Submission:
    transport = LocalTransport()
    submission = Submission(
        folder.name, "doctor", 1, None, REQUEST, str(folder), str(folder / "slurm.log")
    )
    text = script.render(
        submission,
        python=project.settings.python,
        runner=str(folder / "probe.py"),
        templates=project.settings.templates,
    )
    transport.put(str(folder / "script.sh"), text.encode(), mode=0o755)
    transport.put(str(folder / "probe.py"), Path(probe.__file__).read_bytes())
    return submission


def _wait(
    project: Project, scheduler: Scheduler, folder: Path, job: int, wait_s: float
) -> dict[str, Any]:
    clock, every_s = project.clock, project.settings.poll_s
    began = asked_at = clock.now()
    ended_at = None
    while True:
        os.listdir(folder)  # noqa: PTH208  so NFS asks its server
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((folder / probe.REPORT).read_text())
            return found
        now = clock.now()
        if ended_at is not None and (now - ended_at).total_seconds() > SLOWEST_S:
            raise NotFoundError(*_no_report(folder, job))
        if (now - began).total_seconds() > wait_s:
            raise SchedulerError(
                f"job {job} has not told anything for {wait_s:.0f} s, and was cancelled",
                hint="is the cluster full? --wait 3600 waits longer",
            )
        if (now - asked_at).total_seconds() >= every_s:
            asked_at = now
            if ended_at is None and _has_ended(scheduler, job):
                ended_at = now
        clock.sleep(0.5)


def _has_ended(scheduler: Scheduler, job: int) -> bool:
    try:
        tasks = [task for task in scheduler.observe().tasks if task.job == job]
    except SchedulerError:
        return False
    return all(word(task.word).state in FINAL for task in tasks)


def _no_report(folder: Path, job: int) -> tuple[str]:
    with contextlib.suppress(OSError):
        said = (folder / "slurm.log").read_text(errors="replace").strip()[-500:]
        return (f"job {job} has ended without a report; its log says: {said or 'nothing'}",)
    return (f"job {job} has ended without a report, and its log is not here",)


# --- what is remembered


def remember(home: Path, report: Report, at: str) -> None:
    """Keep what was found of locks between two hosts. Raises OSError."""
    hosts = remembered(home)
    hosts[report.host] = {"proven": report.locks.work, "at": at}
    aside.write(home / PROBED, json.dumps({"hosts": hosts}, indent=1) + "\n")


def remembered(home: Path) -> dict[str, dict[str, Any]]:
    """Return what is known of locks between this and other hosts."""
    try:
        found = json.loads((home / PROBED).read_text())["hosts"]
        return {str(name): dict(one) for name, one in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
