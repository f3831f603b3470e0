"""Move attempts from state to state, with the copy on their runs and the evidence."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from penstock.clock import stamp
from penstock.errors import StoreError
from penstock.model.evidence import Transition
from penstock.model.state import FINAL, LIVE, MOVES, State
from penstock.store import evidence, rows
from penstock.store.connection import Connection

_MOVE = (
    "UPDATE attempt SET state = ?, cause = ?, detail = ?, reason = ?, restart = ?,"
    " unknown_since = ?, started_at = coalesce(?, started_at), ended_at = ?,"
    " exit_code = ?, signal = ?,"
    " peak_bytes = coalesce(?, peak_bytes), cpu_s = coalesce(?, cpu_s),"
    " node = coalesce(?, node), job = coalesce(?, job) WHERE id = ?"
)
_COPY = (
    "UPDATE run SET state = ?, cause = ?, started_at = coalesce(?, started_at), ended_at = ?"
    " WHERE id = ? AND attempt = ?"
)


def apply(tx: Connection, transitions: Sequence[Transition], now: datetime) -> None:
    """Move attempts, and the copy on their runs; record the evidence that changed.

    Where a transition has no start, usage, node or job, what is recorded stays; all else becomes as
    it says. Raises StoreError for a move
    that ``model.state.MOVES`` forbids: that is a bug, and nothing is written.
    """
    recorded = _recorded(tx, [told.attempt for told in transitions])
    for told in transitions:
        _check_move(told, recorded)
    ends = [_ended_at(told, now) for told in transitions]
    tx.executemany(
        _MOVE,
        [_move(told, ended_at) for told, ended_at in zip(transitions, ends, strict=True)],
    )
    tx.executemany(
        _COPY,
        [
            (
                told.state.value,
                told.cause and told.cause.value,
                rows.seconds(told.started_at),
                end,
                *recorded[told.attempt][1:],
            )
            for told, end in zip(transitions, ends, strict=True)
        ],
    )
    evidence.record(tx, transitions, now)


def _recorded(tx: Connection, ids: Iterable[int]) -> dict[int, tuple[State, int, int]]:
    """Return state, run and number of attempts."""
    found: dict[int, tuple[State, int, int]] = {}
    for batch in rows.batches(ids):
        found_rows = tx.execute(
            "SELECT id, state, run_id, number FROM attempt WHERE id IN " + rows.marks(batch), batch
        )
        for attempt, state, run, number in found_rows:
            found[attempt] = State(state), run, number
    return found


def _check_move(told: Transition, recorded: dict[int, tuple[State, int, int]]) -> None:
    if told.attempt not in recorded:
        raise StoreError(f"there is no attempt {told.attempt}")
    state = recorded[told.attempt][0]
    if told.state not in MOVES[state] and (told.state is not state or state in FINAL):
        raise StoreError(
            f"attempt {told.attempt} cannot move from {state} to {told.state}",
            hint="this is a bug in Penstock: report it; nothing was written",
        )
    if told.state not in LIVE | FINAL:
        raise StoreError(f"attempt {told.attempt} cannot be {told.state}: that is said of runs")


def _ended_at(told: Transition, now: datetime) -> float | None:
    return stamp(told.ended_at or now) if told.state in FINAL else None


def _move(told: Transition, ended_at: float | None) -> tuple[Any, ...]:
    return (
        told.state.value,
        told.cause and told.cause.value,
        told.detail,
        told.reason,
        told.restart,
        rows.seconds(told.unknown_since),
        rows.seconds(told.started_at),
        ended_at,
        told.exit_code,
        told.signal,
        told.peak_bytes,
        told.cpu_s,
        told.node or None,
        told.job or None,
        told.attempt,
    )
