"""What was seen of attempts: by whom, and what the files of their runners say."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from penstock.clock import moment, stamp
from penstock.model.evidence import Exit, Sighting, Transition
from penstock.store import rows
from penstock.store.connection import Connection

_INSERT = "INSERT INTO evidence (attempt_id, source, at, word, detail) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Seen:
    """A row of evidence; ``at`` is when its source said so."""

    source: str
    at: datetime
    word: str
    detail: str


def record(tx: Connection, transitions: Sequence[Transition], now: datetime) -> None:
    """Add what was believed of attempts, where it differs from what was believed last.

    Each with the time of its source; ``now`` is of what no source said.
    """
    last = _last(tx, [told.attempt for told in transitions])
    gained: list[tuple[int, str, float, str, str]] = []
    for told in transitions:
        detail = f"{told.state} ({told.cause})" if told.cause else told.state.value
        at = stamp(told.why_at or now)
        for source, word in told.why:
            if last.get(told.attempt) != (source, word, detail):
                gained.append((told.attempt, source, at, word, detail))
                last[told.attempt] = (source, word, detail)
    tx.executemany(_INSERT, gained)


def add(tx: Connection, attempt: int, seen: Iterable[Seen]) -> None:
    """Add rows of evidence as they are."""
    tx.executemany(
        _INSERT, [(attempt, one.source, stamp(one.at), one.word, one.detail) for one in seen]
    )


def of(tx: Connection, attempt: int) -> list[Seen]:
    """Return all evidence of an attempt, the oldest first."""
    found = tx.execute(
        "SELECT source, at, word, detail FROM evidence WHERE attempt_id = ? ORDER BY id", (attempt,)
    )
    return [Seen(source, moment(at), word, detail) for source, at, word, detail in found]


def _last(tx: Connection, attempts: Iterable[int]) -> dict[int, tuple[str, str, str]]:
    last: dict[int, tuple[str, str, str]] = {}
    for batch in rows.batches(attempts):
        found = tx.execute(
            "SELECT attempt_id, source, word, detail FROM evidence WHERE id IN"
            f" (SELECT max(id) FROM evidence WHERE attempt_id IN {rows.marks(batch)}"
            " GROUP BY attempt_id)",
            batch,
        )
        last.update((attempt, (source, word, detail)) for attempt, source, word, detail in found)
    return last


def sightings(
    tx: Connection, array_id: int, indices: Collection[int] | None = None
) -> dict[int, Sighting]:
    """Return what the runner of each element said, by index: of its highest restart.

    With ``indices``, of these elements only. A restart that died before it could repeat the sealed
    record of a lower one has that for its own: nothing was, and nothing is run after that.
    """
    if indices is not None and not indices:
        return {}
    where, few = "", list(indices) if indices is not None else []
    if indices is not None and len(few) <= rows.FEW:
        where = f" AND idx IN {rows.marks(few)}"
    found = tx.execute(
        "SELECT idx, restart, job, node, opened_at, heard_at, exit, done FROM spool"
        f" WHERE array_id = ? AND opened_at IS NOT NULL{where} ORDER BY idx, restart",
        (array_id, *(few if where else ())),
    )
    seen: dict[int, list[tuple[Any, ...]]] = {}
    for row in found:
        seen.setdefault(row[0], []).append(row)  # the last one is the highest restart
    wanted = seen.keys() if indices is None or where else seen.keys() & few
    return {idx: _of_element(seen[idx]) for idx in wanted}


def _of_element(restarts: Sequence[tuple[Any, ...]]) -> Sighting:
    last = _sighting(restarts[-1])
    before = next((row for row in reversed(restarts[:-1]) if row[6]), None)
    if last.exit is None and before is not None:
        sealed = exit_of(before[6], before[1])
        # One that came later is of a runner that was cut off: the restart did not know of it.
        if sealed.is_sealed and sealed.at <= last.opened_at:
            return replace(last, exit=sealed)
    return last


def _sighting(row: tuple[Any, ...]) -> Sighting:
    _, restart, job, node, opened_at, heard_at, text, done = row
    return Sighting(
        restart=restart,
        job=job,
        node=node,
        opened_at=moment(opened_at),
        heard_at=moment(heard_at),
        exit=exit_of(text, restart) if text else None,
        is_closed=bool(done),
    )


def exit_of(text: str, restart: int) -> Exit:
    """Return an exit record as ingest wrote it: checked."""
    body: dict[str, Any] = json.loads(text)
    return Exit(
        at=moment(body["at"]),
        restart=restart,
        code=body["code"],
        signal=body["signal"],
        cause=body["cause"],
        detail=body["detail"],
        is_sealed=body["sealed"],
        peak_bytes=body["peak"],
        cpu_s=body["cpu"],
        wall_s=body["wall"],
    )
