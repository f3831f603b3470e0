import math
from datetime import timedelta

import pytest

from penstock.errors import NotFoundError, UsageError
from penstock.model.run import RunRow
from penstock.model.state import Cause, State
from penstock.store import glance, search, submissions
from penstock.store.connection import Store
from tests.contract.store.making import (
    NOW,
    make_submission,
    move,
    opened,
    plan,
    points,
    rows,
    submit,
    take,
)


@pytest.fixture
def filled(store: Store) -> Store:
    """Five runs of ``sweep`` (1 completed, 2 failed, 3 runs, 4 and 5 wait) and one of ``other``."""
    submit(
        store,
        [
            {"lr": 0.1, "model": "cnn", "deep": True, "odd key": 1},
            {"lr": 0.01, "model": "CNN-large", "deep": False},
            {"lr": 1, "model": "50%_off", "deep": None},
            {"lr": "auto", "model": "mlp"},
            {"model": "mlp"},
        ],
        tags=(("team", "blue"), ("round", "3")),
    )
    array = plan(store, size=3)
    move(store, array, State.RUNNING, started_at=NOW - timedelta(hours=2))
    move(store, array, State.COMPLETED, 0, ended_at=NOW)
    move(store, array, State.FAILED, 1, cause=Cause.MEMORY, ended_at=NOW - timedelta(hours=1))
    for index, told in enumerate([[0.5, 0.9], [0.7], [math.nan]]):
        take(store, array, opened(array, index) + points("val/acc", told), at=(index, 0, 0))
    submit(store, [{"lr": 5}], experiment="other", tags=(("team", "red"),))
    submit(store, [{"lr": 0.1}], project="elsewhere")
    return store


def names(store: Store, words: str, sort: str = "") -> str:
    with store.read() as view:
        found = search.runs(view, words, project="demo", sort=sort)
        assert search.count(view, words, project="demo") == len(found)
        assert search.count(view, words, project="demo", most=2) == min(len(found), 3)
    return " ".join(run.name.replace("sweep/", "") for run in found)


@pytest.mark.parametrize(
    "words,expected",
    [
        ("", "1 2 3 4 5 other/1"),
        ("params.lr = 0.1", "1"),
        ("params.lr == 1e-1", "1"),
        ("params.lr<=0.1", "1 2"),
        ("params.lr > 0.05 and params.lr < 2", "1 3"),
        ("params.lr = auto", "4"),
        ("params.lr = 'auto'", "4"),
        ("params.lr = '0.1'", ""),
        ("params.lr != 0.1", "2 3 4 other/1"),
        ("params.lr is null", "5"),
        ("params.lr is not null", "1 2 3 4 other/1"),
        ("params.deep = true", "1"),
        ("params.deep is null", "3 4 5 other/1"),
        ("params.model ~ cnn", "1 2"),
        ("params.model ~ 'Large'", "2"),
        ("params.model ~ '%_'", "3"),
        ("params.model !~ cnn", "3 4 5"),
        ("params.'odd key' = 1", "1"),
        ('params."odd key" in (1, 2)', "1"),
        ("params.lr in (0.01, 1, auto)", "2 3 4"),
        ("params.lr not in (0.01, 1, auto)", "1 5 other/1"),
        ("metrics.val/acc > 0.8", "1"),
        ("metrics.val/acc >= 0.7", "1 2"),
        ("metrics.val/acc = nan", "3"),
        ("metrics.val/acc != nan", "1 2"),
        ("metrics.val/acc is null", "4 5 other/1"),
        ("tags.team = blue", "1 2 3 4 5"),
        ("tags.team ~ 'RE'", "other/1"),
        ("tags.round >= 3", "1 2 3 4 5"),
        ("tags.round = '3'", "1 2 3 4 5"),
        ("state = completed", "1"),
        ("state = 'FAILED'", "2"),
        ("state in (failed, running)", "2 3"),
        ("not state = ready", "1 2 3"),
        ("cause = memory", "2"),
        ("cause != memory", ""),
        ("not cause = memory", "1 3 4 5 other/1"),
        ("cause is null", "1 3 4 5 other/1"),
        ("experiment = other", "other/1"),
        ("experiment ~ swe", "1 2 3 4 5"),
        ("run = sweep/2", "2"),
        ("number <= 1", "1 other/1"),
        ("stage = main and attempt = 1", "1 2 3"),
        ("started is null", "4 5 other/1"),
        ("started < -10s", "1 2 3"),
        ("created > '2024-11-19'", "1 2 3 4 5 other/1"),
        ("created > '2025-11-19'", ""),
        ("ended = '2024-11-20 14:00+00:00'", "1"),
        ("duration <= 1h", "2"),
        ("duration = 7200", "1"),
        ("duration > 90m", "1 3"),
        ("user = alice and cluster = test", "1 2 3 4 5 other/1"),
        ("state = failed or params.lr = 1", "2 3"),
        ("state = failed or state = completed and params.lr = 5", "2"),
        ("(state = failed or state = completed) and params.lr = 0.1", "1"),
        ("NOT (state = ready OR state = failed)", "1 3"),
        ("not not state = failed", "2"),
    ],
)
def test_a_filter_finds(filled: Store, words: str, expected: str) -> None:
    assert names(filled, words) == expected


