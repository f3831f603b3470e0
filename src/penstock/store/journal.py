"""The kind of journal of a store in SQLite, and the one host that may use it in WAL mode.

WAL keeps an index in memory that hosts do not share: where two use such a store it is damaged. So
the host that puts a store into WAL mode is noted beside it, and the others are refused.
"""

import contextlib
import socket
import sqlite3
from pathlib import Path

from penstock import aside
from penstock.errors import StoreError
from penstock.store import fault, volume

WAL = "wal"
ROLLBACK = "delete"


def note(path: Path) -> Path:
    """Return the file that names the host of a store in WAL mode."""
    return path.with_name(f"{path.name}.wal-host")


def check(path: Path) -> None:
    """Raise StoreError where a store is in WAL mode on another host. Nothing of it is opened.

    To open and close the file itself would take away the locks that this process has on it.
    """
    try:
        host = note(path).read_text().strip()
    except OSError:
        return
    if host != socket.gethostname():
        raise StoreError(
            f"the store {path} is in WAL mode, for {host} alone: it is not opened on "
            f"{socket.gethostname()}",
            hint=f'set `journal = "{ROLLBACK}"` in penstock.toml, end what works with it on {host} '
            "(`penstock daemon stop`), and run `penstock store check` there: then all hosts may "
            f"use it. When nothing runs on {host} any more, and never will: rm {note(path)}",
        )


def keep(raw: sqlite3.Connection, path: Path, wanted: str) -> None:
    """Take a store out of WAL mode where that is wanted, if nobody else has it open just now.

    One that stays in it, and of which nobody knows whose it is, is this host's from now on.
    """
    if _mode(raw) != WAL:
        return
    if wanted != WAL:
        raw.execute("PRAGMA busy_timeout = 0")  # others have it open: another time
        with contextlib.suppress(StoreError):
            put(raw, path, wanted)
    if _mode(raw) == WAL and not note(path).exists():
        _note(path)


def put(raw: sqlite3.Connection, path: Path, wanted: str) -> None:
    """Write the kind of journal into the file: there it holds for all that open it.

    Raises StoreError where WAL may not be, or others have the store open.
    """
    if wanted == WAL:
        kind = volume.kind(path)
        if volume.is_shared(kind):
            raise StoreError(
                f"journal = 'wal' is for one host alone, and {path} is on {kind}, which others see",
                hint=f'set `journal = "{ROLLBACK}"`, or put the store on a disk of this host',
            )
        _note(path)  # before: no other host may open what is in WAL mode
    try:
        raw.execute(f"PRAGMA journal_mode = {WAL if wanted == WAL else ROLLBACK}")
    except sqlite3.Error as error:
        raise fault.mapped(error, path) from error
    if _mode(raw) != WAL:
        note(path).unlink(missing_ok=True)


def _mode(raw: sqlite3.Connection) -> str:
    found: str = raw.execute("PRAGMA journal_mode").fetchone()[0]
    return found


def _note(path: Path) -> None:
    try:
        aside.write(note(path), socket.gethostname() + "\n", mode=path.stat().st_mode & 0o777)
    except OSError as error:
        raise StoreError(f"{note(path)} cannot be written: {error.strerror}") from error
