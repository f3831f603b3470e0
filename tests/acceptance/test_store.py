"""The store as its users see it go wrong, and what they can do: check, back up, put back."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.store.migrations import upgrade
from tests.acceptance.conftest import Site
from tests.contract.store.test_migrate import NEXT

SWEEP = """
experiment: swept
command: [sh, -c, "echo loss: 0.5; echo ran >> COUNT"]
params: {n: [1, 2, 3]}
metrics: stdout
"""


def sweep(site: Site) -> str:
    return SWEEP.replace("COUNT", str(site.root / "count"))


def times(site: Site) -> int:
    """Return how often a command ran."""
    path = site.root / "count"
    return len(path.read_text().splitlines()) if path.exists() else 0


def store(site: Site) -> Path:
    return site.root / ".penstock" / "penstock.db"


def folded(site: Site) -> bool:
    return bool(list(site.root.glob(".penstock/arrays/*/spools.zip")))


def told(site: Site) -> list[tuple[object, ...]]:
    """Return what is on record of each run: state, attempt, metric and how many points."""
    names = [run["run"] for run in site.json("runs")]
    whole = [site.json("show", name) for name in names]
    return sorted(
        (
            *(one["run"], one["state"], one["attempt"], len(one["attempts"])),
            one["metrics"]["loss"],
            *(metric["count"] for metric in one["metric_summaries"]),
        )
        for one in whole
    )


WHOLE = [(f"swept/{n}", "completed", 1, 1, 0.5, 1) for n in (1, 2, 3)]


def restored(site: Site, backup: Path) -> str:
    said = site("store", "restore", backup, "--yes").stderr
    site.until(lambda: ticked(site), "the end of all")
    return said


def ticked(site: Site) -> bool:
    site("tick")
    return {run["state"] for run in site.json("runs")} <= {"completed", "failed", "cancelled"}


@pytest.mark.parametrize("point", ["reconciler.plan", "reconciler.sending", "reconciler.accepted"])
def test_older_copy_learns_again_what_happened_since(local: Site, point: str) -> None:
    """Copies of a store in which the array is not yet planned, sent, or known to be accepted.

    All runs end, and the array is folded, before the copy is put back.
    """
    local.env = {"PENSTOCK_FAILPOINT": point, "PENSTOCK_RECORD_GRACE_S": "1"}
    local("submit", local.write("sweep.yaml", sweep(local)), code=-signal.SIGKILL)
    local.env = {"PENSTOCK_RECORD_GRACE_S": "1"}
    backup = Path(local("store", "backup").stdout.strip())
    local.ended("swept")
    local.until(lambda: ticked(local) and folded(local), "the fold")
    assert told(local) == WHOLE
    assert times(local) == 3
    said = restored(local, backup)
    assert "the store of before is" in said
    assert told(local) == WHOLE
    assert times(local) == 3, "nothing runs again"
    assert "agrees" in local("store", "check").stderr
    assert len(list(local.root.glob(".penstock/penstock.db.before-*"))) == 1


def refused(site: Site) -> None:
    """Look that an older copy is refused each time: the asking must not make it look new."""
    for _ in range(5):
        said = site("tick", code=6).stderr
        assert "older than what was sent" in said
        assert "`penstock store restore`, without a FILE" in said


@pytest.mark.parametrize("point", ["reconciler.plan", "reconciler.planned", "reconciler.sending"])
def test_older_copy_that_cp_put_in_place_sends_nothing_twice(local: Site, point: str) -> None:
    local.env = {"PENSTOCK_FAILPOINT": point, "PENSTOCK_RECORD_GRACE_S": "1"}
    local("submit", local.write("sweep.yaml", sweep(local)), code=-signal.SIGKILL)
    local.env = {"PENSTOCK_RECORD_GRACE_S": "1"}
    older = local.root / "older.db"
    shutil.copyfile(store(local), older)
    local.ended("swept")
    local.until(lambda: ticked(local) and folded(local), "the fold")
    shutil.copyfile(older, store(local))
    refused(local)
    found = local("store", "check", code=6).stdout
    assert "older than what was sent" in found
    assert ("does not know the array" in found) == (point == "reconciler.plan")
    assert local.json("runs"), "queries answer all the same"
    said = local("store", "restore", "--yes").stderr
    assert ("1 array sent since" in said) == (point != "reconciler.sending"), "else it is known"
    local.until(lambda: ticked(local), "the end of all")
    assert told(local) == WHOLE
    assert times(local) == 3, "nothing runs again"
    assert "agrees" in local("store", "check").stderr


def test_daemon_sends_nothing_from_an_older_copy_that_cp_put_in_place(local: Site) -> None:
    local.env = {"PENSTOCK_FAILPOINT": "reconciler.plan"}
    local("submit", local.write("sweep.yaml", sweep(local)), code=-signal.SIGKILL)
    local.env = {}
    older = local.root / "older.db"
    shutil.copyfile(store(local), older)
    with local.daemon() as running:
        local.ended("swept")
        shutil.copyfile(older, store(local))
        assert running.stderr is not None
        read_until(running.stderr, "older than what was sent")
        time.sleep(3)
        assert times(local) == 3
        local("store", "restore", "--yes", "--force")
        read_until(running.stderr, "all is well again")
        local.ended("swept")
        assert told(local) == WHOLE
        assert times(local) == 3, "nothing runs again"


def test_newer_store_that_comes_back_is_good(local: Site) -> None:
    older, newer = local.root / "older.db", local.root / "newer.db"
    local.finish(sweep(local))
    shutil.copyfile(store(local), older)
    local.finish(sweep(local).replace("swept", "later"))
    shutil.copyfile(store(local), newer)
    shutil.copyfile(older, store(local))
    refused(local)
    shutil.copyfile(newer, store(local))
    local.finish(sweep(local).replace("swept", "third"))
    assert times(local) == 9


def test_copy_of_before_the_submission_names_what_it_does_not_know(local: Site) -> None:
    backup = local("store", "backup", local.root / "empty.db").stdout.strip()
    local.finish(sweep(local))
    said = local("store", "restore", backup, "--yes").stderr
    assert "does not know the runs of 1 array: ps-" in said
    assert local.json("runs") == []
    local.finish(sweep(local))
    assert times(local) == 6


def test_store_that_is_begun_anew_knows_that_there_was_another(local: Site) -> None:
    assert "there was a store" not in local("init").stderr
    local.finish(sweep(local))
    store(local).unlink()
    assert "there was a store" in local("init").stderr
    assert "begun anew" in local("submit", local.write("sweep.yaml", sweep(local))).stderr
    for _ in range(3):
        local("tick", code=6)  # looks that fail make the next ones rarer
    assert "does not know the runs of 1 array" in local("store", "restore", "--yes").stderr
    local("watch")  # it sends what waits, and not only when the next look would have been
    assert [run["state"] for run in local.json("runs")] == ["completed"] * 3
    assert times(local) == 6


def test_restore_asks_and_names_what_is_missing(local: Site) -> None:
    assert "--yes" in local("store", "restore", "nothing.db", code=2).stderr
    assert "no backup" in local("store", "restore", "nothing.db", "--yes", code=5).stderr
    text = local.write("text.db", "no database " * 99)
    assert "not a Penstock store" in local("store", "restore", text, "--yes", code=6).stderr
    assert local.json("status") == {"experiments": []}


@pytest.mark.long
def test_damaged_pages_are_found_and_a_backup_helps(local: Site) -> None:
    local.finish(
        sweep(local).replace("[1, 2, 3]", "{from: 1, to: 100}").replace("echo ran", "true")
    )
    backup = local("store", "backup").stdout.strip()
    data = bytearray(store(local).read_bytes())
    data[len(data) // 2 :] = b"\xa5" * (len(data) - len(data) // 2)
    store(local).write_bytes(data)
    found = local("store", "check", code=6)
    assert "damaged" in found.stdout
    assert "restore" in found.stderr
    assert "damaged" in local("store", "backup", code=6).stderr
    for words in (["runs"], ["tick"], ["submit", "sweep.yaml"]):
        run = local.ask(*words)
        assert "Traceback" not in run.stderr
        assert run.returncode in (0, 6)
    local("store", "restore", backup, "--yes")
    assert "whole" in local("store", "check").stderr
    assert len(local.json("runs", "state = completed")) == 100


def test_spool_that_is_shorter_than_what_was_read_is_found(local: Site) -> None:
    local.env = {"PENSTOCK_FAILPOINT": "fold.closed"}
    name = local.submit(sweep(local))
    local.env = {}
    local.ended(name)
    (zipped,) = local.root.glob(".penstock/arrays/*/spools.zip")
    zipped.unlink()
    assert "whole" in local("store", "check").stderr, "old files may be removed"
    folder = zipped.parent / "spool" / "0"
    folder.mkdir(parents=True)
    zipped.touch()
    (folder / "0.0.done").write_text("short")
    assert "has 5 bytes" in local("store", "check", code=6).stdout


HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()


@pytest.mark.long
def test_locked_for_long_says_who_and_changes_nothing(local: Site) -> None:
    spec = local.write("sweep.yaml", sweep(local))
    with held(store(local)):
        said = local("submit", spec, code=6).stderr
    assert "held by another process" in said
    assert "process " in said
    assert local.json("status") == {"experiments": []}
    local("submit", spec)
    local.ended("swept")


def test_daemon_outlives_a_store_that_is_away(local: Site) -> None:
    gate = local.root / "gate"
    waiting = f'experiment: gated\ncommand: [sh, -c, "until [ -e {gate} ]; do sleep 0.1; done"]\n'
    with local.daemon() as running:
        local.submit(waiting)
        aside = store(local).with_name("aside")
        store(local).rename(aside)
        gate.touch()
        assert running.stderr is not None
        assert "no store at" in read_until(running.stderr, "no store at")
        aside.rename(store(local))
        assert local.ended("gated")[0]["state"] == "completed"


def test_daemon_goes_on_with_a_store_that_was_put_back(local: Site) -> None:
    backup = local("store", "backup").stdout.strip()
    with local.daemon():
        local.finish(sweep(local))
        local("store", "restore", backup, "--yes", "--force")
        assert local.json("runs") == []
        local.finish(sweep(local))
        assert told(local) == WHOLE


def test_daemon_waits_while_another_holds_the_store(local: Site) -> None:
    with local.daemon() as running:
        name = local.submit(sweep(local))
        with held(store(local)):
            assert running.poll() is None
        local.ended(name)


def test_daemon_goes_on_when_a_damaged_store_was_put_right(local: Site) -> None:
    with local.daemon() as running:
        local.finish(sweep(local))
        backup = local("store", "backup").stdout.strip()
        size = store(local).stat().st_size
        with store(local).open("r+b") as file:
            file.write(b"\xa5" * size)
        assert running.stderr is not None
        assert "trouble" in read_until(running.stderr, "store")
        local("store", "restore", backup, "--yes")
        read_until(running.stderr, "all is well again")
        assert told(local) == WHOLE


LATER = """
from penstock.service import move
from penstock.store import connection
from penstock.store.migrations import upgrade
connection.VERSION = move.VERSION = "0002"
config = upgrade.config
def later():
    found = config()
    found.set_main_option("script_location", SCRIPTS)
    return found
