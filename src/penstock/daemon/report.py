"""How the daemon fares, and what it costs: for `penstock daemon status`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.clock import moment
from penstock.daemon import life
from penstock.daemon.life import Life, Pulse
from penstock.daemon.process import life_of, log_of
from penstock.reconciler.world import is_gone
from penstock.scheduler import counted
from penstock.scheduler.counted import Asked
from penstock.service import doctor, query
from penstock.service.doctor import Finding
from penstock.service.project import Project
from penstock.service.query import Silence
from penstock.service.upkeep import Upkeep, read_pace
from penstock.store import recovery, upcoming
from penstock.store.upcoming import Waiting

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Load:
    """What all processes of this user asked of the scheduler."""

    questions: dict[str, int]  # by verb, in the last hour
    rpcs: int  # in the last hour
    per_run: float | None  # RPCs for each run that ended since counting began
    since: datetime | None  # when counting began


@dataclass(frozen=True)
class Report:
    """All that is told."""

    life: Life | None
    pulse: Pulse
    log: str
    leases: tuple[str, ...]  # who acts at this moment
    last_look: datetime | None
    last_answer: datetime | None  # earlier, where the queue did not answer
    next_look: datetime | None
    load: Load
    waiting: tuple[Waiting, ...]
    unknown: Silence | None


def report(project: Project) -> Report:
    """Return how the daemon fares, and what waits for what."""
    now = project.clock.now()
    path = life_of(project)
    pace = read_pace(Upkeep(project).path)
    asked = list(counted.asked(counted.path_of(project.settings.home, project.user)))
    since = asked[0].at if asked else None
    with project.store.read() as view:
        ended = upcoming.ended_since(view, user=project.user, since=since) if since else 0
        waiting = upcoming.waiting(view, user=project.user)
    return Report(
        life=life.living(path, now),
        pulse=life.pulse(path),
        log=str(log_of(project)),
        leases=tuple(recovery.holders(project.store, is_gone)),
        last_look=pace.at,
        last_answer=pace.answered_at,
        next_look=pace.at + timedelta(seconds=max(pace.wait_s, project.floor_s))
        if pace.at
        else None,
        load=load(asked, ended, now),
        waiting=tuple(waiting),
        unknown=query.silence(project, owner=project.user),
    )


def load(asked: list[Asked], ended: int, now: datetime) -> Load:
    """Return what was asked: pure."""
    recent = [one for one in asked if now - one.at < HOUR]
    questions: dict[str, int] = {}
    for one in recent:
        questions[one.verb] = questions.get(one.verb, 0) + 1
    return Load(
        questions,
        sum(one.rpcs for one in recent),
        sum(one.rpcs for one in asked) / ended if ended else None,
        asked[0].at if asked else None,
    )


def last_cycle(pulse: Pulse) -> datetime | None:
    """Return when a daemon ended its last cycle, as far as its pulse tells."""
    return moment(pulse.at) if pulse.at else None


def findings(project: Project) -> Iterator[Finding]:
    """Yield how it is with the daemon, as `penstock doctor` tells it."""
    alive = life.living(life_of(project), project.clock.now())
    if alive is None:
        yield doctor.ok("daemon", "none lives: commands bring the record up to date (or cron does)")
        return
    pulse = life.pulse(life_of(project))
    said = f"process {alive.pid} on {alive.host}, {pulse.cycles} cycles"
    if pulse.failures:
        advice = f"its log: {log_of(project)}"
        yield doctor.warn(
            "daemon", f"{said}, the last {pulse.failures} failed: {pulse.trouble}", advice
        )
    else:
        yield doctor.ok("daemon", said)
