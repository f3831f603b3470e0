"""What arrays and runs of a user wait for, and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from penstock.clock import moment, stamp
from penstock.store import rows
from penstock.store.connection import Connection


@dataclass(frozen=True)
class Waiting:
    """So many runs that wait for one thing. ``at``: since when, or until when they wait."""

    what: str  # "room", "sending", "unsent", "unknown", "ending"
    runs: int
    at: datetime | None
    detail: str
    cluster: str = ""  # of "unknown"; the others are of all clusters


_ARRAYS = """
SELECT CASE WHEN intent = 'sending' THEN 'sending' WHEN not_before IS NOT NULL THEN 'room'
            ELSE 'unsent' END AS what, sum(size),
       min(CASE WHEN intent = 'sending' THEN sent_at ELSE not_before END), max(detail), ''
FROM job_array WHERE owner = ? AND intent IN ('intended', 'sending') GROUP BY what"""
_ATTEMPTS = """
SELECT 'ending', count(*), min(a.started_at), '', '' FROM job_array j
JOIN attempt a ON a.array_id = j.id
WHERE j.owner = ? AND j.intent = 'accepted' AND a.state = 'ending' HAVING count(*) > 0
UNION ALL
SELECT 'unknown', count(*), min(a.unknown_since), '', j.cluster FROM job_array j
JOIN attempt a ON a.array_id = j.id WHERE j.owner = ? AND j.intent = 'accepted'
AND a.state IN ('queued', 'held', 'running', 'ending') AND a.unknown_since IS NOT NULL
GROUP BY j.cluster"""


def waiting(view: Connection, *, user: str) -> list[Waiting]:
    """Return what a user's runs wait for beside their turn in the queue."""
    found = [*view.execute(_ARRAYS, (user,)), *view.execute(_ATTEMPTS, (user, user))]
    return [Waiting(what, runs, rows.time(at), *of) for what, runs, at, *of in found]


@dataclass(frozen=True)
class Unknown:
    """Runs of an experiment on one cluster of which nobody has heard."""

    experiment: str
    cluster: str
    runs: int
    since: datetime  # of the first
    example: int  # the lowest number of them


def unknown(view: Connection, project: str, *, before: Mapping[str, datetime]) -> list[Unknown]:
    """Return the runs that were not heard of since before a time, by experiment and cluster.

    The time is the one of their cluster, or where it has none that of "".
    """
    times = [word for name, at in before.items() for word in (name, stamp(at))]
    found = view.execute(
        "SELECT e.name, j.cluster, count(*), min(a.unknown_since), min(r.number) FROM job_array j"
        " JOIN attempt a ON a.array_id = j.id JOIN run r ON r.id = a.run_id"
        " JOIN experiment e ON e.id = r.experiment_id"
        " WHERE e.project = ? AND j.intent = 'accepted' AND a.unknown_since <"
        f" CASE j.cluster {'WHEN ? THEN ? ' * len(before)}ELSE ? END"
        " AND a.state IN ('queued', 'held', 'running') GROUP BY e.id, j.cluster ORDER BY e.id",
        (project, *times, stamp(before[""])),
    )
    return [
        Unknown(name, cluster, many, moment(at), first) for name, cluster, many, at, first in found
    ]


def together(found: Sequence[Unknown]) -> Unknown | None:
    """Return what was found of an experiment on its clusters as one; None: nothing. Pure."""
    if not found:
        return None
    return replace(
        found[0],
        runs=sum(one.runs for one in found),
        since=min(one.since for one in found),
        example=min(one.example for one in found),
    )


def ended_since(view: Connection, *, user: str, since: datetime) -> int:
    """Return how many runs of a user ended since."""
    found = view.one(
        "SELECT count(*) FROM run JOIN stage ON stage.id = run.stage_id"
        " JOIN submission ON submission.id = submission_id"
        " WHERE submission.owner = ? AND run.ended_at >= ?",
        (user, stamp(since)),
    )
    return found[0] if found else 0
