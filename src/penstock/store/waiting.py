"""Attempts that wait alike: one word of the scheduler is about all of them, and so is a statement.

An array of which ten thousand tasks wait is one row of squeue; what it says is compared and written
without a look at each.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from penstock.clock import stamp
from penstock.model.evidence import Rest
from penstock.model.state import State
from penstock.store.connection import Connection

_MOST = 50  # ranges in one statement; tasks of others are looked at one by one
_IS_LIVE = "attempt.state NOT IN ('completed', 'failed', 'cancelled')"
_UNHEARD = (
    "idx NOT IN (SELECT spool.idx FROM spool WHERE spool.array_id = ? AND opened_at IS NOT NULL)"
)


def few(rests: Iterable[Rest]) -> list[Rest]:
    """Return rests with the largest of their ranges only: a statement takes so many."""
    found, left = [], _MOST
    for rest in rests:
        largest = sorted(rest.ranges, key=lambda pair: pair[0] - pair[1])[:left]
        left -= len(largest)
        if largest:
            found.append(replace(rest, ranges=tuple(largest)))
    return found


def alike(rest: Rest, array_id: int) -> tuple[str, list[Any]]:
    """Return a condition, with its values: it waits so, and its runner was never heard of."""
    among, values = _among(rest, array_id)
    return f"state = ? AND reason = ? AND {among}", [rest.state.value, rest.reason, *values]


def differs(tx: Connection, array_id: int, rest: Rest) -> bool:
    """Return whether tasks are recorded as queued for another reason, and as nothing else."""
    others, values = _others(rest, array_id)
    return tx.one(f"SELECT 1 FROM attempt WHERE {others} LIMIT 1", values) is not None


def write(tx: Connection, array_id: int, rest: Rest, at: datetime) -> int:
    """Record why such tasks wait, as ``moves.apply`` does of each; return of how many.

    ``at`` is when the scheduler said so.
    """
    others, values = _others(rest, array_id)
    told = ("queue", rest.word, rest.state.value)
    tx.execute(
        "INSERT INTO evidence (attempt_id, source, at, word, detail)"
        f" SELECT attempt.id, ?, ?, ?, ? FROM attempt WHERE {others} AND NOT EXISTS"
        " (SELECT 1 FROM evidence WHERE evidence.id = (SELECT max(last.id) FROM evidence AS last"
        " WHERE last.attempt_id = attempt.id) AND source = ? AND word = ? AND detail = ?)",
        [told[0], stamp(at), *told[1:], *values, *told],
    )
    return tx.change(f"UPDATE attempt SET reason = ? WHERE {others}", [rest.reason, *values])


def _others(rest: Rest, array_id: int) -> tuple[str, list[Any]]:
    if rest.state is not State.QUEUED:
        return "1 = 0", []  # who is held is told of one by one: it is a change of state
    among, values = _among(rest, array_id)
    where = f"array_id = ? AND {_IS_LIVE} AND state = 'queued' AND reason <> ? AND {among}"
    return where, [array_id, rest.reason, *values]


def _among(rest: Rest, array_id: int) -> tuple[str, list[Any]]:
    ranges = " OR ".join(["idx BETWEEN ? AND ?"] * len(rest.ranges))
    bounds = [bound for pair in rest.ranges for bound in pair]
    return f"unknown_since IS NULL AND ({ranges}) AND {_UNHEARD}", [*bounds, array_id]
