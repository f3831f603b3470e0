"""What the program on the remote says of its machine."""

from pathlib import Path

import pytest

from penstock.transport import remote


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
