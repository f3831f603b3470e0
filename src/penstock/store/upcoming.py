"""What arrays and runs of a user wait for, and until when."""

from dataclasses import dataclass
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


_ARRAYS = """
SELECT CASE WHEN intent = 'sending' THEN 'sending' WHEN not_before IS NOT NULL THEN 'room'
            ELSE 'unsent' END AS what, sum(size),
       min(CASE WHEN intent = 'sending' THEN sent_at ELSE not_before END), max(detail)
FROM job_array WHERE owner = ? AND intent IN ('intended', 'sending') GROUP BY what"""
_ATTEMPTS = """
SELECT 'ending', count(*), min(a.started_at), '' FROM job_array j
JOIN attempt a ON a.array_id = j.id
WHERE j.owner = ? AND j.intent = 'accepted' AND a.state = 'ending' HAVING count(*) > 0
UNION ALL
SELECT 'unknown', count(*), min(a.unknown_since), '' FROM job_array j
JOIN attempt a ON a.array_id = j.id WHERE j.owner = ? AND j.intent = 'accepted'
AND a.state IN ('queued', 'held', 'running', 'ending') AND a.unknown_since IS NOT NULL
HAVING count(*) > 0"""


def waiting(view: Connection, *, user: str) -> list[Waiting]:
    """Return what a user's runs wait for beside their turn in the queue."""
    found = [*view.execute(_ARRAYS, (user,)), *view.execute(_ATTEMPTS, (user, user))]
    return [Waiting(what, runs, rows.time(at), detail) for what, runs, at, detail in found]


@dataclass(frozen=True)
class Unknown:
    """Runs of an experiment of which nobody has heard."""

    experiment: str
    runs: int
    since: datetime  # of the first
    example: int  # the lowest number of them


def unknown(view: Connection, project: str, *, before: datetime) -> list[Unknown]:
    """Return the runs that were not heard of since before a time, by experiment."""
    found = view.execute(
        "SELECT e.name, count(*), min(a.unknown_since), min(r.number) FROM job_array j"
        " JOIN attempt a ON a.array_id = j.id JOIN run r ON r.id = a.run_id"
        " JOIN experiment e ON e.id = r.experiment_id"
        " WHERE e.project = ? AND j.intent = 'accepted' AND a.unknown_since < ?"
        " AND a.state IN ('queued', 'held', 'running') GROUP BY e.id ORDER BY e.id",
        (project, stamp(before)),
    )
    return [Unknown(name, many, moment(at), first) for name, many, at, first in found]


def ended_since(view: Connection, *, user: str, since: datetime) -> int:
    """Return how many runs of a user ended since."""
    found = view.one(
        "SELECT count(*) FROM run JOIN stage ON stage.id = run.stage_id"
        " JOIN submission ON submission.id = submission_id"
        " WHERE submission.owner = ? AND run.ended_at >= ?",
        (user, stamp(since)),
    )
    return found[0] if found else 0
