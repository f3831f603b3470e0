from collections import defaultdict
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Refused
from penstock.model.run import Limits, PlannedArray, ReadyRun, StageRow
from penstock.model.spec import Request, Stage
from penstock.planning import arrays


def make_run(number: int, stage: int = 1, attempt: int = 1) -> ReadyRun:
    return ReadyRun(number, f"uid{number}", stage, "digits", number, attempt, f'{{"n":{number}}}')


def make_stages(*parallel: int | None) -> dict[int, StageRow]:
    return {
        key: StageRow(key, Stage(f"s{key}", ("true",), max_parallel=most), None, "/p")
        for key, most in enumerate(parallel, 1)
    }


def plan(
    runs: Iterable[ReadyRun],
    stages: Mapping[int, StageRow],
    *,
    size: int = 10,
    room: int | None = None,
    busy: Mapping[int, int] | None = None,
) -> list[PlannedArray]:
    return list(arrays.plan(runs, stages, Limits(max_array_size=size), room, busy))


def shape(planned: Iterable[PlannedArray]) -> list[tuple[int, int, int | None]]:
    return [(one.stage, len(one.runs), one.throttle) for one in planned]


def test_plan_of_nothing_is_nothing() -> None:
    assert plan([], {}) == []


def test_plan_puts_what_fits_into_one_array() -> None:
    (one,) = plan(map(make_run, range(10)), make_stages(None))
    assert [run.id for run in one.runs] == list(range(10))
    assert one.throttle is None


def test_plan_spreads_evenly_over_as_few_arrays_as_it_takes() -> None:
    assert shape(plan(map(make_run, range(11)), make_stages(None))) == [(1, 5, None), (1, 6, None)]


def test_plan_heeds_the_count_of_tasks_where_it_is_smaller() -> None:
    limits = Limits(max_array_size=10, max_array_tasks=4)
    planned = arrays.plan(map(make_run, range(8)), make_stages(None), limits, None)
    assert [len(one.runs) for one in planned] == [4, 4]


def test_plan_gives_each_stage_its_own() -> None:
    runs = [make_run(1, 1), make_run(2, 2), make_run(3, 1)]
    planned = plan(runs, make_stages(None, None))
    assert [[run.id for run in one.runs] for one in planned] == [[1, 3], [2]]


def test_plan_gives_each_request_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "request_for", lambda _, attempt: Request(mem_mb=attempt))
    runs = [make_run(1), make_run(2, attempt=2), make_run(3)]
    planned = plan(runs, make_stages(3))
    assert [(one.request.mem_mb, [run.id for run in one.runs]) for one in planned] == [
        (1, [1, 3]),
        (2, [2]),
    ]
    assert [one.throttle for one in planned] == [2, 1]


def test_plan_takes_the_first_as_far_as_there_is_room() -> None:
    planned = plan(map(make_run, range(100)), make_stages(None), room=7)
    assert [run.id for one in planned for run in one.runs] == list(range(7))


@pytest.mark.parametrize("room", [0, -3])
def test_plan_without_room_is_nothing(room: int) -> None:
    assert plan(map(make_run, range(3)), make_stages(None), room=room) == []


def test_throttle_is_divided_over_the_arrays() -> None:
    assert shape(plan(map(make_run, range(30)), make_stages(8))) == [
        (1, 10, 2),
        (1, 10, 3),
        (1, 10, 3),
    ]


def test_throttle_is_no_more_than_there_are_runs() -> None:
    assert shape(plan(map(make_run, range(3)), make_stages(20))) == [(1, 3, 3)]


def test_more_arrays_than_may_run_are_held_back() -> None:
    planned = plan(map(make_run, range(100)), make_stages(3))
    assert shape(planned) == [(1, 10, 1)] * 3
    assert [run.id for one in planned for run in one.runs] == list(range(30))


def test_what_live_arrays_have_is_not_given_again() -> None:
    runs = [make_run(number) for number in range(5)]
    assert shape(plan(runs, make_stages(4), busy={1: 3})) == [(1, 5, 1)]
    assert plan(runs, make_stages(4), busy={1: 4}) == []
    assert plan(runs, make_stages(4), busy={1: 9}) == []


def test_runs_held_back_leave_the_room_to_others() -> None:
    runs = [*(make_run(n, 1) for n in range(30)), *(make_run(n, 2) for n in range(30, 40))]
    planned = plan(runs, make_stages(1, None), room=15)
    assert shape(planned) == [(1, 10, 1), (2, 5, None)]


