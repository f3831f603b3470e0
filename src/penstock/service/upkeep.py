"""Keep a project up to date: cycles, and looks at the queue no more often than the pace allows.

The pace is shared by all processes of a user (a small file in the home folder), so that the
scheduler is not asked more often because more commands run.
"""

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock import aside
from penstock.clock import moment, stamp
from penstock.errors import PenstockError
from penstock.planning.pace import Pace, accounted, after
from penstock.service.project import Project
from penstock.store import attempts

if TYPE_CHECKING:
    from penstock.reconciler.cycle import Report

# What a pace has of times, in its file.
TIMES = ("at", "answered_at", "accounting_at", "accounting_answered_at")


@dataclass
class Upkeep:
    """Step by step upkeep of a project."""

    project: Project

    def step(self, *, force: bool = False, act: bool = False) -> "Report":
        """Run a cycle, with a look at the queue if that is due. Raises PenstockError.

        ``force``: look, due or not, if the site allows it. ``act``: tell the scheduler what users
        asked, due or not.
        """
        from penstock.reconciler.cycle import Report  # noqa: PLC0415  queries do without it

        clusters = self.project.settings.clusters
        live = _live(self.project) if clusters else set()
        far = sorted(live & clusters.keys())
        whole = Report()
        if not far or live - clusters.keys():
            whole = self._step(self.project, force=force, act=act)
        for name in far:
            _add(whole, self._far_step(name, force=force, act=act))
        return whole

    def _far_step(self, cluster: str, *, force: bool, act: bool) -> "Report":
        """Run a cycle on another cluster, if one is due: each needs the connection.

        One that cannot be reached keeps back no other, and is tried less and less often.
        """
        from penstock.reconciler.cycle import Report  # noqa: PLC0415

        path = self._path(self.project.state_of(cluster))
        pace = read_pace(path)
        if not (force or act or pace.is_due(self.project.clock.now())):
            return Report()
        from penstock.service import search  # noqa: PLC0415

        try:
            there = self.project.on(cluster)
            search.on(there, cluster)
            return Upkeep(there)._step(there, force=force, act=act)  # noqa: SLF001  a sibling
        except PenstockError as error:
            path.parent.mkdir(parents=True, exist_ok=True)
            looked = self._looked(pace, changed=False, failed=True, cluster=cluster)
            write_pace(path, looked)
            return Report(odd=[search.named(cluster, error)])

    def _step(self, project: Project, *, force: bool, act: bool) -> "Report":
        from penstock.reconciler.cycle import cycle  # noqa: PLC0415  queries do without it

        now = project.clock.now()
        pace = read_pace(self.path)
        look = pace.is_due(now, floor_s=project.floor_s, force=force)
        try:
            report = cycle(project.world, look=look, plan=look or act or force)
        except PenstockError:
            if look:
                write_pace(self.path, self._looked(pace, changed=False, failed=True))
            raise
        if force and not look and pace.at is not None:
            where = f"{project.world.alias}: " if project.world.alias else ""
            ago_s = (now - pace.at).total_seconds()
            report.too_soon.append(
                f"{where}the queue was looked at {ago_s:.0f} s ago, and the site allows it each "
                f"{project.floor_s:g} s"
            )
        if look and not report.is_other:
            changed = bool(report.changed or report.sent)
            failed, took_s = not report.polled, report.look_s
            looked = self._looked(pace, changed=changed, failed=failed, took_s=took_s)
            if report.has_history is not None:
                looked = accounted(looked, project.clock.now(), answered=report.has_history)
            if report.polled:
                absent_after = project.world.policy.absent_after
                looked = replace(looked, absent_s=absent_after.total_seconds())
            write_pace(self.path, looked)
        elif report.changed or report.sent:
            self.quicken(project.settings.poll_s)
        return report

    def quicken(self, wait_s: float) -> None:
        """Let the next look come no later than so long after the last: something was just asked."""
        _quicken(self.path, wait_s)

    def hurry(self) -> None:
        """Let the next look come at once, here and at each other cluster."""
        for name in ("", *self.project.settings.clusters):
            _quicken(self._path(self.project.state_of(name)) if name else self.path, 0)

    @property
    def path(self) -> Path:
        """Return the file that has the pace."""
        return self._path(self.project.state)

    def _path(self, folder: Path) -> Path:
        return folder / f"pace.{self.project.user}"

    def _looked(
        self, last: Pace, *, changed: bool, failed: bool, took_s: float = 0, cluster: str = ""
    ) -> Pace:
        settings = self.project.settings.at(cluster)
        now = self.project.clock.now()
        bounds = (settings.poll_s, max(settings.poll_s, settings.poll_max_s))
        return after(last, now, changed=changed, failed=failed, bounds_s=bounds, took_s=took_s)


