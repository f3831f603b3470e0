"""The pace of the looks at the queue."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.planning.pace import Pace, accounted, after

T0 = datetime(2026, 3, 1, tzinfo=UTC)
BOUNDS = (10.0, 120.0)


def test_first_look_is_due_at_once() -> None:
    assert Pace().is_due(T0)


def test_look_is_due_when_the_wait_is_over() -> None:
    pace = Pace(T0, 10)
    assert not pace.is_due(T0 + timedelta(seconds=9))
    assert pace.is_due(T0 + timedelta(seconds=10))


def test_clock_that_went_back_does_not_stop_the_looks() -> None:
    assert Pace(T0, 10).is_due(T0 - timedelta(hours=1))


def test_change_makes_it_quick_again() -> None:
    assert after(Pace(T0, 100), T0, changed=True, failed=False, bounds_s=BOUNDS).wait_s == 10


def test_quiet_makes_it_slower_and_failure_slower_still() -> None:
    quiet = after(Pace(T0, 20), T0, changed=False, failed=False, bounds_s=BOUNDS)
    failed = after(Pace(T0, 20), T0, changed=False, failed=True, bounds_s=BOUNDS)
    assert 20 < quiet.wait_s < failed.wait_s


def test_answer_that_takes_long_is_asked_for_seldom() -> None:
    waits = [
        after(Pace(T0, 10), T0, changed=True, failed=False, bounds_s=BOUNDS, took_s=took_s).wait_s
        for took_s in (0.1, 3, 50)
    ]
    assert waits == [10, 30, 120]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 100)), max_size=50))
def test_wait_stays_within_the_bounds(steps: list[tuple[bool, bool, float]]) -> None:
    pace = Pace()
    for changed, failed, took_s in steps:
        pace = after(pace, T0, changed=changed, failed=failed, bounds_s=BOUNDS, took_s=took_s)
        assert BOUNDS[0] <= pace.wait_s <= BOUNDS[1]


def test_who_did_not_answer_is_known() -> None:
    asked = after(Pace(), T0, changed=False, failed=False, bounds_s=BOUNDS)
    assert (asked.answered_at, asked.unanswered) == (T0, "")
    later = T0 + timedelta(seconds=60)
    failed = after(asked, later, changed=False, failed=True, bounds_s=BOUNDS)
    assert (failed.at, failed.answered_at, failed.unanswered) == (later, T0, "queue")
    silent = accounted(asked, later, answered=False)
    assert (silent.accounting_answered_at, silent.unanswered) == (None, "accounting")
    again = accounted(silent, later, answered=True)
    assert (again.accounting_answered_at, again.unanswered) == (later, "")
    kept = after(silent, later, changed=False, failed=False, bounds_s=BOUNDS)
    assert kept.unanswered == "accounting"  # it was not asked since


@pytest.mark.parametrize(
    "floor_s, force, after_s, is_due",
    [
        (0, True, 0, True),  # a site that says nothing
        (30, True, 29, False),
        (30, True, 30, True),  # though the pace is slower
        (30, False, 30, False),
        (90, False, 60, False),  # something was asked, and the pace made quicker than the floor
    ],
)
def test_forced_look_waits_for_the_site_alone(
    floor_s: float,
    force: bool,
    after_s: float,
    is_due: bool,
) -> None:
    at = T0 + timedelta(seconds=after_s)
    assert Pace(T0, 60).is_due(at, floor_s=floor_s, force=force) is is_due
