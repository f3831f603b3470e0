"""Folding: one file of many, again after a kill, and never at a loss."""

import secrets
import zipfile
from pathlib import Path

import pytest

from penstock.transport import files
from penstock.transport.files import close, pack
from penstock.wire import place


def spool(folder: Path, name: str, data: str) -> None:
    path = folder / place.SPOOLS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data)


def packed(folder: Path) -> dict[str, bytes]:
    pack(str(folder / place.SPOOLS), str(folder / place.SPOOLS_FOLDED))
    assert not (folder / place.SPOOLS).exists()
    with zipfile.ZipFile(folder / place.SPOOLS_FOLDED) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_claims_are_left_out(tmp_path: Path) -> None:
    spool(tmp_path, "0/0.claim", "x")
    spool(tmp_path, "0/0.0.done", "told")
    assert packed(tmp_path) == {"0/0.0.done": b"told"}


def test_what_was_folded_before_is_kept(tmp_path: Path) -> None:
    spool(tmp_path, "0/0.0.done", "first")
    spool(tmp_path, "0/1.0.done", "old")
    packed(tmp_path)
    spool(tmp_path, "0/1.0.done", "new")
    spool(tmp_path, "0/2.0.done", "third")
    assert packed(tmp_path) == {
        "0/0.0.done": b"first",
        "0/1.0.done": b"new",
        "0/2.0.done": b"third",
    }


def test_program_that_folds_still_while_another_does_it_again_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection was cut, and that tells it nothing: it goes on to write."""
    spool(tmp_path, "0/0.0.done", "first")
    found: list[dict[str, bytes]] = []
    keep = files._keep

    def other(archive: zipfile.ZipFile, earlier: str) -> None:
        monkeypatch.setattr(files, "_keep", keep)
        spool(tmp_path, "0/0.0.done", secrets.token_hex(100_000))
        found.append(packed(tmp_path))
        keep(archive, earlier)

    monkeypatch.setattr(files, "_keep", other)
    with pytest.raises(FileNotFoundError):
        packed(tmp_path)
    assert [packed(tmp_path)] == found
    assert [one.name for one in tmp_path.iterdir()] == [place.SPOOLS_FOLDED]


def test_file_of_one_that_was_killed_is_taken_away(tmp_path: Path) -> None:
    spool(tmp_path, "0/0.0.done", "told")
    for name in ("spools.tmp", "spools.1234.tmp"):
        (tmp_path / name).write_text("half")
    packed(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [place.SPOOLS_FOLDED]


def test_zip_that_is_none_is_said_and_kept(tmp_path: Path) -> None:
    spool(tmp_path, "0/0.0.done", "told")
    (tmp_path / place.SPOOLS_FOLDED).write_text("no zip")
    with pytest.raises(files.Damaged):
        pack(str(tmp_path / place.SPOOLS), str(tmp_path / place.SPOOLS_FOLDED))
    assert (tmp_path / place.SPOOLS_FOLDED).read_text() == "no zip"
    assert (tmp_path / place.SPOOLS).exists()


def test_nothing_to_fold_leaves_all_as_it_is(tmp_path: Path) -> None:
    close(str(tmp_path))
    pack(str(tmp_path / place.SPOOLS), str(tmp_path / place.SPOOLS_FOLDED))
    assert list(tmp_path.iterdir()) == []
