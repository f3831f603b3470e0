"""What a benchmark says: figures, as a table for people and as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

HEADS = ("what", "value", "unit", "peer", "target", "met")


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, what the peers need for the same, and what is to be reached."""

    what: str
    value: float | None  # None: it could not be measured, and ``peer`` says why
    unit: str
    peer: str
    target: str
    met: bool


def at_most(what: str, value: float, unit: str, limit: float, *, peer: str = "") -> Figure:
    """Return a figure that should be small."""
    return Figure(what, value, unit, peer, f"≤ {number(limit)}", value <= limit)


def at_least(what: str, value: float, unit: str, limit: float, *, peer: str = "") -> Figure:
    """Return a figure that should be large."""
    return Figure(what, value, unit, peer, f"≥ {number(limit)}", value >= limit)


def left_out(what: str, unit: str, target: str, why: str) -> Figure:
    """Return a figure that could not be measured here: it is not met."""
    return Figure(what, None, unit, why, target, met=False)


def number(value: float | None) -> str:
    """Return a number as people read it: three digits that count, thousands apart."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 100:
        return f"{round(value):,}"
    return f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as lines, one for each, below a head."""
    rows: list[tuple[str, ...]] = [HEADS]
    rows += [
        (f.what, number(f.value), f.unit, f.peer, f.target, "yes" if f.met else "NO")
        for f in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def document(benchmark: str, figures: Sequence[Figure]) -> str:
    """Return one line of JSON."""
    return json.dumps(
        {"benchmark": benchmark, "figures": [asdict(figure) for figure in figures]},
        ensure_ascii=False,
        allow_nan=False,
    )
