"""What arrays and runs of a user wait for, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from penstock.clock import moment, stamp
from penstock.store import rows
from penstock.store.connection import Connection


@dataclass(frozen=True)
class Waiting:
    """So many runs that wait for one thing. ``at``: since when, or until when they wait."""

    what: str  # "room", "sending", "unsent", "ending"
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
WHERE j.owner = ? AND j.intent = 'accepted' AND a.state = 'ending' HAVING count(*) > 0"""


def waiting(view: Connection, *, user: str) -> list[Waiting]:
    """Return what a user's runs wait for beside their turn in the queue."""
    found = [*view.execute(_ARRAYS, (user,)), *view.execute(_ATTEMPTS, (user,))]
    return [Waiting(what, runs, rows.time(at), detail) for what, runs, at, detail in found]


@dataclass(frozen=True)
class Unknown:
    """Runs of an experiment, on one cluster and of one owner, of which nobody has heard."""

    experiment: str
    cluster: str
    owner: str
    runs: int
    since: datetime  # of the first
    silent_at: datetime  # since when nobody hears of the first, not its runner either
    example: int  # the lowest number of them


# Of a runner the highest restart tells, as for decisions.
_UNKNOWN = """
SELECT e.name, j.cluster, j.owner, count(*), min(a.unknown_since),
       min(CASE WHEN s.heard_at > a.unknown_since THEN s.heard_at ELSE a.unknown_since END),
       min(r.number)
FROM job_array j JOIN attempt a ON a.array_id = j.id JOIN run r ON r.id = a.run_id
JOIN experiment e ON e.id = r.experiment_id
LEFT JOIN spool s ON s.array_id = a.array_id AND s.idx = a.idx AND s.restart =
    (SELECT max(restart) FROM spool WHERE array_id = a.array_id AND idx = a.idx
     AND opened_at IS NOT NULL)
WHERE e.project = ? AND j.intent = 'accepted' AND a.unknown_since < {before}
AND a.state IN ('queued', 'held', 'running')
GROUP BY e.id, e.name, j.cluster, j.owner ORDER BY e.id, j.cluster, j.owner"""


def unknown(view: Connection, project: str, *, before: Mapping[str, datetime]) -> list[Unknown]:
    """Return the runs that were not heard of since before a time.

    The time is the one of their cluster, or where it has none that of "".
    """
    times = [word for name, at in before.items() for word in (name, stamp(at))]
    limit = f"CASE j.cluster {'WHEN ? THEN ? ' * len(before)}ELSE ? END"
    return [
        Unknown(name, cluster, owner, many, moment(since), moment(silent), first)
        for name, cluster, owner, many, since, silent, first in view.execute(
            _UNKNOWN.format(before=limit), (project, *times, stamp(before[""]))
        )
    ]


def ended_since(view: Connection, *, user: str, since: datetime) -> int:
    """Return how many runs of a user ended since."""
    found = view.one(
        "SELECT count(*) FROM run JOIN stage ON stage.id = run.stage_id"
        " JOIN submission ON submission.id = submission_id"
        " WHERE submission.owner = ? AND run.ended_at >= ?",
        (user, stamp(since)),
    )
    return found[0] if found else 0
