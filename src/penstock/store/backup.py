"""Copy a store while it is used, and put a copy in its place.

SQLite's own backup does both: what is copied is one state, and what is overwritten is overwritten
in one transaction, so that other processes see the old store or the new one.
"""

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

from penstock.errors import StoreBusyError, StoreError
from penstock.store import fault, journal
from penstock.store.connection import VERSION, Store
from penstock.store.sqlite import SQLite, connect, settle_journal

# What SQLite puts beside a file, what we do, and the file.
_ENDS = ("-journal", "-wal", "-shm", ".wal-host", "")


def copy(source: Path, target: Path, *, busy_s: float = 30) -> None:
    """Copy one state of a store into a file, which is made or overwritten as a whole."""
    fault.identity(source)
    is_new = not target.exists()
    try:
        if is_new:
            target.touch()
            target.chmod(stat.S_IMODE(source.stat().st_mode) | stat.S_IWUSR)
        with (
            contextlib.closing(connect(source, busy_s)) as old,
            contextlib.closing(connect(target, busy_s)) as new,
        ):
            old.backup(new, progress=_patience(target, busy_s), sleep=0.05)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        if is_new:
            target.unlink(missing_ok=True)
        raise fault.mapped(error, source) from error


def _patience(path: Path, busy_s: float) -> Callable[[int, int, int], None]:
    """Return what ends a backup that waits too long: by itself it would wait for ever."""
    until = time.monotonic() + busy_s

    def progress(status: int, _left: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise StoreBusyError(
                f"the store {path} is held by another process", hint=fault.who(path)
            )

    return progress


def back_up(store: Store, target: Path) -> int:
    """Make a copy beside nothing half-made; return its size. Raises StoreError where one is."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(store.path, aside)
        _check_pages(aside)
        _sync(aside)
        os.link(aside, target)
        return target.stat().st_size
    except FileExistsError as error:
        raise StoreError(f"{target} is there already", hint="name another file") from error
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        remove(aside)


def prepare(source: Path, aside: Path) -> None:
    """Make a copy of a backup that can take the store's place. Raises StoreError where it can't."""
    from penstock.store.migrations import upgrade  # noqa: PLC0415  Alembic costs half a second

    copy(source, aside)
    _check_pages(aside)
    settle_journal(aside, journal.ROLLBACK, is_new=True)  # a copy has the kind of its source
    upgrade.make(SQLite(aside, busy_s=30))  # one of an older version
    with contextlib.closing(Store(f"sqlite:///{aside}")) as store, store.read() as view:
        fault.check_version(view.version(), str(source), VERSION)


def _check_pages(path: Path) -> None:
    try:
        with contextlib.closing(connect(path, 5)) as raw:
            said = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise fault.mapped(error, path) from error
    if said != "ok":
        raise StoreError(
            f"the store is damaged: {said}", hint="`penstock store restore` puts a backup in place"
        )


def put(aside: Path, path: Path, keep: Path, *, busy_s: float = 30) -> bool:
    """Put a prepared copy in the store's place, and the old one aside; False: there was no old one.

    A store that can be read is overwritten in one transaction; one that can't be is renamed, with
    its journals, for they would be taken for those of the new one.
    """
    if not path.exists():
        remove(path)  # what may lie there of an earlier one would be taken for this one's
        aside.replace(path)
        return False
    try:
        copy(path, keep, busy_s=busy_s)
        _check_pages(keep)
        copy(aside, path, busy_s=busy_s)
    except StoreBusyError:
        remove(keep)
        raise
    except StoreError:
        remove(keep)
        for end in _ENDS:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(keep.with_name(keep.name + end))
        aside.replace(path)
    return True


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file of SQLite, with what stands beside it."""
    for end in _ENDS:
        path.with_name(path.name + end).unlink(missing_ok=True)