@pytest.mark.parametrize(
    "sort,expected",
    [
        ("", "1 2 3 4 5 other/1"),
        ("metrics.val/acc", "2 1 3 4 5 other/1"),
        ("-metrics.val/acc", "1 2 3 4 5 other/1"),
        ("params.lr", "2 1 3 other/1 4 5"),
        ("-params.lr", "other/1 3 1 2 4 5"),
        ("-number", "5 4 3 2 1 other/1"),
        ("run", "other/1 1 2 3 4 5"),
        ("-run", "5 4 3 2 1 other/1"),
        ("duration", "2 1 3 4 5 other/1"),
        ("state, -number", "1 2 5 4 other/1 3"),
        ("-tags.team,-params.lr", "other/1 3 1 2 4 5"),
        ("ended", "2 1 3 4 5 other/1"),
    ],
)
def test_an_order_sorts_and_what_is_missing_is_last(
    filled: Store, sort: str, expected: str
) -> None:
    assert names(filled, "", sort) == expected


def test_rows_have_all_that_is_known(filled: Store) -> None:
    with filled.read() as view:
        found = search.run(view, "sweep/1", project="demo")
    assert found is not None
    assert found == RunRow(
        id=1,
        uid=found.uid,
        experiment="sweep",
        number=1,
        stage="main",
        state=State.COMPLETED,
        cause=None,
        attempt=1,
        params={"lr": 0.1, "model": "cnn", "deep": True, "odd key": 1},
        tags={"round": "3", "team": "blue"},
        metrics={"val/acc": 0.9},
        created_at=NOW,
        started_at=NOW - timedelta(hours=2),
        ended_at=NOW,
    )


def test_a_limit_cuts(filled: Store) -> None:
    with filled.read() as view:
        found = search.runs(view, "params.lr < 9", project="demo", sort="-params.lr", limit=2)
    assert [run.name for run in found] == ["other/1", "sweep/3"]


@pytest.mark.parametrize("name", ["other/1", "sweep/5"])
def test_a_run_is_found_by_its_name(filled: Store, name: str) -> None:
    with filled.read() as view:
        found = search.run(view, name, project="demo")
    assert found is not None
    assert found.name == name


def test_a_bare_number_is_enough_where_there_is_one_experiment(store: Store) -> None:
    submit(store, 3)
    with store.read() as view:
        found = search.run(view, "3", project="demo")
    assert found is not None
    assert found.number == 3
    submit(store, 1, experiment="other")
    with store.read() as view:
        assert search.run(view, "3", project="demo") is None


