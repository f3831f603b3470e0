import json
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from penstock import failpoint
from penstock.clock import moment
from penstock.model.evidence import Exit
from penstock.model.run import Array
from penstock.model.state import State
from penstock.store import attempts, ingest, search
from penstock.store import points as stored
from penstock.store.connection import Store
from penstock.transport.protocol import Tail
from tests.contract.store.making import (
    AT,
    NOW,
    ended,
    line,
    move,
    opened,
    plan,
    points,
    ready,
    rows,
    seen,
    submit,
    take,
    written,
)

SUMMARY = "SELECT key, last, step, min, max, count FROM metric ORDER BY key"


@pytest.fixture
def array(store: Store) -> Array:
    submit(store, 3)
    return plan(store)


def values(store: Store, key: str = "loss", run: int = 1) -> list[float]:
    return list(seen(store, stored.points, run, key).values)


def test_points_come_with_their_summary(store: Store, array: Array) -> None:
    data = opened(array) + points("loss", [3.0, 1.0, 2.0]) + points("acc", [0.5], first=7)
    told = take(store, array, data)
    assert (told.points, told.changed, told.bad) == (4, {0}, 0)
    assert rows(store, SUMMARY) == [("acc", 0.5, 7, 0.5, 0.5, 1), ("loss", 2.0, 2, 1.0, 3.0, 3)]
    columns = seen(store, stored.points, 1, "loss")
    assert list(columns.values) == [3.0, 1.0, 2.0]
    assert list(columns.steps) == [0, 1, 2]
    assert list(columns.times) == [round((AT + n / 10) * 1000) for n in range(3)]


def test_offsets_move_to_the_end_of_whole_lines(store: Store, array: Array) -> None:
    data = opened(array) + points("loss", [1.0])
    take(store, array, data + b"00000000 {half")
    assert seen(store, ingest.offsets, array.id) == {(0, 0): len(data)}
    take(store, array, ended(), at=(0, 0, len(data)), is_done=True)
    assert seen(store, ingest.offsets, array.id) == {(0, 0): ingest.DONE}


def test_bytes_that_came_in_before_do_not_count_again(store: Store, array: Array) -> None:
    data = opened(array) + points("loss", [1.0])
    more = points("loss", [2.0], first=1)
    take(store, array, data)
    assert take(store, array, data).points == 0
    assert take(store, array, data + more).points == 1
    assert values(store) == [1.0, 2.0]
    assert rows(store, "SELECT count FROM metric") == [(2,)]


def test_a_gap_is_not_jumped(store: Store, array: Array) -> None:
    take(store, array, opened(array))
    before = seen(store, ingest.offsets, array.id)
    assert take(store, array, points("loss", [1.0]), at=(0, 0, 10_000)).points == 0
    assert seen(store, ingest.offsets, array.id) == before


def test_a_spool_that_is_done_stays_so(store: Store, array: Array) -> None:
    take(store, array, opened(array) + ended(), is_done=True)
    assert take(store, array, opened(array) + points("loss", [1.0])).points == 0
    assert values(store) == []


def test_half_a_line_at_the_very_end_is_bad(store: Store, array: Array) -> None:
    told = take(store, array, opened(array) + b"00000000 {half", is_done=True)
    assert told.bad == 1
    assert seen(store, ingest.offsets, array.id) == {(0, 0): ingest.DONE}


