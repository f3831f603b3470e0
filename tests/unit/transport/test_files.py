"""Folding: one file of many, again after a kill, and never at a loss."""

import zipfile
from pathlib import Path

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


def test_nothing_to_fold_leaves_all_as_it_is(tmp_path: Path) -> None:
    close(str(tmp_path))
    pack(str(tmp_path / place.SPOOLS), str(tmp_path / place.SPOOLS_FOLDED))
    assert list(tmp_path.iterdir()) == []
