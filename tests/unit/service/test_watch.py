"""Rates and time left."""

from datetime import UTC, datetime, timedelta

import pytest

from penstock.model.state import State
from penstock.service.query import Standing
from penstock.service.watch import WINDOW, Progress, Rate

AT = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def test_rate_is_not_known_before_something_ended() -> None:
    rate = Rate()
    assert rate.add(AT, 5) is None
    assert rate.add(after(10), 5) is None
    assert rate.add(after(20), 15) == pytest.approx(0.5)


def test_rate_forgets_what_is_long_ago() -> None:
    rate = Rate()
    rate.add(AT, 0)
    rate.add(after(1), 1000)
    said = None
    for second in range(2, int(WINDOW.total_seconds()) + 10):
        said = rate.add(after(second), 1000 + second)
    assert said == pytest.approx(1.0, rel=0.1)


def test_rate_does_not_mind_a_clock_that_goes_back() -> None:
    rate = Rate()
    rate.add(AT, 0)
    assert rate.add(after(-5), 3) is None


def standing(**states: int) -> Standing:
    return Standing("e", {State(name): many for name, many in states.items()})


def test_left_is_what_is_not_over_by_the_rate() -> None:
    progress = Progress(AT, (standing(running=6, completed=4),), (), per_s=2.0)
    assert (progress.total, progress.over, progress.left_s) == (10, 4, 3.0)
    assert not progress.is_over


def test_nothing_is_left_when_all_is_over() -> None:
    progress = Progress(AT, (standing(completed=3, failed=1, cancelled=1),), (), per_s=2.0)
    assert progress.is_over
    assert progress.left_s is None
