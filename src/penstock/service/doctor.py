"""Look a project over: settings, folders, store, locks, scheduler; and say what to do.

Each check yields findings and changes nothing that stays. What keeps one check from an answer is
its finding, and keeps back no other.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import penstock
from penstock.clock import stamp
from penstock.errors import PenstockError
from penstock.reconciler.world import is_gone
from penstock.scheduler import choose, pyslurm
from penstock.scheduler.protocol import Scheduler
from penstock.service import clusters, probe
from penstock.service.project import Project
from penstock.settings.files import origins
from penstock.store import recovery, volume
from penstock.store.connection import VERSION, Store
from penstock.transport.local import LocalTransport

LITTLE_BYTES, LITTLE_SHARE = 1 << 30, 0.03  # of a file system; less than one of both is little
LITTLE_FILES = 10_000
WRONG_S = 5.0  # clocks that differ by more are told of
GIB = 1 << 30
# What its scheduler does without is told from what would end a command (see scheduler/pyslurm.py).
DONE_WITHOUT = 3
LOAD = f"""
import sys
try:
    import pyslurm
except (ImportError, OSError) as error:
    print(error, file=sys.stderr)
    sys.exit({DONE_WITHOUT})
print(pyslurm.__version__)
"""
TRY_JOB = "`penstock doctor --job` sends a job that tries"


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """What it is about, how it is, and what to do."""

    level: Level
    what: str
    said: str
    advice: str = ""


def ok(what: str, said: str) -> Finding:
    """Return what is as it should be."""
    return Finding(Level.OK, what, said)


def warn(what: str, said: str, advice: str) -> Finding:
    """Return what may become a trouble."""
    return Finding(Level.WARN, what, said, advice)


def fail(what: str, said: str, advice: str) -> Finding:
    """Return what keeps runs from being submitted or recorded."""
    return Finding(Level.FAIL, what, said, advice)


@dataclass(frozen=True)
class Visit:
    """What several checks want to know."""

    project: Project

    @cached_property
    def chosen(self) -> tuple[str, str]:
        """Return the scheduler's name, and why it is this one."""
        return choose.why(self.project.settings, LocalTransport())

    @cached_property
    def scheduler(self) -> Scheduler:
        """Return the scheduler, whatever the store is like."""
        project = self.project
        return choose.choose(project.settings, LocalTransport(), memory=project.state)

    @property
    def is_slurm(self) -> bool:
        """Say whether jobs run elsewhere."""
        return self.chosen[0] != "local"


Check = Callable[[Visit], Iterator[Finding]]


def examine(project: Project, *, job: bool = False, wait_s: float = 600) -> Iterator[Finding]:
    """Yield what is found, in an order; with ``job`` also what a job on a node finds."""
    visit = Visit(project)
    for what, check in CHECKS.items():
        yield from guarded(what, check(visit))
    if job:
        yield from guarded("job", _job(visit, wait_s))


