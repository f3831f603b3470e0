"""A host on which a simulated reconciler runs: it may crash, its clock be wrong, its store fail."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penstock.errors import StoreBusyError, StoreError
from penstock.failpoint import Tripped
from penstock.reconciler.world import World
from penstock.scheduler.slurm import SlurmScheduler
from penstock.settings import Settings
from penstock.store.connection import Connection, Store, open_store
from penstock.store.dialect import Raw
from penstock.store.sqlite import SQLite
from penstock.testing.draw import USER
from penstock.testing.model import Clock, Cluster
from penstock.testing.transport import ModelTransport

HOME = Path("/project/.penstock")  # in the model's memory


def template(folder: Path) -> Path:
    """Make an empty store to copy: migrations take a second, and a history a tenth of it."""
    path = folder / "template.db"
    if not path.exists():
        open_store(f"sqlite:///{path}", create=True).close()
    return path


@cache
def settings_of(folder: Path, lost_after_s: float, record_grace_s: float) -> Settings:
    """Return the settings of a simulated project."""
    return Settings(
        root=folder, home=HOME, lost_after_s=lost_after_s, record_grace_s=record_grace_s
    )


class InMemory(SQLite):
    """A copy of a store in this process's memory: SQLite with its locks, and no disk to wait for.

    As in a file another connection is refused while one writes; it is gone with ``close``.
    """

    _count = itertools.count()

    def __init__(self, template: Path) -> None:
        self.file = template.with_name("penstock.db")  # what it is called; there is none
        super().__init__(self.file, 0)
        self._uri = f"file:/penstock-{next(self._count)}?vfs=memdb"
        self.kept = sqlite3.connect(self._uri, uri=True, timeout=0)
        with closing(sqlite3.connect(template)) as whole:
            whole.backup(self.kept)

    def identity(self) -> tuple[int, ...]:
        """Return what is always the same: nobody replaces it."""
        return (0,)

    def connect(self) -> Raw:
        """Return a connection that waits for no other: in simulated time none would go on."""
        raw = sqlite3.connect(self._uri, uri=True, isolation_level=None, timeout=0)
        raw.execute("PRAGMA foreign_keys = ON")
        return raw

    def close(self) -> None:
        """Forget it."""
        self.kept.close()


class FaultyStore(Store):
    """A store whose transactions fail when ``fails`` says how: "busy", "full", "unsure"."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        fails: Callable[[], str] = str,
        memory: SQLite | None = None,
    ) -> None:
        super().__init__(f"sqlite:///{path}", busy_s=0, clock=clock)
        self.dialect = memory or self.dialect
        self.is_dead = False  # its process was killed
        self._fails = fails

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        if self.is_dead:
            raise Tripped("dead")
        fault = self._fails()
        if fault == "busy":
            raise StoreBusyError("the store is held by another process")
        with super()._transaction(writes=writes) as tx:
            yield tx
            if fault == "full":
                raise StoreError("the disk is full")
        if fault == "unsure":
            raise StoreError("the file system is away: was it committed?")


@dataclass(frozen=True)
class _Named(World):
    name: str = ""

    @property
    def holder(self) -> str:
        """Return the name for the lease: of a host of its own."""
        return self.name


class Host:
    """One process after another, on one clock."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        transport: ModelTransport,
        settings: Settings,
        memory: SQLite | None = None,
    ) -> None:
        self.memory = memory  # its store, where that is no file
        self.name, self.cluster, self.transport = name, cluster, transport
        self.settings = settings
        self.clock = Clock(cluster)
        self.fails: Callable[[], str] = str
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """Begin a process anew: nothing but files is left of the last one."""
        self.count += 1
        path = self.settings.root / "penstock.db"
        self.store = FaultyStore(path, self.clock, self._fails, self.memory)
        self.world: World = _Named(
            settings=self.settings,
            store=self.store,
            scheduler=SlurmScheduler(self.transport, clock=self.clock),
            transport=self.transport,
            clock=self.clock,
            user=USER.name,
            uid=USER.uid,
            name=f"{self.name}:{self.count}:0",
        )

    def _fails(self) -> str:
        return self.fails()

    def die(self) -> None:
        """Let the process be killed: it does nothing more, and gives nothing back."""
        self.store.is_dead = True

    def end(self) -> None:
        """Close its files."""
        self.store.close()