@given(
    picks=st.lists(st.integers(1, 3), max_size=60),
    parallel=st.tuples(*[st.none() | st.integers(1, 12)] * 3),
    size=st.integers(1, 9),
    room=st.none() | st.integers(0, 70),
    busy=st.dictionaries(st.integers(1, 3), st.integers(0, 12)),
)
def test_plan_never_exceeds_a_limit_and_never_changes_the_order(
    picks: list[int],
    parallel: tuple[int | None, ...],
    size: int,
    room: int | None,
    busy: dict[int, int],
) -> None:
    runs = [make_run(number, stage) for number, stage in enumerate(picks)]
    planned = plan(runs, make_stages(*parallel), size=size, room=room, busy=busy)
    by_stage: dict[int, list[PlannedArray]] = defaultdict(list)
    for one in planned:
        by_stage[one.stage].append(one)
        assert 1 <= len(one.runs) <= size
        assert {run.stage for run in one.runs} == {one.stage}
    taken = sum(len(one.runs) for one in planned)
    assert room is None or taken <= room
    for stage, mine in by_stage.items():
        ids = [run.id for one in mine for run in one.runs]
        # A stage's runs go in its order, and none is passed over for a later one.
        assert ids == [run.id for run in runs if run.stage == stage][: len(ids)]
        most = parallel[stage - 1]
        throttles = [one.throttle for one in mine]
        if most is None:
            assert throttles == [None] * len(mine)
        else:
            assert all(throttle is not None and throttle >= 1 for throttle in throttles)
            assert sum(throttle or 0 for throttle in throttles) + busy.get(stage, 0) <= most
    if room is None and not any(parallel):
        assert taken == len(runs)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 9))
def test_cycles_carry_all_runs_and_stay_within_max_parallel(
    count: int, most: int, size: int
) -> None:
    """One array ends at a time; what was held back is planned then."""
    waiting = [make_run(number) for number in range(count)]
    live: list[PlannedArray] = []
    seen: list[int] = []
    while waiting or live:
        busy = {1: sum(one.throttle or 0 for one in live)}
        fresh = plan(waiting, make_stages(most), size=size, busy=busy)
        gone = {run.id for one in fresh for run in one.runs}
        waiting = [run for run in waiting if run.id not in gone]
        live += fresh
        seen += [run.id for one in fresh for run in one.runs]
        assert sum(one.throttle or 0 for one in live) <= most
        assert live, "nothing runs, and runs wait for ever"
        live.pop(0)
    assert seen == list(range(count))


# --- label, check_time


def test_label_leaves_out_the_one_stage() -> None:
    assert arrays.label("digits", "main") == "digits"
    assert arrays.label("digits", "train") == "digits.train"


def test_label_is_what_a_job_may_be_called() -> None:
    assert arrays.label("a b/ü", "x" * 200) == "a-b--." + "x" * 94


LIMITS = Limits(time_s={"short": 3600, "long": 86400}, default_partition="short")


@pytest.mark.parametrize(
    "request_,limits",
    [
        (Request(time_s=3600), LIMITS),
        (Request(), LIMITS),
        (Request(time_s=7200, partition="long"), LIMITS),
        (Request(time_s=7200, partition="short,long"), LIMITS),
        (Request(time_s=7200, partition="short,unlimited"), LIMITS),
        (Request(time_s=7200, partition="unlimited"), LIMITS),
        (Request(time_s=7200), Limits()),
        (Request(time_s=7200), Limits(time_s={"short": 3600})),
    ],
)
def test_time_that_may_be_is_accepted(request_: Request, limits: Limits) -> None:
    arrays.check_time(request_, limits)


@pytest.mark.parametrize("partition", [None, "short"])
def test_time_over_the_limit_is_refused(partition: str | None) -> None:
    with pytest.raises(Refused, match="2h is more than partition short allows: 1h") as error:
        arrays.check_time(Request(time_s=7200, partition=partition), LIMITS)
    assert "less time" in error.value.hint


def test_time_over_the_limit_of_each_of_several_is_refused() -> None:
    with pytest.raises(Refused, match="short,long allows: 1d"):
        arrays.check_time(Request(time_s=90000, partition="short,long"), LIMITS)