def _quicken(path: Path, wait_s: float) -> None:
    pace = read_pace(path)
    write_pace(path, replace(pace, wait_s=min(pace.wait_s, wait_s)))


def _live(project: Project) -> set[str]:
    with project.store.read() as view:
        return attempts.live_clusters(view, user=project.user)


def _add(whole: "Report", one: "Report") -> None:
    """Add to a report what a cycle on another cluster did."""
    whole.changed += one.changed
    whole.ended += one.ended
    whole.sent += one.sent
    whole.odd += one.odd
    whole.too_soon += one.too_soon
    whole.polled = whole.polled or one.polled
    whole.is_other = whole.is_other or one.is_other


def read_pace(path: Path) -> Pace:
    """Return the pace; where there is none, or none that can be read, a look is due."""
    try:
        seen = json.loads(path.read_text())
        times = {name: moment(float(seen[name])) for name in TIMES if name in seen}
        absent_s = float(seen["absent_s"]) if "absent_s" in seen else None
        at, wait_s = times.pop("at"), float(seen["wait_s"])
        return Pace(at, wait_s, absent_s=absent_s, **times)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return Pace()


def write_pace(path: Path, pace: Pace) -> None:
    """Keep the pace for others; where that cannot be, they only ask more often."""
    if pace.at is None:
        return
    with contextlib.suppress(OSError):
        times = {name: stamp(at) for name in TIMES if (at := getattr(pace, name))}
        absent = {} if pace.absent_s is None else {"absent_s": pace.absent_s}
        aside.write(path, json.dumps({**times, "wait_s": pace.wait_s, **absent}))


def pace_of(project: Project, cluster: str, owner: str) -> Pace:
    """Return the pace of the looks at a cluster that somebody's runs are on."""
    is_far = cluster in project.settings.clusters
    folder = project.state_of(cluster) if is_far else project.state
    return read_pace(folder / f"pace.{owner}")


def told(report: "Report") -> list[str]:
    """Return what a cycle did, a line for each thing."""
    lines = []
    for sent in report.sent:
        many = f"{sent.array.size} run{'s' if sent.array.size > 1 else ''}"
        if sent.error is None:
            lines.append(f"sent {many} as job {sent.job}")
        else:
            lines.append(f"{many} not sent: {sent.error.what}")
    if report.ended:
        lines.append(f"{report.ended} ended")
    return lines


def has_live(project: Project) -> bool:
    """Return whether this user has runs that the reconciler could move."""
    with project.store.read() as view:
        return attempts.has_live(view, user=project.user)


def freshen(project: Project) -> list[str]:
    """Bring the record up to date before it is read; return what hindered, for people.

    Never raises for that: what is recorded can be read without a scheduler, and from a store
    that cannot be written. Raises StoreError where it cannot be read.
    """
    if not has_live(project):
        return []
    try:
        report = Upkeep(project).step()
    except PenstockError as error:
        return [f"not brought up to date: {error.what}"]
    return list(report.odd)