def test_a_crash_before_the_commit_doubles_nothing(
    store: Store, array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(array) + points("loss", [1.0, 2.0])

    def trip(name: str) -> None:
        if name == "ingest.before-commit":
            raise failpoint.Tripped(name)

    monkeypatch.setattr(failpoint, "trip", trip)
    with pytest.raises(failpoint.Tripped):
        take(store, array, data)
    assert seen(store, ingest.offsets, array.id) == {}
    assert values(store) == []
    monkeypatch.setattr(failpoint, "trip", None)
    take(store, array, data)
    assert values(store) == [1.0, 2.0]


PROGRAM = """
import sys
from tests.contract.store.making import take
from penstock.model.run import Intent
from penstock.store import attempts
from penstock.store.connection import open_store
store = open_store(sys.argv[1])
with store.read() as view:
    (array,) = attempts.arrays(view, user="alice", cluster="test", intents=list(Intent))
take(store, array, bytes.fromhex(sys.argv[2]))
"""


def test_a_kill_before_the_commit_doubles_nothing(store: Store, array: Array, url: str) -> None:
    data = opened(array) + points("loss", [1.0, 2.0])
    argv = [sys.executable, "-c", PROGRAM, url, data.hex()]
    for trip, code in (("ingest.before-commit", -9), ("", 0), ("", 0)):
        environment = {**os.environ, "PENSTOCK_FAILPOINT": trip}
        assert subprocess.run(argv, env=environment, check=False).returncode == code
        assert values(store) == ([] if code else [1.0, 2.0])


def test_nan_and_infinities_are_kept(store: Store, array: Array) -> None:
    told = [math.inf, math.nan, 1.0, -math.inf, math.nan]
    take(store, array, opened(array) + points("loss", told) + points("bad", [math.nan]))
    assert repr(values(store)) == repr(told)
    assert rows(store, SUMMARY) == [
        ("bad", None, 0, None, None, 1),
        ("loss", None, 4, -math.inf, math.inf, 5),
    ]
    (run, *_) = seen(store, search.runs, project="demo")
    assert math.isnan(run.metrics["loss"])


def test_missing_steps_are_kept(store: Store, array: Array) -> None:
    data = opened(array) + points("a", [1.0, 2.0], steps=[5, None]) + points("b", [1.0], steps=None)
    assert take(store, array, data).bad == 0
    steps = list(seen(store, stored.points, 1, "a").steps)
    assert steps == [5, stored.MISSING]
    assert rows(store, "SELECT step FROM metric") == [(None,), (None,)]


def test_a_later_restart_takes_over_the_summary(store: Store, array: Array) -> None:
    take(store, array, opened(array) + points("loss", [9.0, 8.0]))
    take(store, array, opened(array, restart=1) + points("loss", [5.0]), at=(0, 1, 0))
    late = len(opened(array) + points("loss", [9.0, 8.0]))
    take(store, array, points("loss", [0.0], first=2), at=(0, 0, late))
    assert rows(store, SUMMARY) == [("loss", 5.0, 0, 5.0, 5.0, 1)]
    segments = seen(store, stored.segments, 1, "loss")
    assert [(one.attempt, one.restart, list(one.points.values)) for one in segments] == [
        (1, 0, [9.0, 8.0, 0.0]),
        (1, 1, [5.0]),
    ]
    assert values(store) == [5.0]


def test_a_later_attempt_takes_over_the_summary(store: Store, array: Array) -> None:
    take(store, array, opened(array, restart=4) + points("loss", [9.0]), at=(0, 4, 0))
    move(store, array, State.FAILED, 0)
    written(store, lambda tx: tx.execute("UPDATE run SET state = 'ready' WHERE id = 1"))
    again = plan(store)
    assert seen(store, attempts.elements, again.id)[0].attempt == 2
    take(store, again, opened(again) + points("loss", [1.0]))
    assert rows(store, SUMMARY) == [("loss", 1.0, 0, 1.0, 1.0, 1)]


def batched(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(values)
    while some := list(islice(left, size)):
        yield some


@pytest.mark.parametrize("batch", [1, 7, 400, 3000])
def test_points_told_bit_by_bit_make_few_rows(store: Store, array: Array, batch: int) -> None:
    every = [math.sin(n) for n in range(3000)]
    data = opened(array)
    take(store, array, data)
    offset = len(data)
    tails = [every[at : at + batch] for at in range(0, len(every), batch)]
    for some in batched(enumerate(tails), 100):
        with store.write() as tx:
            for number, part in some:
                data = points("loss", part, first=number * batch)
                is_done = number == len(tails) - 1
                ingest.ingest(tx, array.id, [Tail(0, 0, offset, data, is_done)], NOW)
                offset += len(data)
        # Of one point at a time seven wait, then as many of eight, of 64, and of 512.
        assert rows(store, "SELECT count(*) FROM chunk WHERE count < 1000")[0][0] <= 28
    assert values(store) == every
    assert rows(store, "SELECT count FROM metric") == [(3000,)]
    assert rows(store, "SELECT count(*) FROM chunk")[0][0] <= 3


def test_an_end_is_seen_with_all_it_tells(store: Store, array: Array) -> None:
    data = opened(array) + line("beat", AT + 1, peak=1, cpu=1.0)
    take(store, array, data + ended(code=None, signal=9, cause="memory", detail="é", sealed=False))
    sighting = seen(store, attempts.sightings, array.id)[0]
    assert sighting.exit == Exit(
        at=moment(AT),
        restart=0,
        code=None,
        signal=9,
        cause="memory",
        detail="é",
        is_sealed=False,
        peak_bytes=1 << 30,
        cpu_s=2.5,
        wall_s=3.5,
    )
    assert (sighting.job, sighting.node) == ("7_0", "n1")
    assert (sighting.opened_at, sighting.heard_at) == (moment(AT), moment(AT + 1))


def test_only_news_of_the_element_count_as_change(store: Store, array: Array) -> None:
    data = opened(array)
    assert take(store, array, data).changed == {0}
    beat = line("beat", peak=1, cpu=1.0) + points("loss", [1.0])
    assert take(store, array, beat, at=(0, 0, len(data))).changed == set()
    told = take(store, array, line("term", signal=15), at=(0, 0, len(data + beat)))
    assert told.changed == {0}


def test_a_clock_that_is_ahead_is_not_believed(store: Store, array: Array) -> None:
    late = NOW.timestamp() + 3600
    take(store, array, opened(array, at=late) + line("beat", late, peak=1, cpu=1.0))
    sighting = seen(store, attempts.sightings, array.id)[0]
    assert sighting.opened_at == sighting.heard_at == NOW


def test_tags_params_results_and_notes_are_taken(store: Store, array: Array) -> None:
    data = (
        opened(array)
        + line("tag", name="kind", value="cat")
        + line("tag", name="kind", value="dog")
        + line("tag", name="n", value="3")
        + line("param", name="told", value=[1, {"a": None}])
        + line("param", name="lr", value="mine")
        + line("output", path="a/model.pt", digest="d1", bytes=1 << 40)
        + line("note", what="the disk was slow")
    )
    assert take(store, array, data).bad == 0
    (run, *_) = seen(store, search.runs, project="demo")
    assert run.tags == {"kind": "dog", "n": "3"}
    assert run.params == {"lr": 0.0, "size": 0, "told": [1, {"a": None}]}
    assert rows(store, "SELECT path, digest, bytes FROM output") == [("a/model.pt", "d1", 1 << 40)]
    assert rows(store, "SELECT source, word, detail FROM evidence") == [
        ("runner", "note", "the disk was slow")
    ]


def test_what_a_run_told_is_no_parameter_of_its_retry(store: Store, array: Array) -> None:
    take(store, array, opened(array) + line("param", name="told", value=1))
    move(store, array, State.FAILED, 0)
    written(store, lambda tx: tx.execute("UPDATE run SET state = 'ready' WHERE id = 1"))
    assert ready(store)[0].params == '{"lr":0.0,"size":0}'


M = {"key": "x", "steps": [1], "times": [AT], "values": [1.0]}
LONG = "x" * 20_000
WRONG: list[dict[str, Any]] = [
    {"k": "m"},
    {"k": "m", **M, "key": 3},
    {"k": "m", **M, "key": ""},
    {"k": "m", **M, "key": LONG},
    {"k": "m", **M, "key": "\ud800"},
    {"k": "m", **M, "key": "a\0b"},
    {"k": "m", **M, "values": ["1"]},
    {"k": "m", **M, "values": [None]},
    {"k": "m", **M, "values": "1"},
    {"k": "m", **M, "values": {"0": 1}},
    {"k": "m", **M, "values": [10**400]},
    {"k": "m", **M, "values": [[1.0]]},
    {"k": "m", **M, "values": [1.0, 2.0]},
    {"k": "m", **M, "steps": [1, 2]},
    {"k": "m", **M, "steps": [1.5]},
    {"k": "m", **M, "steps": [1 << 62]},
    {"k": "m", **M, "steps": [1 << 80]},
    {"k": "m", **M, "steps": {}},
    {"k": "m", **M, "times": [math.nan]},
    {"k": "m", **M, "times": [1e300]},
    {"k": "m", **M, "times": [-1]},
    {"k": "m", **M, "times": [[1]]},
    {"k": "m", **M, "times": []},
    {"k": "tag", "name": "a"},
    {"k": "tag", "name": "a", "value": LONG},
    {"k": "tag", "name": "a", "value": {}},
    {"k": "tag", "name": None, "value": "x"},
    {"k": "param", "name": "a"},
    {"k": "param", "name": "a", "value": LONG},
    {"k": "output", "path": "/etc/passwd", "digest": "d", "bytes": 1},
    {"k": "output", "path": "a/../../b", "digest": "d", "bytes": 1},
    {"k": "output", "path": "a", "digest": "d", "bytes": -1},
    {"k": "output", "path": "a", "digest": "d", "bytes": 1 << 70},
    {"k": "output", "path": "a", "digest": 3, "bytes": 1},
    {"k": "note"},
    {"k": "note", "what": 3},
    {"k": "term", "signal": "x"},
    {"k": "term", "signal": 1 << 90},
    {"k": "exit"},
    {"k": "exit", "code": "0"},
    {"k": "exit", "code": 0, "peak": 1 << 90},
    {"k": "exit", "code": 0, "cpu": "x"},
    {"k": "exit", "code": 1 << 40},
    {"k": "open"},
    {"k": "open", "token": "other", "index": 0, "restart": 0, "job": "7_0", "node": "n"},
]


@pytest.mark.parametrize("record", WRONG, ids=lambda record: json.dumps(record)[:60])
def test_a_wrong_record_is_counted_and_nothing_else(
    store: Store, array: Array, record: dict[str, Any]
) -> None:
    data = opened(array) + line(**{"at": AT, **record}) + points("loss", [1.0])
    told = take(store, array, data)
    assert (told.bad, told.points) == (1, 1)
    assert rows(store, "SELECT bad FROM spool") == [(1,)]
    for table in ("tag", "output", "evidence"):
        assert rows(store, f"SELECT * FROM {table}") == []
    assert rows(store, "SELECT key FROM param WHERE told IS NOT NULL") == []


@pytest.mark.parametrize("at", ["x", None, math.nan, -5, 1e300, 10**400, []])
def test_a_record_without_a_time_is_wrong(store: Store, array: Array, at: Any) -> None:
    assert take(store, array, opened(array) + line("beat", at)).bad == 1


@pytest.mark.parametrize("kind", [3, None, [], {}, "newer"])
def test_a_kind_that_is_not_known_is_left_alone(store: Store, array: Array, kind: Any) -> None:
    assert take(store, array, opened(array) + line(kind)).bad == 0


def raw(body: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(body) & 0xFFFFFFFF, body)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"garbage\n",
        b"\0" * 100 + b"\n",
        raw(b"[1, 2]"),
        raw(b'"k"'),
        raw(b"null"),
        raw(b"\xff\xfe"),
        raw(b"[" * 100_000),
        raw(b'{"k": "beat", "at": ' + b"9" * 10_000 + b"}"),
        b"zzzzzzzz {}\n",
    ],
)
def test_bytes_that_are_no_record_are_counted(store: Store, array: Array, data: bytes) -> None:
    told = take(store, array, opened(array) + data + points("loss", [1.0]))
    assert (told.bad, told.points) == (1, 1)


