"""What user code may tell, and what not."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import event, listing


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=5))
def test_event_is_one_line_that_reads_back(values: dict[str, object]) -> None:
    line = event.encode({"k": "tag", "values": values})
    assert line.count(b"\n") == 1
    assert json.loads(line)["values"] == values


def test_event_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        event.encode({"k": "tag", "values": {"x": "y" * event.LINE}})


class Scalar:
    def __float__(self) -> float:
        return 1.5


class Vector:
    def __float__(self) -> float:
        raise RuntimeError("only one element tensors can be converted")


@pytest.mark.parametrize("value, number", [(1, 1.0), (True, 1.0), (Scalar(), 1.5), (0.1, 0.1)])
def test_number_takes_what_is_one(value: object, number: float) -> None:
    assert event.number(value) == number


def test_number_keeps_what_is_not_finite() -> None:
    assert math.isnan(event.number(float("nan")))


@pytest.mark.parametrize("value", ["1", None, Vector(), [1], 10**400, b"1"])
def test_number_refuses_what_is_none(value: object) -> None:
    with pytest.raises(ValueError, match="number"):
        event.number(value)


@pytest.mark.parametrize("value, step", [(None, None), (3, 3), (3.0, 3), (2**60 + 1, 2**60 + 1)])
def test_step_is_whole(value: object, step: int | None) -> None:
    assert event.step(value) == step


@pytest.mark.parametrize("value", [1.5, float("inf"), 2**70, "3"])
def test_step_refuses_what_is_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"step|number"):
        event.step(value)


@pytest.mark.parametrize("path", ["/a", "../a", "a/../../b", "", ".", "a\0b", "a\nb", None, 3])
def test_path_that_leaves_is_refused(path: object) -> None:
    with pytest.raises(ValueError, match=r"path|name"):
        event.inside(path)


@pytest.mark.parametrize("path, kept", [("a", "a"), ("./a//b/", "a/b"), ("a..b/c", "a..b/c")])
def test_path_below_is_kept(path: str, kept: str) -> None:
    assert event.inside(path) == kept


def test_digest_of_a_listing_knows_no_order() -> None:
    one, two = listing.Listing(), listing.Listing()
    one.file("a", "00", 1, is_program=False)
    one.link("b", "a")
    two.link("b", "a")
    two.file("a", "00", 1, is_program=False)
    assert one.digest() == two.digest()


@pytest.mark.parametrize(
    "path, sha, is_program", [("b", "00", False), ("a", "01", False), ("a", "00", True)]
)
def test_digest_of_a_listing_differs(path: str, sha: str, is_program: bool) -> None:
    one, two = listing.Listing(), listing.Listing()
    one.file("a", "00", 1, is_program=False)
    two.file(path, sha, 1, is_program)
    assert one.digest() != two.digest()


def test_names_cannot_imitate_another_listing() -> None:
    one, two = listing.Listing(), listing.Listing()
    one.file("a", "00", 1, is_program=False)
    one.file("b", "00", 1, is_program=False)
    two.file("a\nfile 00 1 b", "00", 1, is_program=False)
    assert one.digest() != two.digest()
