"""Say what is wrong with a store, and what to do: foreign errors mapped in one place."""

import os
import sqlite3
from pathlib import Path

from penstock.errors import StoreBusyError, StoreError

# By SQLite's primary result code: what happened, what to do. Source: sqlite.org/rescode.html
FAULTS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "it must be writable to you, and so must its folder (for the journal beside it)",
    ),
    sqlite3.SQLITE_PERM: ("may not be opened", "it must be readable and writable to you"),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "it and its folder must exist and be readable and writable to you",
    ),
    sqlite3.SQLITE_FULL: (
        "cannot grow: the disk is full",
        "free some space (see `df` and `quota`), then run this again: nothing was changed",
    ),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written",
        "is the disk full, a quota reached (see `df` and `quota`), or the file system away?",
    ),
    sqlite3.SQLITE_NOTADB: (
        "is not a Penstock store",
        "another kind of file has its name, or it was overwritten: put a backup in its place",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "keep a copy of it, and put a backup in its place; spools can be read again",
    ),
    sqlite3.SQLITE_PROTOCOL: (
        "cannot be locked",
        "does its file system have locks? `penstock init` elsewhere, or journal = 'delete'",
    ),
    sqlite3.SQLITE_TOOBIG: ("refuses a text that is too long", "shorten it"),
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_BUG = "this is a bug in Penstock: report it with what --debug prints"


def mapped(error: Exception, path: Path) -> StoreError:
    """Return the error as one of ours."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _BUSY:
        return StoreBusyError(f"the store {path} is held by another process", hint=who(path))
    if code in FAULTS:
        what, hint = FAULTS[code]
        return StoreError(f"the store {path} {what} ({error})", hint=hint)
    return StoreError(f"the store {path}: {type(error).__name__}: {error}", hint=_BUG)


def identity(path: Path) -> tuple[int, int]:
    """Return device and inode: a file that was replaced is another store."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"there is no store at {path}",
            hint="run `penstock init` in your project's folder, or put a backup in its place",
        ) from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be reached: {error.strerror}") from error
    return found.st_dev, found.st_ino


def is_older(version: str | None, expected: str) -> bool:
    """Return whether tables are of an earlier version, which can be brought up to date."""
    return version is not None and not version.strip("0123456789") and version < expected


def check_version(version: str | None, name: str, expected: str) -> None:
    """Raise StoreError where the tables are not of the version that is expected."""
    if version is None or len(version) > len(expected) or version.strip("0123456789"):
        what, hint = FAULTS[sqlite3.SQLITE_NOTADB]
        raise StoreError(f"the store {name} {what}", hint=hint)
    if version > expected:
        raise StoreError(
            f"the store {name} was made by a newer Penstock (tables {version}, here {expected})",
            hint="use that version of Penstock, or a newer one",
        )
    if is_older(version, expected):
        raise StoreError(
            f"the store {name} was made by an older Penstock (tables {version}, here {expected})",
            hint="`penstock store migrate` makes a backup and brings it up to date",
        )


def who(path: Path) -> str:
    """Return whom to look for when the store stays locked: processes here, else elsewhere."""
    names = sorted(_name(pid) for pid in _holders(path))
    if names:
        return f"look at what these do, or end them: {', '.join(names)}"
    return (
        "no process of yours on this host holds it: look for a `penstock` on your other hosts, "
        "or a suspended one (`jobs`, `ps`), and try again"
    )


def _holders(path: Path) -> set[int]:
    """Return the processes of this host that lock the file or its journal's index."""
    inodes = {
        str(file.stat().st_ino)
        for file in (path, path.with_name(path.name + "-shm"))
        if file.exists()
    }
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    rows = [line.split() for line in lines]
    locks = [row for row in rows if len(row) >= 6 and row[1] in ("POSIX", "OFDLCK")]
    return {int(row[4]) for row in locks if row[5].rpartition(":")[2] in inodes} - {os.getpid(), -1}


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({' '.join(words).strip()[:80]})"
