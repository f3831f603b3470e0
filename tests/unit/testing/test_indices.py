"""Indices to text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.testing.indices import cut, parse, spell

CASES = {
    "0": [0],
    "0-3": [0, 1, 2, 3],
    "3-7,9": [3, 4, 5, 6, 7, 9],
    "0-20:4": [0, 4, 8, 12, 16, 20],
    "0,4,8": [0, 4, 8],
}


@pytest.mark.parametrize("text", CASES)
def test_text_stands_for_its_indices(text: str) -> None:
    assert parse(text) == (CASES[text], None)
    assert spell(CASES[text]) == text


def test_throttle_stands_after_a_percent_sign() -> None:
    assert parse("0-3%2") == ([0, 1, 2, 3], 2)


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "0-3%", "0-3%x", "0-9:0", "1,,2"])
def test_what_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an array"):
        parse(text)


@given(st.sets(st.integers(0, 4000), min_size=1))
def test_every_set_comes_back(indices: set[int]) -> None:
    assert parse(spell(sorted(indices)))[0] == sorted(indices)


def test_cut_text_keeps_its_throttle() -> None:
    assert cut("1_[", "1,3,5,7,9,11", "%3]", "10") == "1_[1,3,5,...%3]"
