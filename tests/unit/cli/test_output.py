"""Tables fit, and never cut what is fixed."""

import io

import pytest

from penstock.cli.app import told
from penstock.cli.output import Column, has_colours, note, table, warn
from penstock.cli.text import width
from penstock.errors import SpecError

HEADS = [Column("run", is_fixed=True), Column("params"), Column("note")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_table_fits_and_leaves_names_whole() -> None:
    name = "a-rather-long-experiment/12345"
    lines = table(HEADS, [[name, "x" * 80, "y" * 30]], wide=80)
    assert all(width(line) <= 80 for line in lines)
    assert name in lines[1]


def test_table_off_a_terminal_cuts_nothing() -> None:
    lines = table(HEADS, [["e/1", "x" * 300, "y"]], wide=None)
    assert "x" * 300 in lines[1]


def test_table_that_is_too_narrow_keeps_the_name() -> None:
    lines = table(HEADS, [["experiment/1", "x" * 50, "y" * 50]], wide=10)
    assert lines[1].startswith("experiment/1  ")


def test_table_aligns_wide_characters() -> None:
    lines = table([Column("a"), Column("b")], [["日本", "x"], ["ab", "y"]], wide=None)
    assert lines[1] == "日本  x"
    assert lines[2] == "ab    y"


def test_table_shows_no_control_characters() -> None:
    assert "\x1b" not in "".join(table([Column("a")], [["\x1b[2J"]], wide=None))


@pytest.mark.parametrize(
    "no_color, term, has", [("", "xterm", True), ("1", "xterm", False), ("", "dumb", False)]
)
def test_colours_only_where_wanted(
    monkeypatch: pytest.MonkeyPatch, no_color: str, term: str, has: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)
    assert has_colours(Terminal()) is has
    assert not has_colours(io.StringIO())


def test_what_is_told_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Names and messages may come from others' files."""
    evil = "a\x1b]0;b\x07\u202e"
    note(evil)
    warn(f"{evil}\nsecond line")
    told(SpecError(evil, file=evil, line=1, column=1, key=evil, hint=evil), debug=False)
    told(OSError(evil), debug=False)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\u202e" not in said
    assert "second line" in said.splitlines()
