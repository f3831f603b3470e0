"""An older copy of a simulated store: made at some instant, and put in its place later, as by `cp`.

The next cycle refuses it where anything was sent since; then its user lets that be looked up, as
`penstock store restore` does.
"""

import sqlite3
from contextlib import suppress
from random import Random

from penstock.errors import PenstockError, StoreBusyError
from penstock.reconciler import mark
from penstock.service import search
from penstock.store import lease, recovery
from penstock.store.connection import Store
from penstock.testing.draw import USER
from penstock.testing.files import StaleFiles
from penstock.testing.hosts import HOME, InMemory
from penstock.testing.transport import ModelTransport
from penstock.wire import place

HISTORIES = 0.25  # in so many an older copy is put back
MADE, PUT = 0.03, 0.03  # how often at a failpoint, and between two cycles


class Copies:
    """The copies of one history, from a stream of random numbers of its own."""

    def __init__(self, memory: InMemory, seed: int) -> None:
        self.random = Random(f"copies {seed}")
        self.is_drawn = self.random.random() < HISTORIES
        self._memory = memory
        self._last: sqlite3.Connection | None = None

    def make(self) -> None:
        """Make a copy, perhaps; none where somebody writes just now."""
        if self.is_drawn and self.random.random() < MADE:
            copy = sqlite3.connect(":memory:")
            with suppress(StoreBusyError):
                self._memory.kept.backup(copy, progress=_refuse_to_wait)
                self.close()
                self._last = copy

    def is_due(self) -> bool:
        """Return whether the last copy is put back now."""
        return self._last is not None and self.random.random() < PUT

    def put_back(self) -> None:
        """Put the last copy in the store's place."""
        assert self._last is not None
        self._last.backup(self._memory.kept)

    def close(self) -> None:
        """Forget the last copy."""
        if self._last is not None:
            self._last.close()
        self._last = None


def _refuse_to_wait(status: int, _left: int, _total: int) -> None:
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise StoreBusyError("somebody writes just now")  # in simulated time nobody would go on


def is_older(error: PenstockError) -> bool:
    """Return whether a store was refused as an older copy."""
    return error.hint == lease.OLDER


def take_up(store: Store, transport: ModelTransport, files: StaleFiles, cluster: str) -> None:
    """Look up what was sent since, as `penstock store restore` does."""
    settled = recovery.settled(store)
    found = [
        search.of_manifest(token, files.files[path].decode(), files.written[path])
        for path, token in _manifests(files)
        if token not in settled
    ]
    sent = mark.read(transport, HOME, user=USER.name, cluster=cluster)
    now = transport.cluster.clock.now()
    recovery.renew(store, {(USER.name, cluster): sent}, found, now)


def _manifests(files: StaleFiles) -> list[tuple[str, str]]:
    """Return the manifests, and the tokens of their arrays."""
    ends = (place.MANIFEST, place.MANIFEST_ENDED)
    parts = [(path, path.split("/")) for path in files.files]
    return [(path, words[-2]) for path, words in parts if words[-1] in ends]
