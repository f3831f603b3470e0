"""Directives: what users ask of runs, open until it is so."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from penstock.clock import moment, stamp
from penstock.store import attempts, rows
from penstock.store.connection import Connection

CANCEL = "cancel"
_MINE = (
    " JOIN stage ON stage.id = run.stage_id JOIN submission ON submission.id = submission_id"
    " WHERE done_at IS NULL AND verb = 'cancel'"
    " AND submission.owner = ? AND submission.cluster = ?"
)
_OVER = "('completed', 'failed', 'cancelled')"


@dataclass(frozen=True)
class Directive:
    """What a user asked of a run."""

    id: int
    owner: str
    verb: str
    run: int
    at: datetime


@dataclass(frozen=True)
class Place:
    """An element that is with the scheduler and shall end."""

    run: int
    array: int
    job: int | None
    index: int
    is_whole: bool  # … and so shall all others of its array that have not ended


def insert(tx: Connection, verb: str, runs: Collection[int], *, user: str, now: datetime) -> int:
    """Ask something of runs; return of how many: not of those that ended, nor twice."""
    asked = 0
    for batch in rows.batches(runs):
        asked += tx.change(
            "INSERT INTO directive (owner, verb, run_id, at) SELECT ?, ?, run.id, ? FROM run"
            f" WHERE run.id IN {rows.marks(batch)} AND state NOT IN {_OVER} AND NOT EXISTS"
            " (SELECT 1 FROM directive WHERE run_id = run.id AND verb = ? AND done_at IS NULL)",
            (user, verb, stamp(now), *batch, verb),
        )
    return asked


def open_(tx: Connection, *, user: str, cluster: str) -> list[Directive]:
    """Return the open directives on a user's runs, the oldest first."""
    found = tx.execute(
        "SELECT directive.id, directive.owner, verb, directive.run_id, at FROM directive"
        " JOIN run ON run.id = directive.run_id JOIN stage ON stage.id = run.stage_id"
        " JOIN submission ON submission.id = submission_id WHERE done_at IS NULL"
        " AND submission.owner = ? AND submission.cluster = ? ORDER BY directive.id",
        (user, cluster),
    )
    return [Directive(made, owner, verb, run, moment(at)) for made, owner, verb, run, at in found]


def are_open(view: Connection, *, user: str, cluster: str) -> bool:
    """Return whether a user's runs have directives that are not done."""
    found = view.one(
        "SELECT 1 FROM directive JOIN run ON run.id = directive.run_id"
        " JOIN stage ON stage.id = run.stage_id JOIN submission ON submission.id = submission_id"
        " WHERE done_at IS NULL AND submission.owner = ? AND submission.cluster = ? LIMIT 1",
        (user, cluster),
    )
    return found is not None


def close(tx: Connection, ids: Iterable[int], now: datetime) -> None:
    """Say that directives are done."""
    tx.executemany(
        "UPDATE directive SET done_at = ? WHERE id = ? AND done_at IS NULL",
        [(stamp(now), made) for made in ids],
    )


def close_ended(tx: Connection, now: datetime) -> None:
    """Say that directives on runs that have ended are done."""
    tx.execute(
        "UPDATE directive SET done_at = ? WHERE done_at IS NULL"
        f" AND EXISTS (SELECT 1 FROM run WHERE run.id = run_id AND state IN {_OVER})",
        (stamp(now),),
    )


def cancel_unsent(tx: Connection, *, user: str, cluster: str, now: datetime) -> int:
    """Cancel the runs that users want cancelled and that were never sent; return how many.

    An array that holds one and was never sent is dissolved: its other runs are planned anew.
    """
    close_ended(tx, now)
    arrays = tx.execute(
        "SELECT DISTINCT job_array.id FROM directive JOIN run ON run.id = directive.run_id"
        " JOIN attempt ON attempt.run_id = run.id AND attempt.number = run.attempt"
        " JOIN job_array ON job_array.id = array_id AND intent = 'intended' AND sent_at IS NULL"
        + _MINE,
        (user, cluster),
    )
    for (array,) in list(arrays):
        attempts.dissolve(tx, array, now)
    waiting = "run.state IN ('ready', 'waiting')"
    cancelled = tx.change(
        "UPDATE run SET state = 'cancelled', cause = 'user', ended_at = ? WHERE id IN"
        " (SELECT run.id FROM directive JOIN run ON run.id = directive.run_id"
        + _MINE
        + " AND "
        + waiting
        + ")",
        (stamp(now), user, cluster),
    )
    if cancelled:
        close_ended(tx, now)
    return cancelled


def to_cancel(tx: Connection, *, user: str, cluster: str) -> list[Place]:
    """Return the elements that the scheduler should cancel, by array and index."""
    found = tx.execute(
        "SELECT run.id, job_array.id, job_array.job, idx FROM directive"
        " JOIN run ON run.id = directive.run_id"
        " JOIN attempt ON attempt.run_id = run.id AND attempt.number = run.attempt"
        " AND attempt.state NOT IN ('completed', 'failed', 'cancelled')"
        " JOIN job_array ON job_array.id = array_id AND intent = 'accepted'"
        + _MINE
        + " ORDER BY job_array.id, idx",
        (user, cluster),
    )
    asked = list(found)
    left = {
        array: sum(states.values())
        for array, states in attempts.live_counts(tx, user=user, cluster=cluster).items()
    }
    of: dict[int, int] = {}
    for _, array, _, _ in asked:
        of[array] = of.get(array, 0) + 1
    return [
        Place(run, array, job, index, is_whole=of[array] == left.get(array))
        for run, array, job, index in asked
    ]
