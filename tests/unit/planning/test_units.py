import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.planning import units


@pytest.mark.parametrize(
    "text,mb",
    [
        ("500M", 500),
        ("4G", 4096),
        ("4g", 4096),
        ("4 GB", 4096),
        ("4GiB", 4096),
        ("1.5G", 1536),
        ("1T", 1 << 20),
        ("1K", 1),
        ("1025K", 2),
    ],
)
def test_mem_is_mebibytes_rounded_up(text: str, mb: int) -> None:
    assert units.mem_mb(text) == mb


@pytest.mark.parametrize("text", ["4", "4.5", "1_000", "0", "-4"])
def test_mem_without_a_unit_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="has no unit"):
        units.mem_mb(text)


@pytest.mark.parametrize(
    "text", ["", "G", "4X", "4GG", "0G", "-1G", "١G", "9999999999999T", "1e3M"]
)
def test_mem_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no |not |its units"):
        units.mem_mb(text)


@pytest.mark.parametrize(
    "text,seconds",
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d 12h", 129600),
        ("1.5h", 5400),
        ("0.1s", 1),
        ("1:30", 90),
        ("90:00", 5400),
        ("1:30:00", 5400),
        ("100:00:00", 360000),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("1-12:30:15", 131415),
    ],
)
def test_time_is_seconds(text: str, seconds: int) -> None:
    assert units.time_s(text) == seconds


@pytest.mark.parametrize("text", ["90", "1.5", "0"])
def test_time_without_a_unit_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="has no unit"):
        units.time_s(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "1:60",
        "1:60:00",
        "1-24",
        "1-1:60",
        "0s",
        "0:00",
        "UNLIMITED",
        "30m1h",
        "1h1h",
        "1:2:3:4",
    ],
)
def test_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no |not |its units"):
        units.time_s(text)


@given(st.integers(1, 10**9))
def test_time_comes_back_from_both_ways_of_writing_it(seconds: int) -> None:
    assert units.time_s(units.slurm_time(seconds)) == seconds
    assert units.time_s(units.people_time(seconds)) == seconds


def test_slurm_time_has_days_only_where_there_are_some() -> None:
    assert units.slurm_time(5400) == "01:30:00"
    assert units.slurm_time(93784) == "1-02:03:04"
    assert units.people_time(0) == "0s"
