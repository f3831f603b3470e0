"""Ranges of numbers, exactly as they are written: 0.1 to 0.3 by 0.1 ends with 0.3.

Steps are fractions, and each value is rounded once, to the nearest float.
"""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import lcm

_PRECISION = 60
_EXACT = Decimal("1e-40")  # far below what a float can tell apart, far above the precision


def steps(first: Decimal, last: Decimal, step: Decimal) -> int:
    """Return how many values there are from first to last; 0 where the step leads away."""
    return max(0, (Fraction(last) - Fraction(first)) // Fraction(step) + 1)


def stepped(first: Decimal, step: Decimal, count: int, *, is_whole: bool) -> list[int | float]:
    """Return ``count`` values from first on; whole numbers where the spec wrote whole numbers."""
    return _values(Fraction(first), Fraction(step), count, is_whole)


def counted(first: Decimal, last: Decimal, count: int, *, is_whole: bool) -> list[int | float]:
    """Return ``count`` values (two or more) at equal distances, first and last among them."""
    start, width = Fraction(first), (Fraction(last) - Fraction(first)) / (count - 1)
    return _values(start, width, count, is_whole and width.denominator == 1)


def _values(start: Fraction, width: Fraction, count: int, is_whole: bool) -> list[int | float]:
    over = lcm(start.denominator, width.denominator)
    above, more = int(start * over), int(width * over)
    if is_whole:
        return list(range(above, above + more * count, more)) if more else [above] * count
    return [(above + more * index) / over for index in range(count)]  # rounded once, by Python


def logarithmic(first: Decimal, last: Decimal, count: int, *, is_whole: bool) -> list[int | float]:
    """Return ``count`` values (two or more) at equal ratios; first and last are above 0."""
    with localcontext() as context:
        context.prec = _PRECISION
        ratio = last / first
        inner = [first * ratio ** (Decimal(n) / (count - 1)) for n in range(1, count - 1)]
        exact = [first, *inner, last]
        rounded = [value.to_integral_value() for value in exact]
        if is_whole and all(
            abs(value - whole) <= _EXACT * value
            for value, whole in zip(exact, rounded, strict=True)
        ):
            return [int(whole) for whole in rounded]
        return [float(value) for value in exact]