upgrade.config = later
"""


def test_store_of_an_older_release_is_migrated_when_told_so(local: Site, shared: Path) -> None:
    """There is one release yet: the next is one migration ahead."""
    local.finish(sweep(local))
    scripts, after = shared / "migrations", shared / "after"
    shutil.copytree(Path(upgrade.__file__).parent, scripts)
    (scripts / "versions" / "0002_next.py").write_text(NEXT.replace("WHAT", ""))
    after.mkdir()
    (after / "sitecustomize.py").write_text(LATER.replace("SCRIPTS", repr(str(scripts))))
    local.env = {"PYTHONPATH": str(after)}
    refused = local.ask("runs")
    assert refused.returncode == 6
    assert "penstock store migrate" in refused.stderr
    done = local.ask("store", "migrate")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file(), "the backup"
    assert len(json.loads(local.ask("runs", "--json").stdout)) == 3
    assert "nothing to do" in local.ask("store", "migrate").stderr
    local.env = {}
    assert "newer" in local("runs", code=6).stderr, "the program of before refuses it"


SLOW = """
import time
from penstock.store.sqlite import SQLite
commit = SQLite.commit
def slowly(self, raw):
    time.sleep(0.5)  # with the lock, as where each write of the file system takes its time
    commit(self, raw)
