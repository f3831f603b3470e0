"""The pace that processes share."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from penstock.planning.pace import Pace
from penstock.service.upkeep import read_pace, write_pace

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_pace_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_pace(tmp_path / "pace", Pace(AT, 15))
    assert read_pace(tmp_path / "pace") == Pace(AT, 15)
    assert [path.name for path in tmp_path.iterdir()] == ["pace"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"at": "x", "wait_s": 1}', '{"at": 1e300, "wait_s": 1}', "null"]
)
def test_pace_that_cannot_be_read_lets_a_look_be_due(tmp_path: Path, text: str) -> None:
    (tmp_path / "pace").write_text(text)
    assert read_pace(tmp_path / "pace") == Pace()
    assert read_pace(tmp_path / "absent") == Pace()


def test_pace_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    write_pace(tmp_path / "no" / "folder" / "pace", Pace(AT, 15))
    write_pace(tmp_path / "pace", Pace())
    assert list(tmp_path.iterdir()) == []
