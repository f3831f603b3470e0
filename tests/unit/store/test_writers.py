import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import StoreError
from penstock.store import volume, writers
from penstock.store.writers import Note, Verdict, Writers, judge

NOTES = {"a": Note(1.0), "b": Note(2.0)}


@pytest.mark.parametrize(
    "host, notes, proven, verdict",
    [
        ("a", {}, {}, Verdict.FINE),
        ("a", {"a": Note(1.0)}, {"c": False}, Verdict.FINE),  # alone: nobody to collide with
        ("b", NOTES, {}, Verdict.UNTRIED),
        ("b", NOTES, {"b": True}, Verdict.FINE),
        ("b", NOTES, {"a": True}, Verdict.FINE),
        ("b", NOTES, {"c": True}, Verdict.UNTRIED),
        ("b", NOTES, {"b": False}, Verdict.REFUSED),
        ("b", NOTES, {"a": False}, Verdict.REFUSED),
        ("b", NOTES, {"c": False}, Verdict.REFUSED),
        ("b", NOTES, {"a": True, "c": False}, Verdict.REFUSED),
        ("b", NOTES, {"b": True, "c": False}, Verdict.FINE),
        ("b", NOTES, {"b": True, "a": False}, Verdict.REFUSED),
        ("a", NOTES, {"a": False}, Verdict.FINE),  # the first goes on
        ("a", {"a": Note(2.0), "b": Note(2.0)}, {"a": False}, Verdict.FINE),
        ("b", {"a": Note(2.0), "b": Note(2.0)}, {"a": False}, Verdict.REFUSED),
    ],
)
def test_judge(
    host: str, notes: dict[str, Note], proven: dict[str, bool], verdict: Verdict
) -> None:
    assert judge(host, notes, proven) is verdict


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Writers]:
    def made(host: str, **more: object) -> Writers:
        warn = more.pop("warn", pytest.fail)
        return Writers(tmp_path, tmp_path / "penstock.db", host=host, warn=warn, **more)  # type: ignore[arg-type]

    return made


def probe(home: Path, **proven: bool) -> None:
    hosts = {
        name: {"proven": one, "at": "2024-11-20T14:00:00+00:00"} for name, one in proven.items()
    }
    (home / writers.PROBED).write_text(json.dumps({"hosts": hosts}))


def test_second_host_is_refused_where_locks_do_not_work(
    tmp_path: Path, make: Callable[..., Writers]
) -> None:
    probe(tmp_path, login2=False)
    make("login1").admit()
    for _ in range(2):
        with pytest.raises(StoreError, match="login1 writes to the store") as caught:
            make("login2").admit()
        assert f"rm {tmp_path}/writers/login1" in caught.value.hint
    make("login1").admit()
    (tmp_path / "writers" / "login1").unlink()
    make("login2").admit()
    with pytest.raises(StoreError, match="login2 writes"):
        make("login1").admit()


def test_host_that_was_at_work_is_refused_once_it_is_known(
    tmp_path: Path, make: Callable[..., Writers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "AGAIN_S", 0)
    first, second = make("login1"), make("login2")
    first.admit()
    second.admit()
    probe(tmp_path, login2=False)
    first.admit()
    with pytest.raises(StoreError, match="login1 writes"):
        second.admit()
    probe(tmp_path, login2=True)  # the locks were mended
    second.admit()


def test_host_that_wrote_long_ago_keeps_nobody_back(
    tmp_path: Path, make: Callable[..., Writers]
) -> None:
    probe(tmp_path, login2=False)
    make("login1").admit()
    note = tmp_path / "writers" / "login1"
    old = note.stat().st_mtime - writers.RECENT_S
    os.utime(note, (old, old))
    make("login2").admit()


def test_locks_that_were_never_tried_are_told_once_on_a_shared_file_system(
    tmp_path: Path, make: Callable[..., Writers], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("login1").admit()
    make("login2").admit()  # of this machine's own disk nothing is told
    monkeypatch.setattr(volume, "kind", lambda _: "nfs4")
    told: list[str] = []
    for _ in range(2):
        make("login2", warn=told.append).admit()
    assert len(told) == 1
    assert "`penstock doctor --job`" in told[0]
    assert "login1 and login2 write" in told[0]


@pytest.mark.parametrize("text", ["", "[]", '{"hosts": 3}', '{"hosts": {"a": {}}}', "\x00"])
def test_record_of_locks_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / writers.PROBED).write_text(text)
    assert writers.probed(tmp_path) == {}


MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /home rw shared:3 - nfs4 server:/home rw,vers=4.2
41 27 0:41 / /home/my\\040disk rw - xfs /dev/vdb rw
42 27 0:42 / /scratch rw - fuse.sshfs host:/ rw
"""


@pytest.mark.parametrize(
    "path, kind, is_shared",
    [
        ("/var/x", "ext4", False),
        ("/home/alice/project/penstock.db", "nfs4", True),
        ("/homework", "ext4", False),
        ("/home/my disk/penstock.db", "xfs", False),
        ("/scratch/a", "fuse.sshfs", True),
    ],
)
def test_file_system_of_a_path(tmp_path: Path, path: str, kind: str, is_shared: bool) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert volume.kind(Path(path), tmp_path / "mountinfo") == kind
    assert volume.is_shared(kind) is is_shared


def test_file_system_that_is_not_known_is_called_local(tmp_path: Path) -> None:
    assert volume.kind(Path("/"), tmp_path / "none") == ""
    assert not volume.is_shared("")
