"""Write the spool: records in, whole lines out, in order, whatever the file system says."""

import os
import time

from penstock.wire import claim, place, spool

MOST = 1 << 22  # bytes that may wait for a file system that is full
SYNC_S = 5.0  # how often what was written is pushed to the server: other hosts see it then


class Spool:
    """The open spool of this restart, by the path that ``claim.take`` returned."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._waiting = b""
        self._is_dirty = False
        self._synced_at = time.monotonic()
        self.error: "OSError | None" = None

    def add(self, kind: str, **fields: object) -> None:
        """Add a record of now; a field ``at`` gives another time."""
        self.put(dict({"k": kind, "at": round(time.time(), 3)}, **fields))

    def put(self, record: "dict[str, object]") -> None:
        """Add a record as it is."""
        self._waiting += spool.encode(record)
        self.push()

    def push(self) -> bool:
        """Write what waits; say whether nothing waits any more.

        A full file system takes a part of a line: the rest of the same bytes is tried again later.
        """
        while self._waiting:
            try:
                count = os.write(self.file, self._waiting)
            except OSError as error:
                self.error = error
                return False
            self._waiting = self._waiting[count:]
            self._is_dirty = True
        self.error = None
        return True

    @property
    def is_stuck(self) -> bool:
        """Say whether so much waits that no more should be added."""
        return len(self._waiting) > MOST

    def sync(self, every_s: float = 0.0) -> None:
        """Push what was written to the disk or the server, at most so often."""
        if not self._is_dirty or time.monotonic() - self._synced_at < every_s:
            return
        try:
            os.fdatasync(self.file)
        except OSError as error:
            self.error = error
            return
        self._is_dirty = False
        self._synced_at = time.monotonic()

    def close(self) -> bool:
        """Give it its closed name; say whether it was still the one that rules."""
        return claim.close(self.path)


def open_log(folder: str, index: int, restart: int) -> int:
    """Return a descriptor of the command's log, made with the folders above it."""
    path = os.path.join(folder, place.log(index, restart))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o644)
