"""The daemon's log: records on one line each, in files that do not grow without end."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.daemon import log

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value, written",
    [
        ("plain", "plain"),
        (12, "12"),
        (0.12345, "0.123"),
        ("two words", '"two words"'),
        ('a"b', r'"a\"b"'),
        ("a=b", '"a=b"'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("", '""'),
        (None, "None"),
    ],
)
def test_value_is_on_one_line_and_can_be_read(value: object, written: str) -> None:
    assert log.line(AT, "info", "sent", {"k": value}) == (
        f"2026-01-31T12:00:00+00:00 info sent k={written}"
    )


def test_files_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BYTES", 200)
    say = log.Log(tmp_path / "log")
    for number in range(50):
        say("sent", runs=number)
    say.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2", "log.3", "log.4"]
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())
    last = [line.rpartition("=")[2] for line in log.tail(tmp_path / "log", 5)]
    assert last == ["45", "46", "47", "48", "49"]


def test_follow_goes_on_through_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it finds nothing, something happens to the file."""
    path = tmp_path / "log"
    path.write_text("old\n")

    def grow() -> None:
        with path.open("a") as file:
            file.write("one\nhal")

    def end_the_line() -> None:
        with path.open("a") as file:
            file.write("f\n")

    def rotate() -> None:
        path.rename(tmp_path / "log.1")

    def begin() -> None:
        path.write_text("new\n")

    steps = iter([grow, end_the_line, rotate, begin])
    monkeypatch.setattr("time.sleep", lambda _: next(steps)())
    lines = log.follow(path)
    assert [next(lines) for _ in range(3)] == ["one", "half", "new"]
    with pytest.raises((StopIteration, RuntimeError)):
        next(lines)
