"""Whose word is about whom."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.evidence import Poll, Rest, Sighting, Task
from penstock.model.run import Array, Intent
from penstock.model.spec import Request
from penstock.model.state import State
from penstock.reconciler.observe import belongs, evidence, has_token, sort

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ARRAY = Array(
    5, "ps-abc", 1, Request(), 10, None, Intent.ACCEPTED, job=77, sent_at=T0, submit_at=T0
)


def task(
    tasks: frozenset[int] | range | None = frozenset({3}), word: str = "RUNNING", **more: object
) -> Task:
    base = Task(77, tasks, word, "ps-abc.digits", submit_at=T0)
    return replace(base, **more)  # type: ignore[arg-type]


def poll(*tasks: Task) -> Poll:
    return Poll(T0 + timedelta(seconds=60), tasks, "squeue")


@pytest.mark.parametrize(
    "more, is_ours",
    [
        ({}, True),
        ({"submit_at": T0 + timedelta(hours=1)}, True),  # requeued: Submit is rewritten
        ({"submit_at": T0 - timedelta(hours=1)}, True),  # what is noted is of a later segment
        ({"name": "old", "submit_at": T0 - timedelta(days=900)}, False),  # of the same id
        ({"name": "renamed"}, True),  # by hand; Submit is the same
        ({"name": "renamed", "submit_at": T0 + timedelta(hours=1)}, False),  # another's job
        ({"name": "ps-abcd.other", "submit_at": T0 + timedelta(hours=1)}, False),
        ({"job": 78}, False),
    ],
)
def test_job_belongs_by_id_and_token(more: dict[str, Any], is_ours: bool) -> None:
    assert belongs(task(**more), ARRAY) is is_ours


@pytest.mark.parametrize("after, is_ours", [(30, True), (3600, False)])
def test_job_renamed_before_it_was_seen_belongs_by_when_it_was_sent(
    after: int, is_ours: bool
) -> None:
    unseen = replace(ARRAY, submit_at=None)
    renamed = task(name="renamed", submit_at=T0 + timedelta(seconds=after))
    assert belongs(renamed, unseen) is is_ours


@pytest.mark.parametrize(
    "before, is_ours",
    [(timedelta(minutes=3), True), (timedelta(minutes=-1), False), (timedelta(hours=1), False)],
)
def test_first_segment_of_a_renamed_job_is_ours_though_a_later_one_was_noted(
    before: timedelta, is_ours: bool
) -> None:
    """It was renamed, and a task requeued, before anybody looked: that one's Submit is noted."""
    assert ARRAY.submit_at is not None
    late = replace(ARRAY, sent_at=ARRAY.submit_at - timedelta(minutes=3))
    first = task(name="renamed", submit_at=ARRAY.submit_at - before)
    assert belongs(first, late) is is_ours


def test_renamed_and_requeued_task_is_ours_while_another_of_its_id_is() -> None:
    stranger = task(frozenset({4}), name="renamed", submit_at=T0 + timedelta(hours=2))
    heard = sort(poll(stranger, task()), [ARRAY])
    assert heard.word(ARRAY, 4) == stranger
    assert sort(poll(stranger), [ARRAY]).word(ARRAY, 4) is None


def test_queue_knows_a_renamed_and_requeued_task_by_what_the_accounting_told() -> None:
    again_at = T0 + timedelta(hours=1)
    first = task(word="REQUEUED", end_at=again_at)
    second = task(word="PENDING", name="mine", submit_at=again_at)
    told = sort(Poll(T0, (first, second), "sacct"), [ARRAY])
    assert sort(poll(second), [ARRAY]).word(ARRAY, 3) is None
    assert sort(poll(second), [ARRAY], told.submits()).word(ARRAY, 3) == second


@pytest.mark.parametrize("words", [("RUNNING", "REVOKED"), ("REVOKED", "RUNNING")])
def test_what_a_sibling_does_goes_before_revoked(words: tuple[str, str]) -> None:
    told = sort(poll(*(task(word=word) for word in words)), [ARRAY]).word(ARRAY, 3)
    assert told is not None
    assert told.word == "RUNNING"


def test_submit_of_a_later_segment_is_not_noted() -> None:
    later = task(frozenset({4}), submit_at=T0 + timedelta(hours=1))
    assert sort(poll(later), [ARRAY]).submit_at(ARRAY) is None
    assert sort(poll(later, task()), [ARRAY]).submit_at(ARRAY) == T0


@pytest.mark.parametrize("gap_s, is_ours", [(2, True), (86_400, False)])
def test_record_that_follows_a_requeue_of_ours_is_ours(gap_s: int, is_ours: bool) -> None:
    ended_at = T0 + timedelta(hours=1)
    first = task(word="REQUEUED", end_at=ended_at)
    second = task(word="TIMEOUT", name="mine", submit_at=ended_at + timedelta(seconds=gap_s))
    heard = sort(Poll(T0, (first, second), "sacct"), [ARRAY])
    assert heard.word(ARRAY, 3) == (second if is_ours else first)


