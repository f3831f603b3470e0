"""Ingest: from bytes of spools to rows, each record once.

The offset moves in the transaction that adds the rows. Metrics, tags, results and evidence are
written here, never a state. What a spool says is not trusted: see ``records``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from penstock import failpoint
from penstock.clock import moment, stamp
from penstock.store import evidence, points, records
from penstock.store.connection import Connection
from penstock.store.points import Columns
from penstock.store.rows import marks
from penstock.store.values import tag_columns
from penstock.transport.protocol import Tail
from penstock.wire import spool

_NEWS = frozenset({"open", "start", "term", "exit"})  # kinds that may change a state
DONE = -1
_MANY = 100  # elements that are written together
_MUCH = 1 << 21  # bytes of their spools


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
    gained = [
        told for some in _groups(tails) for told in _take(tx, array_id, token, some, stamp(now))
    ]
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
            at = records.time(record.get("at"))
            if at > self.heard_at:
                self.heard_at = min(at, self.now)
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


def _groups(tails: Iterable[Tail]) -> Iterator[list[Tail]]:
    """Yield tails that are written together: each of another element, and not too much at once."""
    some: dict[int, Tail] = {}
    size = 0
    for tail in tails:
        if len(some) >= _MANY or size > _MUCH or tail.index in some:
            yield list(some.values())
            some, size = {}, 0
        some[tail.index] = tail
        size += len(tail.data)
    if some:
        yield list(some.values())


_Attempt = tuple[int, int, int]  # id, run, number


def _take(tx: Connection, array_id: int, token: str, tails: list[Tail], now: float) -> list[_Told]:
    """Take in what spools of several elements gained, with few statements for all of them."""
    indices = [tail.index for tail in tails]
    attempts: dict[int, _Attempt] = {
        idx: (made, run, number)
        for idx, made, run, number in tx.execute(
            "SELECT idx, id, run_id, number FROM attempt WHERE array_id = ? AND idx IN "
            + marks(indices),
            (array_id, *indices),
        )
    }
    positions = {
        (idx, restart): (read_to, bool(done))
        for idx, restart, read_to, done in tx.execute(
            "SELECT idx, restart, read_to, done FROM spool WHERE array_id = ? AND idx IN "
            + marks(indices),
            (array_id, *indices),
        )
    }
    every, taken, spools = [], [], []
    for tail in tails:
        told = _Told(token, tail.index, tail.restart, now)
        every.append(told)
        read_to, is_done = positions.get((tail.index, tail.restart), (0, False))
        if tail.index not in attempts or is_done or tail.offset > read_to:
            told.bad += tail.index not in attempts  # a name that lies
            continue
        used = _read(told, tail, tail.data[read_to - tail.offset :])
        spools.append(_spool(array_id, told, read_to + used, tail.is_done))
        taken.append((told, attempts[tail.index], tail.is_done))
    if taken:
        tx.executemany(_SPOOL, spools)
        _write_rows(tx, taken)
    return every


def _read(told: _Told, tail: Tail, data: bytes) -> int:
    """Let records be told; return how many bytes were used."""
    found, used, told.bad = spool.decode(data)
    if tail.is_done and used < len(data):
        told.bad, used = told.bad + 1, len(data)  # half a line, and no more will come
    for record in found:
        told.add(record)
    told.finish()
    told.is_news |= tail.is_done  # the record that was read before counts from now on
    return used


_SPOOL = (
    "INSERT INTO spool (array_id, idx, restart, read_to, done, bad, job, node, opened_at,"
    " heard_at, exit) VALUES (?, ?, ?, ?, ?, ?, coalesce(?, ''), coalesce(?, ''), ?, ?, ?)"
    " ON CONFLICT (array_id, idx, restart) DO UPDATE SET read_to = excluded.read_to,"
    " done = excluded.done, bad = spool.bad + excluded.bad,"
    " job = coalesce(nullif(excluded.job, ''), spool.job),"
    " node = coalesce(nullif(excluded.node, ''), spool.node),"
    " opened_at = coalesce(spool.opened_at, excluded.opened_at),"
    " heard_at = CASE WHEN excluded.heard_at > spool.heard_at THEN excluded.heard_at"
    " ELSE spool.heard_at END, exit = coalesce(excluded.exit, spool.exit)"
)


def _spool(array_id: int, told: _Told, read_to: int, is_done: bool) -> tuple[object, ...]:
    place = (array_id, told.index, told.restart)
    heard = (told.job, told.node, told.opened_at, told.heard_at, told.end)
    return (*place, read_to, int(is_done), told.bad, *heard)


_PARAM = (
    "INSERT INTO param (run_id, key, number, text, told) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (run_id, key) DO UPDATE SET number = excluded.number,"
    " text = excluded.text, told = excluded.told WHERE param.told IS NOT NULL"
)
_TAG = (
    "INSERT INTO tag (run_id, key, number, text) VALUES (?, ?, ?, ?) ON CONFLICT"
    " (run_id, key) DO UPDATE SET number = excluded.number, text = excluded.text"
)
_OUTPUT = (
    "INSERT INTO output (attempt_id, path, digest, bytes) VALUES (?, ?, ?, ?) ON CONFLICT"
    " (attempt_id, path) DO UPDATE SET digest = excluded.digest, bytes = excluded.bytes"
)
_Taken = tuple[_Told, _Attempt, bool]


def _write_rows(tx: Connection, taken: list[_Taken]) -> None:
    gained = [
        points.Gained(made, told.restart, told.columns, is_done)
        for told, (made, _, _), is_done in taken
        if told.columns or is_done
    ]
    if gained:
        points.write(tx, gained)
    _write_summaries(tx, [(told, of) for told, of, _ in taken if told.columns])
    rows: dict[str, list[tuple[object, ...]]] = {_PARAM: [], _TAG: [], _OUTPUT: []}
    for told, (made, run, _), _ in taken:
        rows[_PARAM] += [(run, key, *value) for key, value in told.params.items()]
        rows[_TAG] += [(run, key, *tag_columns(text)) for key, text in told.tags.items()]
        rows[_OUTPUT] += [(made, path, *value) for path, value in told.outputs.items()]
        if told.seen:
            evidence.add(tx, made, told.seen)
    for sql, some in rows.items():
        if some:
            tx.executemany(sql, some)


_SUMMARY = (
    "INSERT INTO metric (run_id, key, attempt, restart, last, step, min, max, count)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, key) DO UPDATE SET"
    " attempt = excluded.attempt, restart = excluded.restart, last = excluded.last,"
    " step = excluded.step, min = excluded.min, max = excluded.max, count = excluded.count"
)


def _write_summaries(tx: Connection, taken: list[tuple[_Told, _Attempt]]) -> None:
    """Bring the summaries of runs up to date; they follow the last restart of the last attempt."""
    if not taken:
        return
    runs = [run for _, (_, run, _) in taken]
    sql = "SELECT run_id, key, attempt, restart, min, max, count FROM metric WHERE run_id IN "
    old = {
        (run, key): ((attempt, restart), low, high, count)
        for run, key, attempt, restart, low, high, count in tx.execute(sql + marks(runs), runs)
    }
    rows = []
    for told, (_, run, number) in taken:
        of = (number, told.restart)
        for key, columns in told.columns.items():
            new = records.summary(columns)
            low, high, count = new.min, new.max, new.count
            before, old_low, old_high, old_count = old.get((run, key), (of, None, None, 0))
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
