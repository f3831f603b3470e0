"""A host on which a simulated reconciler runs: it may crash, its clock be wrong, its store fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import StoreBusyError, StoreError
from penstock.failpoint import Tripped
from penstock.reconciler.world import World
from penstock.scheduler.slurm import SlurmScheduler
from penstock.settings import Settings
from penstock.store.connection import Connection, Store
from penstock.testing.draw import USER
from penstock.testing.model import Clock, Cluster
from penstock.testing.transport import ModelTransport


class FaultyStore(Store):
    """A store whose transactions fail when ``fails`` says how: "busy", "full", "unsure"."""

    def __init__(self, path: Path, clock: Clock, fails: Callable[[], str]) -> None:
        super().__init__(f"sqlite:///{path}", busy_s=0, clock=clock)
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
        self, name: str, cluster: Cluster, transport: ModelTransport, settings: Settings
    ) -> None:
        self.name, self.cluster, self.transport = name, cluster, transport
        self.settings = settings
        self.clock = Clock(cluster)
        self.fails: Callable[[], str] = str
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """Begin a process anew: nothing but files is left of the last one."""
        self.count += 1
        self.store = FaultyStore(self.settings.root / "penstock.db", self.clock, self._fails)
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