def test_token_is_the_whole_first_word_of_the_name() -> None:
    assert has_token(task(name="ps-abc"), "ps-abc")
    assert not has_token(task(name="ps-abcd"), "ps-abc")


def test_own_word_goes_before_a_shared_one() -> None:
    heard = sort(poll(task(range(10), "PENDING"), task(frozenset({3}), "RUNNING")), [ARRAY])
    word = heard.word(ARRAY, 3)
    assert word is not None
    assert word.word == "RUNNING"


def test_of_words_that_are_shared_the_latest_segment_counts() -> None:
    first = task(range(1, 5), "REQUEUED")
    second = task(range(1, 4), "CANCELLED by 1001", submit_at=T0 + timedelta(minutes=5))
    for order in ((first, second), (second, first)):
        heard = sort(replace(poll(*order), source="sacct"), [ARRAY])
        assert heard.word(ARRAY, 3) is second
        assert heard.word(ARRAY, 4) is first


def test_index_that_no_word_names_was_heard_without() -> None:
    heard = sort(poll(task(frozenset({1, 2}), "PENDING")), [ARRAY])
    seen = evidence(ARRAY, 7, heard, sort(None, []), None)
    assert seen.queue is None
    assert seen.queue_at is not None


def test_list_that_was_cut_off_says_nothing_of_the_rest() -> None:
    heard = sort(poll(task(None, "PENDING"), task(frozenset({1}), "RUNNING")), [ARRAY])
    rest = evidence(ARRAY, 7, heard, sort(None, []), None)
    assert (rest.queue, rest.queue_at) == (None, None)
    assert evidence(ARRAY, 1, heard, sort(None, []), None).queue is not None


def test_later_segment_of_a_requeued_task_counts() -> None:
    first = task(word="PREEMPTED")
    second = task(word="RUNNING", submit_at=T0 + timedelta(minutes=5))
    for order in ((first, second), (second, first)):
        word = sort(poll(*order), [ARRAY]).word(ARRAY, 3)
        assert word is second


@pytest.mark.parametrize(
    "word, name, is_taken",
    [
        ("CANCELLED by 1001", "ps-abc.digits", True),
        ("CANCELLED by 1001", "allocation", False),
        ("FAILED", "ps-abc.digits", False),
        ("PREEMPTED", "ps-abc.digits", False),
    ],
)
def test_plain_row_of_an_array_speaks_for_all_only_when_it_was_cancelled_whole(
    word: str, name: str, *, is_taken: bool
) -> None:
    history = sort(poll(task(frozenset(), word, name=name)), [ARRAY])
    seen = evidence(ARRAY, 7, sort(poll(), [ARRAY]), history, None)
    assert (seen.history is not None) is is_taken
    ran = Sighting(0, "77_7", "n1", T0, T0)
    assert evidence(ARRAY, 7, sort(poll(), [ARRAY]), history, ran).history is None


def test_rests_are_of_tasks_that_wait_and_of_which_nothing_else_is_said() -> None:
    pending = task(range(4, 9), "PENDING", reason="Priority")
    others = task(frozenset({9, 10, 12}), "PENDING", reason="None")
    held = task(range(20, 22), "PENDING", reason="JobHeldUser")
    running = task(frozenset({30, 31}), "RUNNING")
    heard = sort(poll(pending, others, held, running, task()), [ARRAY])
    assert heard.rests(ARRAY) == [
        Rest("PENDING", State.QUEUED, "Priority", ((4, 8),)),
        Rest("PENDING", State.QUEUED, "", ((9, 10), (12, 12))),
        Rest("PENDING", State.HELD, "JobHeldUser", ((20, 21),)),
    ]


@pytest.mark.parametrize(
    "tasks",
    [
        frozenset({3, 4}),  # 3 has a word of its own
        None,  # cut off
        range(20, 30),  # another tells of 25
        frozenset[int](),
    ],
)
def test_of_what_is_told_twice_or_not_whole_there_is_no_rest(
    tasks: frozenset[int] | range | None,
) -> None:
    first = task(frozenset({25, 26}), "RUNNING")
    heard = sort(poll(task(), first, task(tasks, "PENDING")), [ARRAY])
    assert not [rest for rest in heard.rests(ARRAY) if rest.ranges]


@given(st.frozensets(st.integers(0, 40), min_size=2))
def test_ranges_of_a_rest_are_its_indices(indices: frozenset[int]) -> None:
    (rest,) = sort(poll(task(indices, "PENDING")), [ARRAY]).rests(ARRAY)
    ranges = [set(range(first, last + 1)) for first, last in rest.ranges]
    assert set().union(*ranges) == indices
    assert sum(map(len, ranges)) == len(indices)


@pytest.mark.parametrize("step", [1, 4])
def test_ranges_of_a_printed_range_are_its_indices(step: int) -> None:
    (rest,) = sort(poll(task(range(0, 21, step), "PENDING")), [ARRAY]).rests(ARRAY)
    assert [index for first, last in rest.ranges for index in range(first, last + 1)] == list(
        range(0, 21, step)
    )
