"""What the program on the remote says of its machine."""

import json
import zlib
from pathlib import Path

import pytest

from penstock.transport import remote
from penstock.wire import place


def test_remote_tells_what_its_site_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site.toml"
    monkeypatch.setattr(remote, "SITE_FILE", str(file))
    assert remote._hello()["site"] == ""
    file.write_text("poll_s = 30\n")
    assert remote._hello()["site"] == "poll_s = 30\n"
    file.write_bytes(b"\xff\xfe")
    assert remote._hello()["site"] == "", "what is no text is none"
    file.write_text("#" * 100_000)
    assert len(remote._hello()["site"]) == remote.MOST_OF_SITE


def test_no_further_array_is_folded_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked waits for what runs told, and there are other arrays."""
    monkeypatch.setattr(remote, "FOLD_S", 1e-9)
    for name in ("one", "two"):
        (tmp_path / name / place.LOGS).mkdir(parents=True)

    def folded(*names: str) -> list[bool]:
        rows = [(str(tmp_path / name), list[int](), True) for name in names]
        body = zlib.compress(json.dumps(rows).encode())
        answer, _ = remote.gather({"at_most": 1000}, body)
        return ["is_folded" in one for one in answer["folders"]]

    assert folded("one", "two") == [True, False]
    assert folded("two") == [True]
