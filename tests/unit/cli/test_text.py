"""What people read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli import text

NOW = datetime(2026, 3, 5, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "seconds, said",
    [
        (None, ""),
        (-3, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_duration_has_units(seconds: float | None, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    "count, said",
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 2**20, "1.5 GiB"),
        (2**60, "1024 PiB"),
    ],
)
def test_size_has_units(count: int | None, said: str) -> None:
    assert text.size(count) == said


@pytest.mark.parametrize(
    "value, said",
    [
        (None, ""),
        (3.0, "3"),
        (0.1234567, "0.123457"),
        (1e-9, "1e-09"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1e300, "1e+300"),
    ],
)
def test_number_is_short(value: float | None, said: str) -> None:
    assert text.number(value) == said


@pytest.mark.parametrize(
    "given_text, said",
    [
        ("plain", "plain"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("größe 日本", "größe 日本"),
        ("\udc80", "\\udc80"),
    ],
)
def test_clean_writes_out_what_steers_a_terminal(given_text: str, said: str) -> None:
    assert text.clean(given_text) == said


@given(st.text())
def test_clean_is_one_line_that_can_be_encoded(given_text: str) -> None:
    shown = text.clean(given_text)
    assert len(shown.splitlines()) <= 1
    assert not any(char < " " or char == "\x7f" for char in shown)
    shown.encode()


@given(st.text(), st.integers(1, 30))
def test_cut_fits(given_text: str, columns: int) -> None:
    assert text.width(text.cut(given_text, columns)) <= columns


@pytest.mark.parametrize(
    "ago, said",
    [
        (timedelta(0), r"\d\d:\d\d:\d\d"),
        (timedelta(days=3), r"Mar  2 \d\d:\d\d"),
        (timedelta(days=400), "2025-01-29"),
    ],
)
def test_when_says_what_tells_it_apart(ago: timedelta, said: str) -> None:
    import re

    assert re.fullmatch(said, text.when(NOW - ago, NOW))


def test_pairs_are_as_the_run_gets_them() -> None:
    params: dict[str, object] = {"lr": 0.1, "on": True, "names": ["a b"], "n": None}
    assert text.pairs(params) == 'lr=0.1 on=true names=["a b"] n=null'


def test_count_knows_one() -> None:
    assert (text.count(1, "run"), text.count(1200, "run")) == ("1 run", "1,200 runs")


def test_look_that_was_not_answered_is_told_from_the_last_that_was() -> None:
    before, asked = NOW - timedelta(hours=1), NOW - timedelta(minutes=1)
    assert text.looked(None, None, NOW) == ""
    assert text.looked(asked, asked, NOW) == text.ago(asked, NOW)
    told = text.looked(asked, before, NOW)
    assert told == f"asked at {text.ago(asked, NOW)}, answered at {text.ago(before, NOW)}"
    assert text.looked(asked, None, NOW) == f"asked at {text.ago(asked, NOW)}, never answered"
