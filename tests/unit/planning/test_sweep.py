import tracemalloc
from collections import deque
from collections.abc import Hashable
from decimal import Decimal
from itertools import islice
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.model.spec import Axis, Sweep, Value
from penstock.planning import ranges, sweep

SCALARS: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.1, 1.0, "a", "1", "é\n$(x)"])
)


def _identity(value: Any) -> Hashable:
    return sweep.identity(value)


def axis(name: str, *values: Value) -> Axis:
    return Axis((name,), tuple((value,) for value in values))


@st.composite
def grids(draw: st.DrawFn) -> tuple[Axis, ...]:
    names = draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=3))
    return tuple(
        axis(name, *draw(st.lists(SCALARS, min_size=1, max_size=3, unique_by=_identity)))
        for name in names
    )


SWEEPS = st.builds(
    Sweep, st.lists(grids(), min_size=1, max_size=3).map(tuple), repeat=st.integers(1, 3)
)


def test_expand_without_parameters_is_one_run() -> None:
    assert list(sweep.expand(Sweep())) == [{}]


def test_expand_changes_the_last_axis_fastest_and_repeats_within() -> None:
    both = Axis(("w", "d"), ((64, 2), (128, 4)))
    runs = list(sweep.expand(Sweep(((axis("lr", 0.1, 0.2), both),), repeat=2)))
    assert runs[:5] == [
        {"lr": 0.1, "w": 64, "d": 2, "repeat": 0},
        {"lr": 0.1, "w": 64, "d": 2, "repeat": 1},
        {"lr": 0.1, "w": 128, "d": 4, "repeat": 0},
        {"lr": 0.1, "w": 128, "d": 4, "repeat": 1},
        {"lr": 0.2, "w": 64, "d": 2, "repeat": 0},
    ]


def test_expand_takes_one_grid_after_another() -> None:
    two = Sweep(((axis("a", 1, 2),), (axis("b", 3),)))
    assert list(sweep.expand(two)) == [{"a": 1}, {"a": 2}, {"b": 3}]


def test_combine_makes_a_value_once_for_all_runs() -> None:
    asked: list[tuple[str, Value]] = []

    def make(name: str, value: Value) -> str:
        asked.append((name, value))
        return f"{name}={value}"

    both = Axis(("w", "d"), ((64, 2), (128, 4)))
    runs = list(sweep.combine(Sweep(((axis("lr", 0.1, 0.2), both),), repeat=2), make))
    assert runs[2] == ("lr=0.1", "w=128", "d=4", "repeat=0")
    assert len(runs) == 8
    assert len(asked) == len(set(asked)) == 8


@given(SWEEPS)
def test_expand_gives_as_many_as_size_says(made: Sweep) -> None:
    runs = list(sweep.expand(made))
    assert len(runs) == sweep.size(made)
    assert all(set(run) <= set(made.names) for run in runs)


@given(SWEEPS)
def test_overlap_is_found_exactly_where_two_runs_are_the_same(made: Sweep) -> None:
    once = Sweep(made.grids)
    keys = [
        frozenset((name, sweep.identity(value)) for name, value in run.items())
        for run in sweep.expand(once)
    ]
    found = sweep.overlap(made)
    assert (found is not None) == (len(set(keys)) < len(keys))
    if found is not None:
        index, run = found
        earlier = Sweep(made.grids[:index])
        assert any(_same(run, other) for other in sweep.expand(earlier))


def _same(one: dict[str, Value], other: dict[str, Value]) -> bool:
    return {name: sweep.identity(value) for name, value in one.items()} == {
        name: sweep.identity(value) for name, value in other.items()
    }


def test_identity_tells_kinds_apart() -> None:
    values: list[Value] = [1, 1.0, True, "1", None, [1], ["1"], {"a": 1}]
    assert len({sweep.identity(value) for value in values}) == len(values)


def test_identity_of_a_mapping_has_no_order() -> None:
    assert sweep.identity({"a": 1, "b": 2}) == sweep.identity({"b": 2, "a": 1})


def test_repeated_is_the_first_that_came_before() -> None:
    assert sweep.repeated([(1,), (2,), (1,), (2,)]) == 2
    assert sweep.repeated([(1,), (1.0,)]) is None


def test_expand_of_a_million_runs_takes_no_memory() -> None:
    wide = axis("a", *range(1000))
    million = Sweep(((wide, axis("b", *range(1000))),))
    assert sweep.size(million) == 1_000_000
    tracemalloc.start()
    try:
        last = deque(islice(sweep.expand(million), 20_000), maxlen=1).pop()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last == {"a": 19, "b": 999}
    assert peak < 1_000_000


# --- ranges


def test_stepped_is_exact() -> None:
    first, last, step = Decimal("0.1"), Decimal("0.3"), Decimal("0.1")
    count = ranges.steps(first, last, step)
    assert ranges.stepped(first, step, count, is_whole=False) == [0.1, 0.2, 0.3]


def test_steps_that_lead_away_are_none() -> None:
    assert ranges.steps(Decimal(4), Decimal(0), Decimal(1)) == 0
    assert ranges.steps(Decimal(4), Decimal(0), Decimal(-2)) == 3


@given(st.integers(-(10**6), 10**6), st.integers(1, 999), st.integers(1, 50), st.integers(0, 4))
def test_stepped_is_what_one_would_write(start: int, width: int, count: int, places: int) -> None:
    unit = Decimal(1).scaleb(-places)
    first, step = start * unit, width * unit
    last = first + step * (count - 1)
    assert ranges.steps(first, last, step) == count
    values = ranges.stepped(first, step, count, is_whole=False)
    assert values == [float(first + step * index) for index in range(count)]


def test_counted_is_whole_only_where_all_are() -> None:
    zero, four = Decimal(0), Decimal(4)
    assert repr(ranges.counted(zero, four, 3, is_whole=True)) == "[0, 2, 4]"
    assert repr(ranges.counted(zero, four, 4, is_whole=True)[1]) == repr(4 / 3)
    assert repr(ranges.counted(zero, four, 3, is_whole=False)) == "[0.0, 2.0, 4.0]"


def test_logarithmic_hits_powers_exactly() -> None:
    tens = ranges.logarithmic(Decimal("1e-5"), Decimal("1e-2"), 4, is_whole=False)
    assert tens == [1e-05, 0.0001, 0.001, 0.01]
    twos = ranges.logarithmic(Decimal(16), Decimal(1024), 7, is_whole=True)
    assert repr(twos) == "[16, 32, 64, 128, 256, 512, 1024]"


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 20))
def test_logarithmic_keeps_its_ends_and_its_direction(first: int, last: int, count: int) -> None:
    values = ranges.logarithmic(Decimal(first), Decimal(last), count, is_whole=True)
    assert (values[0], values[-1], len(values)) == (first, last, count)
    assert values == sorted(values, reverse=first > last)
