import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from penstock.errors import StoreError
from penstock.store import backup, journal, volume
from penstock.store.connection import Store, open_store
from penstock.store.sqlite import settle_journal


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def mode(path: Path) -> str:
    raw = sqlite3.connect(path)
    try:
        return str(raw.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        raw.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "penstock.db"


def test_store_in_wal_mode_is_not_opened_on_another_host(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = socket.gethostname()
    open_store(url(path), journal="wal", create=True).close()
    assert journal.note(path).read_text() == here + "\n"
    open_store(url(path), journal="wal").close()
    with monkeypatch.context() as there:
        there.setattr(socket, "gethostname", lambda: "login2")
        for wanted in ("wal", "delete", None):
            with pytest.raises(StoreError, match=f"in WAL mode, for {here} alone") as caught:
                open_store(url(path), journal=wanted)
            assert 'journal = "delete"' in caught.value.hint
        with pytest.raises(StoreError, match="in WAL mode"):
            backup.copy(path, path.with_name("copy.db"))
    assert mode(path) == "wal"
    open_store(url(path), journal="delete").close()  # on its own host, as the hint says
    assert mode(path) == "delete"
    assert not journal.note(path).exists()
    monkeypatch.setattr(socket, "gethostname", lambda: "login2")
    open_store(url(path), journal="delete").close()


def test_store_that_is_in_use_stays_in_wal_mode_until_it_is_not(path: Path) -> None:
    used = open_store(url(path), journal="wal", create=True)
    with used.read() as view:
        view.one("SELECT count(*) FROM run")
        open_store(url(path), journal="delete").close()
    assert mode(path) == "wal"
    assert journal.note(path).exists()
    used.close()
    open_store(url(path), journal="delete").close()
    assert mode(path) == "delete"


def test_wal_mode_of_an_unknown_host_is_taken_for_this_ones(path: Path) -> None:
    open_store(url(path), journal="wal", create=True).close()
    journal.note(path).unlink()  # an older Penstock left none
    open_store(url(path), journal="wal").close()
    assert journal.note(path).read_text().strip() == socket.gethostname()


def test_wal_mode_is_refused_on_a_shared_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "kind", lambda _: "lustre")
    with pytest.raises(StoreError, match="is on lustre, which others see"):
        open_store(url(path), journal="wal", create=True)
    assert mode(path) == "delete"
    assert not journal.note(path).exists()


# --- a writer that was killed with half of its pages in the file

HALF = """
import os, signal, sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("PRAGMA synchronous = FULL")
raw.execute("PRAGMA cache_size = 5")  # what does not fit goes into the file before the commit
raw.execute("BEGIN IMMEDIATE")
raw.execute("UPDATE filling SET text = 'new' || substr(text, 4)")
raw.execute("DELETE FROM experiment")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def half(path: Path) -> Path:
    """Leave a store in which a transaction was cut off, with its journal."""
    store = open_store(url(path), create=True)
    with store.write() as tx:
        tx.execute("CREATE TABLE filling (text TEXT)")
        tx.executemany("INSERT INTO filling VALUES (?)", [("old" + "x" * 2000,)] * 200)
        tx.execute(
            "INSERT INTO experiment (project, name, next_number) VALUES ('demo', 'sweep', 1)"
        )
    store.close()
    argv = [sys.executable, "-c", textwrap.dedent(HALF), str(path)]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
    assert path.with_name("penstock.db-journal").stat().st_size > 0
    assert b"new" + b"x" * 500 in path.read_bytes()  # half of it is in the file
    return path


def state(store: Store) -> tuple[int, int]:
    with store.read() as view:
        old = view.one("SELECT count(*) FROM filling WHERE text LIKE 'old%'")
        experiments = view.one("SELECT count(*) FROM experiment")
    assert old is not None
    assert experiments is not None
    return old[0], experiments[0]


def test_reader_sees_what_was_before_a_killed_writer(half: Path) -> None:
    assert state(Store(url(half))) == (200, 1)
    assert not half.with_name("penstock.db-journal").exists()


def test_backup_of_what_a_killed_writer_left_is_whole(half: Path) -> None:
    backup.back_up(Store(url(half)), half.with_name("copy.db"))
    assert state(Store(url(half.with_name("copy.db")))) == (200, 1)


def test_readers_that_come_at_once_agree(half: Path) -> None:
    """All find the journal; one rolls it back, and none reads in between."""
    code = (
        "import sys; from penstock.store.connection import Store;"
        "view = Store(sys.argv[1]).read().__enter__();"
        "print(view.one(\"SELECT count(*) FROM filling WHERE text LIKE 'old%'\")[0])"
    )
    argv = [sys.executable, "-c", code, url(half)]
    readers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [one.communicate(timeout=60)[0] for one in readers] == ["200\n"] * 4


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_reader_who_may_not_roll_back_is_told(half: Path) -> None:
    """Who may only read cannot mend what a killed writer left; nothing wrong is read."""
    for folder in half.parents:
        if folder.stat().st_mode & 0o001 == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    half.chmod(0o644)
    half.with_name("penstock.db-journal").chmod(0o644)
    code = (
        "import os, sys; from penstock.store.connection import Store\n"
        "from penstock.errors import StoreError\n"
        "store = Store(sys.argv[1])\n"  # loaded: another user may not look where Python is
        "os.setuid(65534)\n"
        "try:\n  store.read().__enter__().one('SELECT count(*) FROM filling')\n"
        "except StoreError as error:\n  print(error.what)\n"
    )
    argv = [sys.executable, "-c", code, url(half)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "cannot be" in done.stdout, done.stderr


def test_the_kind_of_journal_is_looked_at_with_patience(path: Path) -> None:
    """A command that finds the store held just then waits, as for all else."""
    open_store(url(path), create=True).close()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.5, other.execute, ["COMMIT"])
    release.start()
    try:
        settle_journal(path, "delete", is_new=False, busy_s=20)
    finally:
        release.join()
        other.close()