def guarded(what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings of a check, and as the last one what ended it."""
    try:
        yield from findings
    except PenstockError as error:
        yield fail(what, "; ".join(error.what.split("\n")), error.hint)
    except OSError as error:
        yield fail(what, f"{error.filename or what}: {error.strerror or error}", "")


# --- what is set ---------------------------------------------------------------------------------


def _penstock(_: Visit) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("penstock", f"{penstock.__version__}, with Python {version} in {sys.prefix}")


def _settings(visit: Visit) -> Iterator[Finding]:
    settings = visit.project.settings
    yield ok("project", f"{settings.project_name}, in {settings.root}")
    for key, where in sorted(origins(settings.root).items()):
        # A store's URL may have a password, in the environment.
        value = Store(settings.store_url).name if key == "store" else getattr(settings, key)
        shown = ", ".join(value) if isinstance(value, dict) else value
        yield ok("setting", f"{key} = {shown}, from {where}")


# --- folders -------------------------------------------------------------------------------------


def _home(visit: Visit) -> Iterator[Finding]:
    yield from _folder(visit, "home", visit.project.settings.home)


def _results(visit: Visit) -> Iterator[Finding]:
    yield from _folder(visit, "results", visit.project.settings.results)


def _folder(visit: Visit, what: str, folder: Path) -> Iterator[Finding]:
    there = folder
    while not there.exists():  # the first run makes it
        there = there.parent
    kind = volume.kind(there)
    named = f"{folder}, on {kind or 'a file system of an unknown kind'}"
    if why := _why_not_written(there):
        yield fail(what, f"{named}: you cannot write there: {why}", "whose is it, is it read-only?")
    elif visit.is_slurm and not volume.is_shared(kind):
        yield warn(what, f"{named}, which may be of this host alone", f"{TRY_JOB}")
    else:
        yield ok(what, named)
    yield _room(what, there)


def _why_not_written(folder: Path) -> str:
    """Return what keeps a file from being written: nothing but trying tells, on shared storage."""
    path = folder / f".doctor-{secrets.token_hex(4)}"
    try:
        path.write_text("x")
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return ""


def _room(what: str, folder: Path) -> Finding:
    found = os.statvfs(folder)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    said = f"{free / GIB:,.1f} GiB of {whole / GIB:,.1f} free"
    if found.f_files:  # some file systems have no count
        said += f", {found.f_favail:,} more files"
    said += " (your quota may be less)"
    is_little = free < LITTLE_BYTES or free < LITTLE_SHARE * whole
    if is_little or (found.f_files and found.f_favail < LITTLE_FILES):
        return warn(f"room for {what}", said, "remove what is not needed, or have it enlarged")
    return ok(f"room for {what}", said)


# --- the store -----------------------------------------------------------------------------------


def _store(visit: Visit) -> Iterator[Finding]:
    store = visit.project.store
    is_file = store.dialect.path is not None
    said = f"{store.name}, {'SQLite' if is_file else 'PostgreSQL'}, tables of version {VERSION}"
    if is_file:
        with store.read() as view:
            journal = view.one("PRAGMA journal_mode")
        said += f", journal {journal[0] if journal else '?'}"
    yield ok("store", said)
    holders = recovery.holders(store, is_gone)
    yield ok("lease", f"held by {', '.join(holders)}" if holders else "nobody holds it now")


def _locks(visit: Visit) -> Iterator[Finding]:
    home = visit.project.settings.home
    locks = probe.between_processes(home)
    if not locks.work:
        yield fail(
            "locks",
            f"they do not work in {home}: {locks.why_not}",
            "have it mounted with locks (Lustre: -o flock), or use PostgreSQL for the store",
        )
        return
    yield ok("locks", f"they work between processes of this host, in {home}")
    if Store(visit.project.settings.store_url).dialect.path is None:
        return  # the server of the database has the locks that count
    known = probe.remembered(home)
    for host, one in sorted(known.items()):
        yield _between(host, bool(one.get("proven")), str(one.get("at", ""))[:16])
    if not known and visit.is_slurm:
        what = "whether they work between hosts was never tried"
        yield warn("locks", what, TRY_JOB)


def _between(host: str, proven: bool, at: str) -> Finding:
    if proven:
        return ok("locks", f"they work between hosts: seen from {host}, {at}")
    return fail(
        "locks",
        f"they do not work between hosts: seen from {host}, {at}",
        "only one host may write to the store, others are refused; have it mounted with locks "
        "(Lustre: -o flock), or use PostgreSQL, and try again with --job",
    )


def _clock(visit: Visit) -> Iterator[Finding]:
    path = visit.project.settings.home / f".doctor-{secrets.token_hex(4)}"
    try:
        path.touch()
        path.write_text("x")
        ahead_s = path.stat().st_mtime - stamp(visit.project.clock.now())
    finally:
        path.unlink(missing_ok=True)
    yield _clocks("the file system's clock", ahead_s)


def _clocks(whose: str, ahead_s: float) -> Finding:
    if abs(ahead_s) <= WRONG_S:
        return ok("clock", f"{whose} is as this host's")
    how = f"{abs(ahead_s):,.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"
    return warn("clock", f"{whose} is {how} this host's", "tell your administrator: times are off")


# --- the scheduler -------------------------------------------------------------------------------


def _scheduler(visit: Visit) -> Iterator[Finding]:
    name, reason = visit.chosen
    if name != pyslurm.NAME:
        yield ok("scheduler", f"{name}: {reason}")
        return
    # In a process of its own: Slurm's library ends one in which it finds no configuration.
    words = [sys.executable, "-c", LOAD]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        yield ok("scheduler", f"{name}: {reason}")
        yield ok("pyslurm", done.stdout.strip())
        return
    said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
    why = f"pyslurm cannot be loaded: {said}"
    advice = 'build it anew (docs/guides/pyslurm.md), or set `scheduler = "slurm"`'
    if done.returncode == DONE_WITHOUT and visit.project.settings.scheduler == "auto":
        yield warn("scheduler", f"slurm: {why}; Slurm's commands are used", advice)
    else:
        yield fail("scheduler", f"{name}: {why}", advice)


def _slurm(visit: Visit) -> Iterator[Finding]:
    can = visit.scheduler.capabilities()
    if not visit.is_slurm:
        return
    limits = visit.scheduler.limits()
    version = ".".join(map(str, can.version))
    yield ok("slurm", f"{version} answers, cluster {can.cluster}, MinJobAge {can.min_job_age_s} s")
    if can.has_accounting:
        yield ok("accounting", f"there; believed to be at most {can.accounting_lag_s} s late")
    else:
        advice = "what was perhaps sent is asked of you: penstock resolve"
        yield warn("accounting", "there is none: only the queue and the runs tell", advice)
    room = "not limited, or not told" if limits.room is None else f"{limits.room:,} more tasks now"
    yield ok("limits", f"arrays of up to {limits.max_array_size:,} tasks; in the queue: {room}")


def _apptainer(_: Visit) -> Iterator[Finding]:
    found = shutil.which("apptainer") or shutil.which("singularity")
    said = found or "not on PATH here; only specs with `env: {apptainer: …}` need it, on the nodes"
    yield ok("apptainer", said)


def _clusters(visit: Visit) -> Iterator[Finding]:
    if not visit.project.settings.clusters:
        return
    for one in clusters.standings(visit.project):
        if one.why:
            advice = f"mend it, then: penstock clusters --connect {one.name}"
            yield warn(
                "cluster", f"{one.name} ({one.host}) could not be reached: {one.why}", advice
            )
        else:
            state = "connected" if one.is_connected else "not connected; the next command does"
            yield ok("cluster", f"{one.name} ({one.host}): {state}")


CHECKS: dict[str, Check] = {
    "penstock": _penstock,
    "settings": _settings,
    "home": _home,
    "results": _results,
    "store": _store,
    "locks": _locks,
    "clock": _clock,
    "scheduler": _scheduler,
    "slurm": _slurm,
    "apptainer": _apptainer,
    "clusters": _clusters,
}


# --- a job ---------------------------------------------------------------------------------------


def _job(visit: Visit, wait_s: float) -> Iterator[Finding]:
    project = visit.project
    report = probe.on_a_node(project, visit.scheduler, wait_s=wait_s)
    node = report.node or report.host
    yield ok(
        "job", f"{report.job} ran on {node} ({report.host}), which sees {project.settings.home}"
    )
    version = tuple(int(number) for number in report.python.split("."))
    named = f"{report.python} on {node}, as `{project.settings.python}`"
    if version < (3, 6):
        yield fail("python", named, "set `python` to one of 3.6 or later that all nodes have")
    else:
        yield ok("python", named)
    yield ok("apptainer", f"on {node}: {report.apptainer or 'not on PATH'}")
    yield _clocks(f"the clock of {node}, beside the file system's,", report.ahead_s)
    if report.is_elsewhere:
        at = project.clock.now().isoformat(timespec="seconds")
        probe.remember(project.settings.home, report, at)
        yield _between(report.host, report.locks.work, at[:16])
    elif report.locks.work:
        yield ok("locks", "they work from a job on this host; between hosts that proves nothing")
    else:
        yield fail("locks", f"a job of this host: {report.locks.why_not}", "see above")
