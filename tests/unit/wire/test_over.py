"""The file that names elements which are over."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import over, place


@given(st.sets(st.integers(0, 300)))
def test_those_named_are_over_and_no_other(indices: set[int]) -> None:
    data = over.encode(indices)
    assert {index for index in range(301) if over.has(data, index)} == indices


def test_long_ranges_are_short() -> None:
    assert len(over.encode(range(100_000))) < 20


def test_nothing_is_over_where_there_is_no_file(tmp_path: Path) -> None:
    assert not over.of(str(tmp_path), 3)
    (tmp_path / place.OVER).write_bytes(over.encode([3]))
    assert over.of(str(tmp_path), 3)


def test_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / place.OVER).write_bytes(b"[[1,")
    with pytest.raises(ValueError, match=r"^Expecting"):
        over.of(str(tmp_path), 3)
