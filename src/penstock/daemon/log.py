"""The daemon's log: a line for each record, and files that do not grow without end.

``2026-01-31T12:00:00+00:00 info sent job=12 runs=4``: time, level, what, then ``key=value``, where
a value with spaces or quotes is written as JSON has it.
"""

import json
import logging
import logging.handlers
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from penstock.errors import StoreError

MAX_BYTES = 1 << 20
KEPT = 4  # files beside the newest
STEP_S = 0.5


def line(at: datetime, level: str, what: str, fields: dict[str, object]) -> str:
    """Return a record as its line."""
    pairs = [f"{name}={_value(value)}" for name, value in fields.items()]
    return " ".join([at.isoformat(timespec="seconds"), level, _plain(what), *pairs])


def _value(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    is_plain = text.isprintable() and not set(text) & set(' "=') and text
    return text if is_plain else json.dumps(text)


def _plain(what: str) -> str:
    return what if what.isprintable() else json.dumps(what)


class _Files(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on: a full disk ends no daemon, and nobody reads its stderr."""


class Log:
    """Write records to files that are rotated."""

    def __init__(self, path: Path) -> None:
        try:
            self._handler = _Files(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"the log {path} cannot be written: {error.strerror}") from error

    def __call__(self, what: str, level: str = "info", **fields: object) -> None:
        """Write a record."""
        text = line(datetime.now(UTC), level, what, fields)
        self._handler.handle(logging.makeLogRecord({"msg": text, "args": ()}))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines, from the file of before where the newest has not as many."""
    lines: list[str] = []
    for file in (path, path.with_name(path.name + ".1")):
        if len(lines) < count and file.exists():
            found = file.read_text(encoding="utf-8", errors="replace").splitlines()
            lines = found[-(count - len(lines)) :] + lines
    return lines


def follow(path: Path) -> Iterator[str]:
    """Yield lines as they come, through rotation, until the caller has enough."""
    at_end = True  # what is there has been shown
    while True:
        with path.open(encoding="utf-8", errors="replace") as file:
            if at_end:
                file.seek(0, 2)
            yield from _lines(file, path)
        at_end = False


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a file until another has its name."""
    half = ""
    while True:
        half += file.readline()
        if half.endswith("\n"):
            yield half.rstrip("\n")
            half = ""
            continue
        if not half and _is_replaced(file, path):
            return
        time.sleep(STEP_S)


def _is_replaced(file: TextIO, path: Path) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False  # between two names