def test_a_spool_of_no_element_is_counted(store: Store, array: Array) -> None:
    told = take(store, array, opened(array, 77), at=(77, 0, 0))
    assert (told.bad, told.changed) == (1, set())
    assert seen(store, ingest.offsets, array.id) == {}


def test_an_unknown_cause_does_not_hide_the_end(store: Store, array: Array) -> None:
    take(store, array, opened(array) + ended(code=3, cause="of-a-newer-runner"))
    last = seen(store, attempts.sightings, array.id)[0].exit
    assert last is not None
    assert (last.code, last.cause) == (3, None)


def test_ingest_never_writes_a_state(store: Store, array: Array) -> None:
    take(store, array, opened(array) + ended(), is_done=True)
    assert {state for (state,) in rows(store, "SELECT state FROM run")} == {"queued"}
    assert {state for (state,) in rows(store, "SELECT state FROM attempt")} == {"queued"}


def test_several_spools_come_in_one_transaction(store: Store, array: Array) -> None:
    tails = [
        Tail(index, 0, 0, opened(array, index) + points("loss", [float(index)]), False)
        for index in range(3)
    ]
    with store.write() as tx:
        told = ingest.ingest(tx, array.id, tails, NOW + timedelta(seconds=1))
    assert (told.points, told.changed) == (3, {0, 1, 2})
    assert [values(store, run=run) for run in (1, 2, 3)] == [[0.0], [1.0], [2.0]]
