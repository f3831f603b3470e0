"""Where words go: data to stdout, all else to stderr; colours only where a person looks."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from penstock.cli.text import clean, clean_lines, cut, width

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
STATE_COLOURS = {
    "completed": "green",
    "failed": "red",
    "held": "yellow",
    "cancelled": "yellow",
    "running": "blue",
    "ending": "blue",
}


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person sees what is written to a stream."""
    return stream.isatty()


def has_colours(stream: TextIO) -> bool:
    """Return whether colours may be used: a terminal that has some, and nobody said NO_COLOR."""
    return (
        is_terminal(stream)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Return text in a colour, if the stream (stdout) has colours."""
    if not colour or not has_colours(stream or sys.stdout):
        return text
    return f"\033[{_CODES[colour]}m{text}\033[0m"


def columns(stream: TextIO | None = None) -> int | None:
    """Return how wide the terminal is; None where it is not one, and nothing is cut."""
    if not is_terminal(stream or sys.stdout):
        return None
    return shutil.get_terminal_size().columns


def data(text: str) -> None:
    """Write a line of what was asked for."""
    sys.stdout.write(text + "\n")


def flush() -> None:
    """Let a reader have what was written so far."""
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell something beside the data, on stderr."""
    _tell(clean_lines(text))


def warn(text: str) -> None:
    """Tell something that is not as it should be."""
    _tell(paint("warning: ", "yellow", sys.stderr) + clean_lines(text))


def _tell(text: str) -> None:
    sys.stdout.flush()  # so that both come in order where they go to one place
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def as_json(value: object) -> None:
    """Write a JSON document."""
    data(_json(value, indent=2))


def json_line(value: object) -> None:
    """Write JSON on a line of its own, for whoever reads along."""
    data(_json(value))
    flush()


def as_json_list(values: Iterable[object]) -> None:
    """Write a JSON list, a line for each: a hundred thousand runs need not stand in memory."""
    between = "[\n"
    for value in values:
        sys.stdout.write(between + _json(value))
        between = ",\n"
    data("[]" if between == "[\n" else "\n]")


def _json(value: object, *, indent: int | None = None) -> str:
    import json  # noqa: PLC0415  most commands have none

    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> object:
    """Return times as ISO 8601 in UTC, and other things as text."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@dataclass(frozen=True)
class Column:
    """A column of a table. A ``fixed`` one is never cut."""

    title: str
    is_fixed: bool = False
    is_right: bool = False
    colour: Callable[[str], str] = lambda _: ""


def state_colour(state: str) -> str:
    """Return the colour of a state's name."""
    return STATE_COLOURS.get(state.partition(" ")[0], "")


def table(heads: Sequence[Column], rows: Iterable[Sequence[str]], *, wide: int | None) -> list[str]:
    """Return the lines of a table, at most ``wide`` columns if what is fixed allows it.

    The widest of the columns that may be cut are cut first.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    sizes = [
        max([width(head.title), *(width(row[at]) for row in cells)])
        for at, head in enumerate(heads)
    ]
    if wide is not None:
        _shrink(sizes, heads, wide - 2 * (len(heads) - 1))
    lines = [_line([head.title.upper() for head in heads], sizes, heads, is_head=True)]
    return lines + [_line(row, sizes, heads) for row in cells]


def _shrink(sizes: list[int], heads: Sequence[Column], room: int) -> None:
    """Make the widest columns narrower until all fit, none below 8 or what it has."""
    loose = [at for at, head in enumerate(heads) if not head.is_fixed and sizes[at] > 8]
    while sum(sizes) > room and loose:
        widest = max(loose, key=lambda at: sizes[at])
        if sizes[widest] <= 8:
            return
        sizes[widest] -= 1


def _line(
    row: Sequence[str], sizes: Sequence[int], heads: Sequence[Column], *, is_head: bool = False
) -> str:
    out = []
    for cell, room, head in zip(row, sizes, heads, strict=True):
        shown = cut(cell, room)
        gap = " " * (room - width(shown))
        shown = paint(shown, "bold" if is_head else head.colour(cell))
        out.append(gap + shown if head.is_right else shown + gap)
    return "  ".join(out).rstrip()


def facts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return ``name   value`` lines, aligned; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value]
    room = max((width(name) for name, _ in known), default=0)
    return [paint(name.ljust(room), "dim") + "  " + value for name, value in known]


def ask(question: str) -> bool:
    """Ask for a yes; no where nobody can answer."""
    if not is_terminal(sys.stdin):
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
