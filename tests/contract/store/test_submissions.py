import json
import tracemalloc

import pytest

from penstock.errors import StoreError
from penstock.model.spec import Params, Request
from penstock.store import attempts, submissions
from penstock.store.connection import Store
from tests.contract.store.making import (
    ME,
    NOW,
    grid,
    make_stage,
    make_submission,
    plan,
    ready,
    rows,
    submit,
)


def test_insert_makes_runs_ready_in_order(store: Store) -> None:
    told = submit(store, [{"lr": 0.1}, {"lr": 0.2}])
    found = ready(store)
    assert [(run.name, run.params, run.attempt) for run in found] == [
        ("sweep/1", '{"lr":0.1}', 1),
        ("sweep/2", '{"lr":0.2}', 1),
    ]
    assert (told.first, told.last, told.experiment) == (1, 2, "sweep")
    assert len({run.uid for run in found}) == 2


def test_more_runs_than_one_statement_takes_are_all_there(store: Store) -> None:
    submit(store, 1_234)
    assert [json.loads(run.params) for run in ready(store)] == list(grid(1_234))
    assert rows(
        store, "SELECT key, count(*), sum(number) FROM param GROUP BY key ORDER BY key"
    ) == [
        ("lr", 1_234, pytest.approx(1_233 * 1_234 / 20)),
        ("size", 1_234, 1_233 * 1_234 / 2),
    ]
    assert plan(store).size == 1_234
    assert ready(store) == []


def test_numbers_go_on_within_an_experiment(store: Store) -> None:
    submit(store, 3)
    again = submit(store, 2)
    other = submit(store, 1, experiment="other")
    assert (again.first, again.last) == (4, 5)
    assert (other.first, other.last) == (1, 1)


def test_projects_have_their_own_experiments(store: Store) -> None:
    submit(store, 3)
    assert submit(store, 1, project="elsewhere").first == 1


def test_a_submission_without_runs_has_none(store: Store) -> None:
    told = submit(store, 0)
    assert told.last == told.first - 1


def test_values_of_every_kind_come_back(store: Store) -> None:
    params: Params = {
        "text": "a 'b' \"c\" $(d) ; \n\t,é🐟",
        "whole": 3,
        "real": 1e-300,
        "flag": True,
        "none": None,
        "list": [1, [2.5, "x"]],
        "map": {"a": {"b": 1}},
        "huge": 10**30,
        "nul": "a\0b",
        "half": "\ud800",
        "long": "x" * 100_000,
    }
    submit(store, [params])
    assert json.loads(ready(store)[0].params) == params


def test_a_failing_stream_leaves_nothing(store: Store) -> None:
    def runs() -> object:
        yield 0, submissions.params({"a": 1})
        raise RuntimeError("the sweep cannot go on")

    with pytest.raises(RuntimeError, match="cannot go on"), store.write() as tx:
        submissions.insert(tx, make_submission(), runs(), NOW)  # type: ignore[arg-type]
    for table in ("submission", "stage", "run", "param", "experiment"):
        assert rows(store, f"SELECT count(*) FROM {table}") == [(0,)]


def test_the_same_submission_twice_is_refused(store: Store) -> None:
    submit(store, 1, uid="same")
    with pytest.raises(StoreError):
        submit(store, 1, uid="same")
    assert len(ready(store)) == 1


def test_stages_keep_all_but_the_sweep(store: Store) -> None:
    stage = make_stage(
        request=Request(cpus=4, gpus=1, mem_mb=100, time_s=60, options=("--constraint=a",)),
        env=(("A", "1"), ("B", "$x")),
        outputs=("model.pt",),
        metrics_stdout="",
        max_parallel=3,
    )
    submit(store, 1, stages=(stage,))
    (run,) = ready(store)
    with store.read() as view:
        assert attempts.ready_stages(view, **ME) == [run.stage]
        row = attempts.stages(view, [run.stage])[run.stage]
    assert (row.stage, row.code, row.folder) == (stage, "abc123", "/home/alice/demo")


def test_tags_are_on_each_run(store: Store) -> None:
    submit(store, 2, tags=(("team", "blue"), ("round", "3")))
    assert (
        rows(store, "SELECT key, number, text FROM tag ORDER BY run_id, key")
        == [
            ("round", 3.0, "3"),
            ("team", None, "blue"),
        ]
        * 2
    )


def test_many_runs_take_no_more_memory(store: Store) -> None:
    peaks = []
    for runs in (2_000, 20_000):
        tracemalloc.start()
        with store.write() as tx:
            stream = ((0, submissions.params(one)) for one in grid(runs))
            submissions.insert(tx, make_submission(), stream, NOW)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 3 * peaks[0]  # for ten times as many


def test_only_the_own_runs_are_ready(store: Store) -> None:
    submit(store, 1, user="bob")
    submit(store, 1, cluster="far")
    submit(store, 2)
    assert len(ready(store)) == 2
    assert len(ready(store, user="bob")) == 1
    with store.read() as view:
        assert attempts.has_ready(view, user="bob", cluster="test")
        assert not attempts.has_ready(view, user="carol", cluster="test")
        assert not attempts.has_live(view, user="carol")
        assert attempts.has_live(view, user="bob")