SQLite.commit = slowly
"""


def test_slow_store_delays_and_loses_nothing(local: Site, shared: Path) -> None:
    (shared / "slow").mkdir()
    (shared / "slow" / "sitecustomize.py").write_text(SLOW)
    local.env = {"PYTHONPATH": str(shared / "slow")}
    began = time.monotonic()
    with local.daemon():
        submit = local.ask("submit", local.write("sweep.yaml", sweep(local)))
        assert submit.returncode == 0, submit.stderr
        assert time.monotonic() - began > 0.5, "it is slow"
        local.ended("swept")
    assert told(local) == WHOLE
    assert times(local) == 3


@pytest.fixture
def tiny(local: Site, shared: Path) -> Iterator[Site]:
    """A project whose store is on a file system of its own, with little room."""
    if os.getuid() != 0:
        pytest.skip("mount needs root")
    folder = shared / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("may not mount here")
    local.env = {"PENSTOCK_STORE": f"sqlite:///{folder / 'penstock.db'}"}
    try:
        local.own(folder)
        local("init")
        yield local
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_daemon_goes_on_when_a_full_disk_has_room_again(tiny: Site, shared: Path) -> None:
    folder, gate = shared / "tiny", shared / "gate"
    waiting = f'experiment: gated\ncommand: [sh, -c, "until [ -e {gate} ]; do sleep 0.1; done"]\n'
    with tiny.daemon() as running:
        tiny.submit(waiting)
        fill(folder / "filler")
        gate.touch()
        assert running.stderr is not None
        words = "disk is full|cannot be read or written|cannot be opened"
        assert re.search(words, read_until(running.stderr, "trouble"))
        (folder / "filler").unlink()
        read_until(running.stderr, "all is well again")
        assert tiny.ended("gated")[0]["state"] == "completed"
        assert "whole" in tiny("store", "check").stderr


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def read_until(stream: object, words: str) -> str:
    for line in stream:  # type: ignore[attr-defined]
        if words in line:
            return str(line)
    raise AssertionError(f"it never said {words!r}")


def test_wrong_state_is_found_by_check(local: Site) -> None:
    local.finish(sweep(local))
    with sqlite3.connect(store(local)) as raw:
        raw.execute("UPDATE run SET state = 'failed' WHERE number = 2")
    raw.close()
    assert "swept/2: failed, its attempt completed" in local("store", "check", code=6).stdout


def test_read_only_store_is_copied(local: Site) -> None:
    local.finish(sweep(local))
    store(local).chmod(0o444)
    copy = local.root / "copy.db"
    local("store", "backup", copy)
    assert copy.stat().st_size >= store(local).stat().st_size - 4096
    copy.chmod(0o444)
    store(local).unlink()
    local("store", "restore", copy, "--yes")
    assert told(local) == WHOLE
    local("tick")
