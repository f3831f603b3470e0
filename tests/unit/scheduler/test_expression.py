from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.scheduler.expression import MAX_INDEX, Expression, indices, parse, spell

NONE: frozenset[int] = frozenset()


# Each row of the table in SLURM_TRUTHS, and what was seen on 22.05.
@pytest.mark.parametrize(
    "text, tasks, throttle",
    [
        ("12", NONE, None),
        ("12_7", {7}, None),
        ("12_[3-7,9%2]", {3, 4, 5, 6, 7, 9}, 2),
        ("12_[0-20:4]", {0, 4, 8, 12, 16, 20}, None),
        ("12_[0-20:4%3]", {0, 4, 8, 12, 16, 20}, 3),
        ("12_[0-21:4]", {0, 4, 8, 12, 16, 20}, None),
        ("12_[5]", {5}, None),
        ("12_[5%1]", {5}, 1),
        ("12_[1-3,5-9:2,20]", {1, 2, 3, 5, 7, 9, 20}, None),
        ("12_[0-2%0]", {0, 1, 2}, None),
        (" 12_[3, 5 - 6] ".replace(" - ", "-"), {3, 5, 6}, None),
        ("0012_007", {7}, None),
        ("12_[003-005]", {3, 4, 5}, None),
        (f"12_{MAX_INDEX}", {MAX_INDEX}, None),
        ("12_4294967294", NONE, None),
        # cut off: nothing is known of any one index
        ("12_[1,3,5,...]", None, None),
        ("12_[1,3,...%4]", None, 4),
        ("12_[1-3,5-8:...", None, None),
        ("1734_[0-1,4,9,16,25,36,49,64,81", None, None),
        ("167_[1,4,9,16,25,27,30-31,34,36", None, None),
        ("12_[", None, None),
        ("12_[0-1+", None, None),
        ("12_7+", None, None),
        ("12_[0-9+]", None, None),
    ],
)
def test_parse_reads_arrays(text: str, tasks: set[int] | None, throttle: int | None) -> None:
    read = parse(text)
    assert read.job == 12 or read.job in (167, 1734)
    assert (None if read.tasks is None else set(read.tasks)) == tasks
    assert read.throttle == throttle


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("93+0", Expression(93, component=0)),
        ("93_4+1", Expression(93, frozenset({4}), component=1)),
        ("12.batch", Expression(12, step="batch")),
        ("12.extern", Expression(12, step="extern")),
        ("12.0", Expression(12, step="0")),
        ("12_7.0", Expression(12, frozenset({7}), step="0")),
        ("12_7.batch", Expression(12, frozenset({7}), step="batch")),
        ("12+1.batch", Expression(12, component=1, step="batch")),
        ("93+0.batch", Expression(93, component=0, step="batch")),
        ("12_4294967294.0", Expression(12, step="0")),
        ("12_[0-3%2].batch", Expression(12, range(4), 2, step="batch")),
        ("1234567.ba+", Expression(1234567, step="ba+")),  # the column was too narrow
        ("67108936+1", Expression(67108936, component=1)),  # of a federation
        ("12_7+1.interactive", Expression(12, frozenset({7}), component=1, step="interactive")),
    ],
)
def test_parse_reads_components_and_steps(text: str, wanted: Expression) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "x", "_7", "12_", "12_x", "12_[7-3]", "12_[0-9:0]", "12_[]", "12_[1,,2]", "12_[1%x]", "+1",
     f"12_{MAX_INDEX + 1}", f"12_[0-{MAX_INDEX + 1}]", "12_[-3]", "-12", "12 13", "12_[1]x", "1.2.",
     "12+", "12_*", "N/A", "JOBID", "١٢", "12_٣", "12_[٣-٥]", "12+x", "12_[1:2]", "12 _3"],
)  # fmt: skip
def test_parse_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|no job id"):
        parse(text)


def test_a_large_range_stays_a_range() -> None:
    assert indices(f"0-{MAX_INDEX}") == range(MAX_INDEX + 1)
    assert parse("1_[0-4999]").tasks == range(5000)


@given(st.sets(st.integers(0, MAX_INDEX), min_size=1, max_size=50))
def test_spelled_indices_are_read_back(tasks: set[int]) -> None:
    assert set(indices(spell(tasks))) == tasks


@given(st.integers(0, 1000), st.integers(1, 400), st.integers(1, 9))
def test_spelled_ranges_are_read_back(first: int, length: int, step: int) -> None:
    tasks = range(first, first + length, step)
    assert set(indices(spell(tasks))) == set(tasks)
    assert set(indices(f"{first}-{first + length - 1}:{step}")) == set(tasks)


@given(
    st.integers(1, 1 << 31),
    st.sets(st.integers(0, 5000), min_size=1, max_size=30),
    st.one_of(st.none(), st.integers(1, 5000)),
)
def test_a_pending_array_is_read_back(job: int, tasks: set[int], throttle: int | None) -> None:
    limit = "" if throttle is None else f"%{throttle}"
    read = parse(f"{job}_[{spell(tasks)}{limit}]")
    assert (read.job, set(read.tasks or ()), read.throttle) == (job, tasks, throttle)


@given(st.sets(st.integers(0, 5000), min_size=3, max_size=60), st.integers(3, 40))
def test_a_list_that_is_cut_off_never_names_a_task(tasks: set[int], length: int) -> None:
    whole = f"77_[{spell(tasks)}]"
    cut = whole[: min(length + 4, len(whole) - 1)]
    assert parse(cut).tasks is None


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse(text).job >= 0


def test_spell_of_nothing_is_nothing() -> None:
    assert spell([]) == ""
    assert spell([5, 1, 2, 3, 5]) == "1-3,5"
