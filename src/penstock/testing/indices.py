"""Task indices of an array, from and to Slurm's text for them."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

_PIECE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def parse(text: str) -> tuple[list[int], int | None]:
    """Return the indices, in order, and the throttle of ``0-9:2%4``. Raises ValueError."""
    body, mark, throttle = text.partition("%")
    if mark and not throttle.isdigit():
        raise ValueError(f"not an array: {text!r}")
    found: set[int] = set()
    for piece in body.split(","):
        match = _PIECE.fullmatch(piece)
        if match is None:
            raise ValueError(f"not an array: {text!r}")
        first, last, step = (int(part) if part else None for part in match.groups())
        assert first is not None
        if last is not None and (last < first or step == 0):
            raise ValueError(f"not an array: {text!r}")
        found.update(range(first, (first if last is None else last) + 1, step or 1))
    return sorted(found), int(throttle) if mark and int(throttle) else None


def spell(indices: Sequence[int]) -> str:
    """Return ``3-7,9``, or ``0-20:4`` where Slurm would say so.

    Slurm names a step when there are more than five tasks, over more than ten, evenly spaced.
    """
    if len(indices) > 5 and indices[-1] - indices[0] > 10:
        step = indices[1] - indices[0]
        if step > 1 and all(b - a == step for a, b in pairwise(indices)):
            return f"{indices[0]}-{indices[-1]}:{step}"
    return ranges(indices)


def ranges(indices: Iterable[int]) -> str:
    """Return ``3-7,9``."""
    pieces: list[str] = []
    first = last = -2
    for index in [*indices, -2]:
        if index == last + 1 and last >= 0:
            last = index
            continue
        if first >= 0:
            pieces.append(f"{first}-{last}" if last > first else f"{first}")
        first = last = index
    return ",".join(pieces)


def cut(head: str, text: str, tail: str, length: str | None) -> str:
    """Cut an array's indices as squeue does for SLURM_BITSTR_LEN (seen on 22.05).

    Not set, the whole is cut at 31 characters with no mark; 0 leaves it whole; else the indices are
    cut to a length of one less, with ``...`` at their end, and the throttle stands after it.
    """
    if length is None or not length.isdigit():
        return (head + text + tail)[:31]
    limit = int(length)
    if limit and len(text) >= limit:
        text = text[: max(0, limit - 4)] + "..."
    return head + text + tail
