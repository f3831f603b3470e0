"""What can be wrong with a store: each a clear error, and nothing half done."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.errors import StoreBusyError, StoreError
from penstock.store.connection import Store, open_store

NOBODY = 65534


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("empty") / "penstock.db"
    open_store(f"sqlite:///{path}", create=True).close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, empty: bytes) -> Path:
    path = tmp_path / "folder" / "penstock.db"
    path.parent.mkdir()
    path.write_bytes(empty)
    return path


def opened(path: Path, busy_s: float = 0.2) -> Store:
    return open_store(f"sqlite:///{path}", busy_s=busy_s)


def add(store: Store, name: str = "a", next_number: int = 1) -> None:
    with store.write() as tx:
        tx.execute(
            "INSERT INTO experiment (id, project, name, next_number) VALUES (?, 'p', ?, ?)",
            (tx.reserve("experiment"), name, next_number),
        )


def names(store: Store) -> list[str]:
    with store.read() as view:
        return [name for (name,) in view.execute("SELECT name FROM experiment ORDER BY id")]


@contextmanager
def ordinary_user(*reachable: Path) -> Iterator[None]:
    """Become a user for whom modes hold; root's tests become nobody's."""
    if os.geteuid() != 0:
        yield
        return
    changed = [folder for path in reachable for folder in path.parents if folder.owner() == "root"]
    modes = {folder: folder.stat().st_mode for folder in changed}
    try:
        for folder in changed[:-1]:
            folder.chmod(modes[folder] | 0o055)
        os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(0)
        for folder in changed[:-1]:
            folder.chmod(modes[folder])


# --- there is none, or it is none -----------------------------------------------------------------


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="penstock init"):
        opened(tmp_path / "penstock.db")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        opened(tmp_path / "no" / "penstock.db")


def test_a_missing_folder_is_made_with_the_store(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "100% #1?" / "penstock.db"
    store = open_store(f"sqlite:///{path}", create=True)
    add(store)
    assert path.is_file()
    assert names(opened(path)) == ["a"]


@pytest.mark.parametrize("url", ["", "penstock.db", "sqlite:///", "mysql://x/y", "postgres://x"])
def test_another_kind_of_store_is_not_known(url: str) -> None:
    with pytest.raises(StoreError, match="kind that is not known"):
        open_store(url)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n" * 200)
    for create in (False, True):
        with pytest.raises(StoreError, match="not a Penstock store"):
            open_store(f"sqlite:///{path}", create=create)
    assert path.read_text() == "my notes\n" * 200


@pytest.mark.parametrize("create", [False, True])
def test_an_empty_file_is_no_store(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "penstock.db"
    path.touch()
    with pytest.raises(StoreError, match="not a Penstock store"):
        open_store(f"sqlite:///{path}", create=create)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE run (x)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a Penstock store"):
        open_store(f"sqlite:///{path}", create=True)
    assert path.read_bytes() == before


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        opened(tmp_path)


def set_version(path: Path, version: str) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", (version,))
    raw.close()


@pytest.mark.parametrize("create", [False, True])
def test_a_newer_store_is_refused(path: Path, create: bool) -> None:
    set_version(path, "9999")
    with pytest.raises(StoreError, match="newer Penstock"):
        open_store(f"sqlite:///{path}", create=create)


def test_an_older_store_is_refused(path: Path) -> None:
    set_version(path, "0000")
    with pytest.raises(StoreError, match="older Penstock"):
        opened(path)


def test_damaged_pages_are_told(path: Path) -> None:
    store = opened(path)
    add(store)
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        names(opened(path))


# --- it goes away, or becomes another -------------------------------------------------------------


def test_a_store_that_was_removed_is_missed(path: Path) -> None:
    """An open file that has no name takes writes that nobody will ever see."""
    store = opened(path)
    add(store)
    path.unlink()
    with pytest.raises(StoreError, match="no store at"):
        add(store, "b")


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_store_that_goes_while_one_waits_for_it_stays_locked_for_nobody(
    path: Path, empty: bytes, is_replaced: bool
) -> None:
    """What had the lock by then is given back: it is the same store that comes back."""
    other, aside = opened(path), path.with_name("aside")
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    store = opened(path, busy_s=20)
    add(store)
    raw.execute("BEGIN IMMEDIATE")

    def move() -> None:
        path.rename(aside)
        if is_replaced:
            path.write_bytes(empty)
        raw.execute("ROLLBACK")

    later = threading.Timer(0.3, move)
    later.start()
    told = contextlib.nullcontext() if is_replaced else pytest.raises(StoreError, match="no store")
    with told:
        add(store, "b")
    later.join()
    assert not is_replaced or names(store) == ["b"]
    aside.rename(path)
    add(other, "c")
    add(store, "d")
    assert names(store) == ["a", "c", "d"]
    raw.close()


def test_a_store_that_was_replaced_is_read_anew(path: Path, empty: bytes) -> None:
    store = opened(path)
    add(store)
    backup = path.with_name("backup")
    backup.write_bytes(empty)
    backup.rename(path)
    assert names(store) == []
    add(store, "b")
    assert names(opened(path)) == ["b"]


# --- it cannot be written -------------------------------------------------------------------------


def test_a_read_only_store_can_be_read(path: Path) -> None:
    add(opened(path))
    path.chmod(0o444)
    path.parent.chmod(0o555)
    with ordinary_user(path):
        store = opened(path)
        assert names(store) == ["a"]
        with pytest.raises(StoreError, match=r"cannot be written(.|\n)*writable to you"):
            add(store, "b")
        assert names(store) == ["a"]


def test_a_read_only_folder_is_named_as_the_reason(path: Path) -> None:
    path.chmod(0o666)
    path.parent.chmod(0o555)
    with ordinary_user(path):
        with pytest.raises(StoreError, match="its folder"):
            add(opened(path))
        with pytest.raises(StoreError, match="its folder"):
            open_store(f"sqlite:///{path.parent / 'new.db'}", create=True)


def test_a_store_that_may_not_be_read_is_told(path: Path) -> None:
    path.chmod(0)
    with ordinary_user(path), pytest.raises(StoreError, match="readable"):
        opened(path)


def test_a_folder_that_may_not_be_entered_is_told(path: Path) -> None:
    path.parent.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StoreError, match="cannot be reached"):
            opened(path)
    finally:
        if is_root:
            os.seteuid(0)
        path.parent.chmod(0o755)


# --- the disk is full -----------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Return a file system with room for little."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "penstock-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def add_many(store: Store) -> None:
    with store.write() as tx:
        tx.executemany(
            "INSERT INTO experiment (id, project, name, next_number) VALUES (?, 'p', ?, 1)",
            [(number + 10, f"{number}" + "x" * 2000) for number in range(2000)],
        )


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def test_a_full_disk_loses_only_what_was_not_committed(small: Path, empty: bytes) -> None:
    path = small / "penstock.db"
    path.write_bytes(empty)
    filler = small / "filler"
    store = opened(path)
    add(store)
    with pytest.raises(StoreError, match="disk is full"):
        add_many(store)
    assert names(store) == ["a"]
    fill(filler)
    with pytest.raises(StoreError, match=r"disk is full|cannot be (read or written|opened)"):
        add(store, "b")
    assert names(store) == ["a"]
    filler.unlink()
    add(store, "b")
    assert names(store) == ["a", "b"]
    store.close()


def test_a_store_that_cannot_be_made_leaves_nothing(small: Path) -> None:
    fill(small / "filler")
    with pytest.raises(StoreError):
        open_store(f"sqlite:///{small / 'penstock.db'}", create=True)
    assert [found.name for found in small.iterdir()] == ["filler"]


# --- another holds it -----------------------------------------------------------------------------

HOLD = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
            process.wait()


def test_a_locked_store_says_who_holds_it(path: Path) -> None:
    store = opened(path)
    with held(path, "BEGIN IMMEDIATE") as process:
        with pytest.raises(StoreBusyError, match=f"process {process.pid} ") as raised:
            add(store)
        assert "held by another process" in raised.value.what
        assert names(store) == []  # readers go on
    add(store)
    assert names(store) == ["a"]


def test_a_store_that_nobody_may_read_now_is_busy(path: Path) -> None:
    store = opened(path)
    with held(path, "BEGIN EXCLUSIVE"), pytest.raises(StoreBusyError):
        names(store)
    assert names(store) == []


def test_a_writer_waits_for_another(path: Path) -> None:
    store = opened(path, busy_s=30)
    with held(path, "BEGIN IMMEDIATE") as process:
        threading.Timer(0.3, lambda: process.stdin and process.stdin.close()).start()
        add(store)
    assert names(store) == ["a"]


# --- transactions ---------------------------------------------------------------------------------


def add_and_raise(store: Store, error: BaseException) -> None:
    with store.write() as tx:
        tx.execute("INSERT INTO experiment (id, project, name, next_number) VALUES (1,'p','x',1)")
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), StoreError("mine")])
def test_a_transaction_that_fails_leaves_nothing(path: Path, error: BaseException) -> None:
    store = opened(path)
    with pytest.raises(type(error)):
        add_and_raise(store, error)
    assert names(store) == []
    add(store)
    assert names(store) == ["a"]


def test_a_reader_sees_one_state(path: Path) -> None:
    url = f"sqlite:///{path}"
    store = open_store(url, journal="wal", create=True)
    with store.read() as view:
        assert view.one("SELECT count(*) FROM experiment") == (0,)
        thread = threading.Thread(target=add, args=(store,))  # with a connection of its own
        thread.start()
        thread.join()
        assert view.one("SELECT count(*) FROM experiment") == (0,)
    assert names(store) == ["a"]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_journal_is_as_set_when_made(path: Path, journal: str) -> None:
    store = open_store(f"sqlite:///{path}", journal=journal, create=True)
    with store.read() as view:
        assert view.one("PRAGMA journal_mode") == (journal,)
        assert view.one("PRAGMA synchronous") == (2,)  # FULL
        assert view.one("PRAGMA foreign_keys") == (1,)


def test_a_child_process_has_a_connection_of_its_own(path: Path) -> None:
    """SQLite forbids to take a connection through a fork: its locks would be lost."""
    store = opened(path)
    names(store)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # 3.12: of threads, of which we have one
        child = os.fork()
    if child == 0:
        code = 1
        try:
            add(store, "child")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    add(store, "parent")
    assert names(store) == ["child", "parent"]


MANY = """
import sys
from penstock.store.connection import open_store
store = open_store(sys.argv[1])
for n in range(int(sys.argv[3])):
    with store.write() as tx:
        tx.execute("INSERT INTO experiment (id, project, name, next_number) VALUES (?, ?, ?, 1)",
                   (tx.reserve("experiment"), sys.argv[2], str(n)))
"""


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_several_processes_lose_nothing(path: Path, journal: str) -> None:
    url = f"sqlite:///{path}"
    store = open_store(url, journal=journal, create=True)
    argv = [sys.executable, "-c", MANY, url]
    programs = [subprocess.Popen([*argv, str(n), "25"]) for n in range(4)]
    assert [program.wait() for program in programs] == [0] * 4
    assert len(names(store)) == 100