def test_a_run_is_found_by_its_uid_or_how_it_begins(store: Store) -> None:
    with store.write() as tx:
        submissions.insert(tx, make_submission(), [(0, ()), (0, ()), (0, ())], NOW)
        for run, uid in enumerate(["abcd000000000001", "abcd000000000002", "ef00000000000003"], 1):
            tx.execute("UPDATE run SET uid = ? WHERE id = ?", (uid, run))
    with store.read() as view:
        for name, number in (("abcd000000000002", 2), ("EF00", 3), ("ef00", 3)):
            found = search.run(view, name, project="demo")
            assert found is not None
            assert found.number == number
        with pytest.raises(NotFoundError, match="abcd000000000001"):
            search.run(view, "abcd", project="demo")


@pytest.mark.parametrize(
    "name",
    ["sweep/99", "nope/1", "", "/", "zz", "0f0f0f0f", "9" * 40, "sweep/x", "²", "abc%", "ABC"],
)
def test_a_run_that_is_not_there_is_none(filled: Store, name: str) -> None:
    with filled.read() as view:
        assert search.run(view, name, project="demo") is None


INJECTIONS = ["'; DROP TABLE run; --", "x' OR '1'='1", '" OR 1=1 --', "%", "_", "\\", "a\0b"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_a_user_writes_is_never_sql(filled: Store, text: str) -> None:
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    for field in ("params.model", "tags.team", "run", "uid", "stage"):
        for sign in ("=", "~", "<"):
            names(filled, f"{field} {sign} {quoted}")
    key = text.replace('"', "")
    assert names(filled, f'params."{key}" = 1') == ""
    assert names(filled, "", f'params."{key}"') == "1 2 3 4 5 other/1"
    assert rows(filled, "SELECT count(*) FROM run") == [(7,)]


@pytest.mark.parametrize("sort", ["lr", "metrics.", "-", "state;--", "params", "run desc"])
def test_an_order_by_what_is_no_field_is_refused(filled: Store, sort: str) -> None:
    with pytest.raises(UsageError, match="cannot sort by"):
        names(filled, "", sort)


@pytest.mark.parametrize(
    "words,at,why",
    [
        ("stat = failed", 0, "did you mean state"),
        ("lr = 3", 0, "params.lr"),
        ("state = lost", 8, "completed"),
        ("number = many", 9, "not a number"),
        ("created > soon", 10, "2024-11-20"),
        ("number ~ 3", 0, "no text"),
        ("metrics.acc ~ 3", 0, "are numbers"),
        ("metrics.acc < nan", 14, "nan"),
        ("metrics.acc = high", 14, "not a number"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_at_its_place(
    filled: Store, words: str, at: int, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        names(filled, words)
    *_, shown, caret = raised.value.what.splitlines()
    assert shown.strip() == words
    assert caret.index("^") - shown.index(words) == at


GLANCED = [
    "", "params.lr > 0.3", "params.size in (1, 5, 30, 31)", "metrics.acc > 0.5",
    "experiment = later", "not params.lr < 1", "metrics.acc is null",
    "params.lr < 3 and metrics.acc <= 0.25", "params.lr < 0.2 or tags.team = red",
    "experiment = later and not metrics.acc > 0.9",
]  # fmt: skip


@pytest.mark.parametrize("sort", ["", "params.lr", "-params.lr", "-metrics.acc", "metrics.acc"])
def test_a_glance_at_the_first_finds_what_a_look_at_all_does(
    store: Store, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """With few and with many runs beside what is looked at first."""
    submit(store, 30)
    submit(store, 30, experiment="later", tags=(("team", "red"),))
    with store.write() as tx:
        for run in range(1, 61, 2):
            values = (run, "acc", 1, 0, (run * 7 % 20) / 20, 1, 0.0, 1.0, 1)
            tx.change(f"INSERT INTO metric VALUES ({', '.join('?' * 9)})", values)
    for words in GLANCED:
        with store.read() as view:
            every = [run.id for run in search.runs(view, words, project="demo", sort=sort)]
            for seen, few, limit in ((5, 0, 1), (5, 3, 3), (12, 0, 8), (40, 0, 8), (40, 99, 8)):
                monkeypatch.setattr(glance, "SEEN", seen)
                monkeypatch.setattr(search, "_FEW", few)
                found = search.runs(view, words, project="demo", sort=sort, limit=limit)
                assert [run.id for run in found] == every[:limit], (words, seen, few, limit)
