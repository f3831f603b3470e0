"""Logs are found as files, and in the zip that they are folded to."""

import zipfile
from pathlib import Path

import pytest

from penstock.errors import StoreError
from penstock.service.logs import Log
from penstock.wire import place


def write(folder: Path, index: int, restart: int, text: bytes) -> None:
    path = folder / place.log(index, restart)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


def test_log_is_read_from_an_offset(tmp_path: Path) -> None:
    write(tmp_path, 1007, 2, b"hello")
    assert Log(tmp_path, 1007, 2).read() == b"hello"
    assert Log(tmp_path, 1007, 2).read(3) == b"lo"
    assert Log(tmp_path, 1007, 2).read(9) == b""


def test_log_that_was_folded_is_the_same(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / place.LOGS_FOLDED, "w") as archive:
        archive.writestr("1/1007.2.log", b"hello")
    assert Log(tmp_path, 1007, 2).read(1) == b"ello"
    assert Log(tmp_path, 1007, 3).read() == b""


def test_log_of_nothing_is_empty(tmp_path: Path) -> None:
    assert Log(tmp_path, 0, 0).read() == b""


def test_damaged_zip_is_said(tmp_path: Path) -> None:
    (tmp_path / place.LOGS_FOLDED).write_bytes(b"not a zip")
    with pytest.raises(StoreError, match=r"logs\.zip"):
        Log(tmp_path, 0, 0).read()
