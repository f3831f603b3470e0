"""Points of one metric as columns, and compressed: exact, and small.

A chunk is ``FORMAT`` and three columns (steps, times in ms, values), each a method, a length and
bytes. Whole numbers are stored as differences, and a plain progression as its two terms. The bytes
of a column are sorted by their place in the number before zlib sees them: what repeats then stands
together. Values are kept bit by bit.
"""

import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import sub

from penstock.store.connection import Connection
from penstock.store.rows import batches, marks

FORMAT = b"\x01"
MISSING = -(1 << 60)  # a step that was not told
_HEAD = struct.Struct("<BI")
_PROGRESSION = struct.Struct("<qq")
_EVEN, _DIFFERENCES, _PLAIN, _SHUFFLED = range(4)
_LEVEL = 6
FULL = 1000  # points; a chunk with as many is never written again
LARGEST = 8192
_MERGED = 7  # chunks that are not full, before they become one
_FEW = 100  # metrics of which one statement asks
_PROBE = 256  # values by which it is seen whether they repeat


@dataclass
class Columns:
    """Points: ``steps`` (or MISSING), ``times`` in ms since the epoch, ``values``: one length."""

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.values)

    def extend(self, other: "Columns") -> None:
        """Append points."""
        self.steps.extend(other.steps)
        self.times.extend(other.times)
        self.values.extend(other.values)

    def part(self, start: int, end: int) -> "Columns":
        """Return some of the points."""
        return Columns(self.steps[start:end], self.times[start:end], self.values[start:end])


@dataclass(frozen=True)
class Segment:
    """The points that one restart of an attempt told of one metric."""

    attempt: int  # its number
    restart: int
    points: Columns


def encode(columns: Columns) -> bytes:
    """Return points as bytes."""
    parts = [FORMAT]
    for method, data in (
        _whole(columns.steps),
        _whole(columns.times),
        _real(columns.values),
    ):
        parts += [_HEAD.pack(method, len(data)), data]
    return b"".join(parts)


def decode(data: bytes, count: int) -> Columns:
    """Return the points of ``encode``. Raises ValueError where it is not its work."""
    if data[:1] != FORMAT:
        raise ValueError(f"a chunk of format {data[:1]!r}")
    columns: list[tuple[int, bytes]] = []
    at = 1
    for _ in range(3):
        method, size = _HEAD.unpack_from(data, at)
        columns.append((method, data[at + _HEAD.size : at + _HEAD.size + size]))
        at += _HEAD.size + size
    steps, times, values = columns
    return Columns(_whole_of(*steps, count), _whole_of(*times, count), _real_of(*values))


def _whole(column: "array[int]") -> tuple[int, bytes]:
    if not column:
        return _EVEN, _PROGRESSION.pack(0, 0)
    differences = array("q", map(sub, column[1:], column))
    first = differences[0] if differences else 0
    if differences.count(first) == len(differences):
        return _EVEN, _PROGRESSION.pack(column[0], first)
    differences.insert(0, column[0])
    return _DIFFERENCES, zlib.compress(_shuffle(differences.tobytes()), _LEVEL)


def _whole_of(method: int, data: bytes, count: int) -> "array[int]":
    if method == _EVEN:
        first, step = _PROGRESSION.unpack(data)
        return array("q", range(first, first + step * count, step) if step else [first] * count)
    column = array("q", _unshuffle(zlib.decompress(data)))
    total = 0
    for place, difference in enumerate(column):
        total += difference
        column[place] = total
    return column


def _real(column: "array[float]") -> tuple[int, bytes]:
    plain = column.tobytes()
    shuffled = _SHUFFLED, zlib.compress(_shuffle(plain), _LEVEL)
    few = column[:_PROBE]
    if len(set(few)) * 2 > len(few):  # only what comes again and again may be smaller as it is
        return shuffled
    return min((_PLAIN, zlib.compress(plain, _LEVEL)), shuffled, key=lambda way: len(way[1]))


def _real_of(method: int, data: bytes) -> "array[float]":
    plain = zlib.decompress(data)
    return array("d", _unshuffle(plain) if method == _SHUFFLED else plain)


def _shuffle(data: bytes) -> bytes:
    """Put the first bytes of all numbers first, then all second ones, and so on."""
    return b"".join(data[place::8] for place in range(8))


def _unshuffle(data: bytes) -> bytes:
    count = len(data) // 8
    out = bytearray(len(data))
    for place in range(8):
        out[place::8] = data[place * count : (place + 1) * count]
    return bytes(out)


# --- in the store ---------------------------------------------------------------------------------


def segments(tx: Connection, run_id: int, key: str) -> list[Segment]:
    """Return all that a run told of a metric, by attempt and restart."""
    found = tx.execute(
        "SELECT attempt.number, chunk.restart, count, data FROM chunk"
        " JOIN attempt ON attempt.id = attempt_id"
        " WHERE run_id = ? AND key = ? ORDER BY attempt.number, chunk.restart, seq",
        (run_id, key),
    )
    told: dict[tuple[int, int], Columns] = {}
    for number, restart, count, data in found:
        told.setdefault((number, restart), Columns()).extend(decode(data, count))
    return [Segment(number, restart, columns) for (number, restart), columns in told.items()]


