"""Ingest: from bytes of spools to rows, each record once.

The offset moves in the transaction that adds the rows. Metrics, tags, results and evidence are
written here, never a state. What a spool says is not trusted: see ``records``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from penstock import failpoint
from penstock.clock import moment, stamp
from penstock.store import evidence, points, records
from penstock.store.connection import Connection
from penstock.store.points import Columns
from penstock.store.values import tag_columns
from penstock.transport.protocol import Tail
from penstock.wire import spool

_NEWS = frozenset({"open", "start", "term", "exit"})  # kinds that may change a state
DONE = -1


@dataclass(frozen=True)
class Ingested:
    """What came in."""

    points: int
    changed: set[int]  # indices of elements whose state may have changed
    bad: int  # lines that did not count


def offsets(tx: Connection, array_id: int) -> dict[tuple[int, int], int]:
    """Return how far each spool was read, by index and restart; -1: to its end."""
    found = tx.execute(
        "SELECT idx, restart, read_to, done FROM spool WHERE array_id = ?", (array_id,)
    )
    return {(idx, restart): DONE if done else read_to for idx, restart, read_to, done in found}


def ingest(tx: Connection, array_id: int, tails: Iterable[Tail], now: datetime) -> Ingested:
    """Take in what spools of an array gained. What was taken in before is left out."""
    row = tx.one("SELECT token FROM job_array WHERE id = ?", (array_id,))
    token = row[0] if row else ""
    gained = [_take(tx, array_id, token, tail, stamp(now)) for tail in tails]
    failpoint.hit("ingest.before-commit")
    return Ingested(
        points=sum(one.points for one in gained),
        changed={one.index for one in gained if one.is_news},
        bad=sum(one.bad for one in gained),
    )


@dataclass
class _Told:
    """What the lines of one tail say, checked."""

    token: str
    index: int
    restart: int
    now: float
    bad: int = 0
    is_news: bool = False
    job: str | None = None
    node: str | None = None
    opened_at: float | None = None
    heard_at: float = 0
    end: str | None = None
    _metrics: dict[str, list[records.Record]] = field(default_factory=dict)
    columns: dict[str, Columns] = field(default_factory=dict)
    params: dict[str, tuple[float | None, str | None, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, tuple[str, int]] = field(default_factory=dict)
    seen: list[evidence.Seen] = field(default_factory=list)

    @property
    def points(self) -> int:
        return sum(map(len, self.columns.values()))

    def add(self, record: records.Record) -> None:
        """Take in a record; a wrong one is counted."""
        kind = record.get("k")
        try:
            self.heard_at = max(self.heard_at, min(records.time(record.get("at")), self.now))
            take = _KINDS.get(kind) if isinstance(kind, str) else None
            if take is not None:  # a kind that is not known is of a newer runner
                take(self, record)
        except records.WRONG:
            self.bad += 1
        else:
            self.is_news |= take is not None and kind in _NEWS

    def open(self, record: records.Record) -> None:
        told = (record["token"], record["index"], record["restart"])
        if told != (self.token, self.index, self.restart):
            raise ValueError("the spool of another")
        self.job, self.node = records.text(record["job"]), records.text(record["node"])
        self.opened_at = min(records.time(record["at"]), self.now)

    def metric(self, record: records.Record) -> None:
        self._metrics.setdefault(record["key"], []).append(record)

    def finish(self) -> None:
        """Make columns of the points, all records of a metric at once; where one is wrong, each."""
        for key, told in self._metrics.items():
            columns = Columns()
            try:
                columns = records.points(told)
            except records.WRONG:
                for record in told:
                    try:
                        columns.extend(records.points([record]))
                    except records.WRONG:
                        self.bad += 1
            if columns:
                self.columns[key] = columns

    def param(self, record: records.Record) -> None:
        key, number, text, body = records.told_param(record)
        self.params[key] = number, text, body

    def tag(self, record: records.Record) -> None:
        key, self.tags[key] = records.tag(record)

    def output(self, record: records.Record) -> None:
        path, digest, size = records.output(record)
        self.outputs[path] = digest, size

    def note(self, record: records.Record) -> None:
        at, what = records.note(record)
        self.seen.append(evidence.Seen("runner", moment(at), "note", what))

    def term(self, record: records.Record) -> None:
        word = f"signal {records.whole(record['signal'], 1 << 16)}"
        self.seen.append(evidence.Seen("runner", moment(records.time(record["at"])), word, ""))

    def exit(self, record: records.Record) -> None:
        self.end = records.exit_text(record)


_KINDS: dict[str, Callable[[_Told, records.Record], None]] = {
    "open": _Told.open,
    "m": _Told.metric,
    "param": _Told.param,
    "tag": _Told.tag,
    "output": _Told.output,
    "note": _Told.note,
    "term": _Told.term,
    "exit": _Told.exit,
}


def _take(tx: Connection, array_id: int, token: str, tail: Tail, now: float) -> _Told:
    told = _Told(token, tail.index, tail.restart, now)
    attempt = tx.one(
        "SELECT id, run_id, number FROM attempt WHERE array_id = ? AND idx = ?",
        (array_id, tail.index),
    )
    place = (array_id, tail.index, tail.restart)
    read_to, is_done = _position(tx, place)
    if attempt is None or is_done or tail.offset > read_to:
        told.bad += attempt is None  # a name that lies
        return told
    data = tail.data[read_to - tail.offset :]
    found, used, told.bad = spool.decode(data)
    if tail.is_done and used < len(data):
        told.bad, used = told.bad + 1, len(data)  # half a line, and no more will come
    for record in found:
        told.add(record)
    told.finish()
    told.is_news |= tail.is_done  # the record that was read before counts from now on
    _write_spool(tx, place, told, read_to + used, tail.is_done)
    _write_rows(tx, told, attempt, is_done=tail.is_done)
    return told


def _position(tx: Connection, place: tuple[int, int, int]) -> tuple[int, bool]:
    row = tx.one(
        "SELECT read_to, done FROM spool WHERE array_id = ? AND idx = ? AND restart = ?", place
    )
    return (row[0], bool(row[1])) if row else (0, False)


def _write_spool(
    tx: Connection, place: tuple[int, int, int], told: _Told, read_to: int, is_done: bool
) -> None:
    tx.execute(
        "INSERT INTO spool (array_id, idx, restart, read_to, done, bad, job, node, opened_at,"
        " heard_at, exit) VALUES (?, ?, ?, ?, ?, ?, coalesce(?, ''), coalesce(?, ''), ?, ?, ?)"
        " ON CONFLICT (array_id, idx, restart) DO UPDATE SET read_to = excluded.read_to,"
        " done = excluded.done, bad = spool.bad + excluded.bad,"
        " job = coalesce(nullif(excluded.job, ''), spool.job),"
        " node = coalesce(nullif(excluded.node, ''), spool.node),"
        " opened_at = coalesce(spool.opened_at, excluded.opened_at),"
        " heard_at = CASE WHEN excluded.heard_at > spool.heard_at THEN excluded.heard_at"
        " ELSE spool.heard_at END, exit = coalesce(excluded.exit, spool.exit)",
        (
            *place,
            read_to,
            int(is_done),
            told.bad,
            told.job,
            told.node,
            told.opened_at,
            told.heard_at,
            told.end,
        ),
    )


def _write_rows(
    tx: Connection, told: _Told, attempt: tuple[int, int, int], *, is_done: bool
) -> None:
    made, run, number = attempt
    if told.columns or is_done:
        points.write(tx, made, told.restart, told.columns, is_last=is_done)
    if told.columns:
        _write_summaries(tx, told, run, number)
    if told.params:
        tx.executemany(
            "INSERT INTO param (run_id, key, number, text, told) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (run_id, key) DO UPDATE SET number = excluded.number,"
            " text = excluded.text, told = excluded.told WHERE param.told IS NOT NULL",
            [(run, key, *value) for key, value in told.params.items()],
        )
    if told.tags:
        tx.executemany(
            "INSERT INTO tag (run_id, key, number, text) VALUES (?, ?, ?, ?) ON CONFLICT"
            " (run_id, key) DO UPDATE SET number = excluded.number, text = excluded.text",
            [(run, key, *tag_columns(text)) for key, text in told.tags.items()],
        )
    if told.outputs:
        tx.executemany(
            "INSERT INTO output (attempt_id, path, digest, bytes) VALUES (?, ?, ?, ?) ON CONFLICT"
            " (attempt_id, path) DO UPDATE SET digest = excluded.digest, bytes = excluded.bytes",
            [(made, path, *value) for path, value in told.outputs.items()],
        )
    if told.seen:
        evidence.add(tx, made, told.seen)


_SUMMARY = (
    "INSERT INTO metric (run_id, key, attempt, restart, last, step, min, max, count)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, key) DO UPDATE SET"
    " attempt = excluded.attempt, restart = excluded.restart, last = excluded.last,"
    " step = excluded.step, min = excluded.min, max = excluded.max, count = excluded.count"
)


def _write_summaries(tx: Connection, told: _Told, run: int, number: int) -> None:
    """Bring the summaries of a run up to date; they follow the last restart of the last attempt."""
    of = (number, told.restart)
    old = {
        key: ((attempt, restart), low, high, count)
        for key, attempt, restart, low, high, count in tx.execute(
            "SELECT key, attempt, restart, min, max, count FROM metric WHERE run_id = ?", (run,)
        )
    }
    rows = []
    for key, columns in told.columns.items():
        new = records.summary(columns)
        low, high, count = new.min, new.max, new.count
        before, old_low, old_high, old_count = old.get(key, (of, None, None, 0))
        if before > of:
            continue
        if before == of:
            low, high = _bounds(old_low, old_high, low, high)
            count += old_count
        last = new.last if new.last == new.last else None  # NaN: NULL
        rows.append((run, key, *of, last, new.step, low, high, count))
    tx.executemany(_SUMMARY, rows)


def _bounds(
    old_low: float | None, old_high: float | None, low: float | None, high: float | None
) -> tuple[float | None, float | None]:
    lows = [bound for bound in (old_low, low) if bound is not None]
    highs = [bound for bound in (old_high, high) if bound is not None]
    return min(lows, default=None), max(highs, default=None)
