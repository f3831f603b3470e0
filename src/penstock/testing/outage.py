"""A simulated store that is read-only for a while, or away, to the processes that use it.

A file system that was mounted anew, a folder that somebody moved and put back: unlike a disk that
is full this strikes all transactions of all processes until it is over. The errors are SQLite's.
"""

from collections.abc import Callable
from random import Random

from penstock.store import fault
from penstock.store.dialect import Raw
from penstock.store.sqlite import SQLite
from penstock.testing.hosts import InMemory

HISTORIES, BEGINS = 0.25, 0.02  # in so many, and how often as a transaction begins
READ_ONLY, AWAY = "read-only", "away"
LASTS_S = (0, 30, 300, 1800)  # 0: until somebody waits


class Outage(SQLite):
    """The store of a history, as hosts see it; drawn from a stream of its own."""

    def __init__(self, memory: InMemory, seed: int, now: Callable[[], float]) -> None:
        super().__init__(memory.file, 0)
        self.random = Random(f"outage {seed}")
        self.is_drawn = self.random.random() < HISTORIES
        self.may_begin: Callable[[], bool] = lambda: True
        self.is_over = False  # all is well again, whatever was drawn
        self._memory, self._now = memory, now
        self._kind, self._until = "", 0.0

    def identity(self) -> tuple[int, ...]:
        """Return whether it can be written. Raises StoreError where it is away."""
        kind = self._kind_now()
        if kind == AWAY:
            return fault.identity(self._path)  # no file has that name
        return (int(kind == READ_ONLY),)

    def connect(self) -> Raw:
        """Return a connection, whose transactions may not write where that is so."""
        raw = self._memory.connect()
        raw.execute(f"PRAGMA query_only = {int(self._kind_now() == READ_ONLY)}")
        return raw

    def begin(self, raw: Raw, *, writes: bool) -> None:
        """Begin a transaction; just then an outage may begin, too."""
        super().begin(raw, writes=writes)
        is_drawn = self.is_drawn and not self._kind_now() and self.random.random() < BEGINS
        if is_drawn and self.may_begin():
            self._kind = self.random.choice([READ_ONLY, AWAY])
            self._until = self._now() + self.random.choice(LASTS_S)

    def _kind_now(self) -> str:
        return "" if self.is_over or self._now() > self._until else self._kind