def points(tx: Connection, run_id: int, key: str) -> Columns:
    """Return the points of a metric as its summary has them: of the last restart that told any."""
    told = segments(tx, run_id, key)
    return told[-1].points if told else Columns()


@dataclass(frozen=True)
class Gained:
    """The points that one restart of an attempt gained, by metric. ``is_last``: none will come."""

    attempt: int
    restart: int
    columns: dict[str, Columns]
    is_last: bool


_Row = tuple[int, int, int]  # id, seq, count
_Of = tuple[int, int, str]  # attempt, restart, key


def write(tx: Connection, gained: Sequence[Gained]) -> None:
    """Append points to the chunks of several attempts, with few statements for all of them.

    What comes is a chunk of its own, until many of a size wait that are not full, or are so
    together: then they are written anew as one. So a slow logger costs neither a row a point, nor
    all its points at each look. With ``is_last`` all that are not full become one.
    """
    unfull = _unfull(tx, [one.attempt for one in gained])
    merged: dict[_Of, list[_Row]] = {}
    new: dict[_Of, Columns] = {}
    for one in gained:
        left = unfull.get((one.attempt, one.restart), {})
        for key in one.columns.keys() | (left.keys() if one.is_last else ()):
            rows = left.get(key, [])
            columns = one.columns.get(key, Columns())
            if columns or len(rows) > 1:
                of = (one.attempt, one.restart, key)
                new[of], merged[of] = columns, _merged(rows, len(columns), one.is_last)
    gone = [row[0] for rows in merged.values() for row in rows]
    old = _data(tx, gone)
    known: dict[_Of, int] = {}  # the seq with which to go on
    for of, rows in merged.items():
        if rows:
            known[of] = rows[0][1]
            whole = Columns()
            for made, _, count in rows:
                whole.extend(decode(old[made], count))
            whole.extend(new[of])
            new[of] = whole
    known |= _next_seqs(tx, [of for of in new if of not in known])
    for some in batches(gone):
        tx.execute(f"DELETE FROM chunk WHERE id IN {marks(some)}", some)
    tx.executemany(
        "INSERT INTO chunk (attempt_id, restart, key, seq, count, data) VALUES (?, ?, ?, ?, ?, ?)",
        [row for of, columns in new.items() for row in _chunks(of, known[of], columns)],
    )


def _merged(rows: list[_Row], size: int, is_last: bool) -> list[_Row]:
    """Return which of the chunks that are not full become one with so many new points."""
    at = len(rows)
    while at and (is_last or rows[at - 1][2] <= 2 * size):
        at -= 1
        size += rows[at][2]
    is_worth_it = is_last or size >= FULL or len(rows) - at >= _MERGED
    return rows[at:] if is_worth_it else []


def _unfull(
    tx: Connection, attempts: Sequence[int]
) -> dict[tuple[int, int], dict[str, list[_Row]]]:
    """Return the chunks that are not full, in order, by attempt and restart, and by metric."""
    found = tx.execute(
        "SELECT attempt_id, restart, key, id, seq, count FROM chunk WHERE attempt_id IN "
        f"{marks(attempts)} AND count < ? ORDER BY attempt_id, restart, key, seq",
        (*attempts, FULL),
    )
    unfull: dict[tuple[int, int], dict[str, list[_Row]]] = {}
    for attempt, restart, key, made, seq, count in found:
        rows = unfull.setdefault((attempt, restart), {}).setdefault(key, [])
        rows.append((made, seq, count))
    return unfull


def _data(tx: Connection, chunks: Sequence[int]) -> dict[int, bytes]:
    """Return the bytes of chunks."""
    found: dict[int, bytes] = {}
    for some in batches(chunks):
        found |= dict(tx.execute(f"SELECT id, data FROM chunk WHERE id IN {marks(some)}", some))
    return found


def _next_seqs(tx: Connection, every: Sequence[_Of]) -> dict[_Of, int]:
    """Return the seq that follows the last chunk of each metric."""
    found: dict[_Of, int] = {}
    for at in range(0, len(every), _FEW):
        some = every[at : at + _FEW]
        asked = ", ".join("(?, ?, ?)" for _ in some)
        sql = (
            f"WITH asked (a, r, k) AS (VALUES {asked}) SELECT a, r, k, (SELECT coalesce(max(seq)"
            " + 1, 0) FROM chunk WHERE attempt_id = a AND restart = r AND key = k) FROM asked"
        )
        rows = tx.execute(sql, [value for of in some for value in of])
        found |= {(attempt, restart, key): seq for attempt, restart, key, seq in rows}
    return found


def _chunks(of: _Of, seq: int, columns: Columns) -> Iterator[tuple[object, ...]]:
    for n, start in enumerate(range(0, len(columns), LARGEST)):
        part = columns.part(start, start + LARGEST)
        yield (*of, seq + n, len(part), encode(part))
