import math
import random
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.store.points import MISSING, Columns, decode, encode

STEPS = st.one_of(st.just(MISSING), st.integers(-(1 << 53), 1 << 53))
TIMES = st.integers(0, 250_000_000_000_000)
REALS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def columns(points: list[tuple[int, int, float]]) -> Columns:
    return Columns(
        array("q", [point[0] for point in points]),
        array("q", [point[1] for point in points]),
        array("d", [point[2] for point in points]),
    )


def bits(told: Columns) -> tuple[bytes, bytes, bytes]:
    return told.steps.tobytes(), told.times.tobytes(), told.values.tobytes()


@given(st.lists(st.tuples(STEPS, TIMES, REALS), max_size=60))
def test_points_come_back_bit_by_bit(points: list[tuple[int, int, float]]) -> None:
    told = columns(points)
    assert bits(decode(encode(told), len(told))) == bits(told)


@pytest.mark.parametrize("pattern", [0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x8000000000000000])
def test_every_nan_and_zero_keeps_its_bits(pattern: int) -> None:
    (value,) = struct.unpack("<d", struct.pack("<Q", pattern))
    told = columns([(0, 0, value), (1, 5, 1.0), (2, 7, value)])
    assert bits(decode(encode(told), 3)) == bits(told)


def test_noisy_points_are_small() -> None:
    draw = random.Random(1)
    at = 1_732_000_000_000
    points = []
    for step in range(1000):
        at += int(draw.gauss(1000, 50))
        points.append((step, at, 2.3 / (1 + step / 100) + draw.gauss(0, 0.05)))
    assert len(encode(columns(points))) / 1000 < 9


@pytest.mark.parametrize("value", [0.0, 0.25, 1e-300, math.pi])
def test_what_repeats_costs_almost_nothing(value: float) -> None:
    told = columns([(step * 10, 1000 * step, value) for step in range(1000)])
    assert len(encode(told)) < 120


def test_single_precision_costs_half() -> None:
    draw = random.Random(1)
    values = array("f", [draw.gauss(0, 1) for _ in range(1000)])
    told = columns([(n, n, value) for n, value in enumerate(values)])
    assert len(encode(told)) / 1000 < 4.5


@pytest.mark.parametrize("data", [b"", b"\x02", b"\xff" * 40])
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="format"):
        decode(data, 1)


def test_no_points_are_no_points() -> None:
    assert len(decode(encode(Columns()), 0)) == 0
