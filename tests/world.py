"""What a reconciler works with, on a model of Slurm in this process."""

from pathlib import Path

from penstock.reconciler.world import World
from penstock.scheduler.slurm import SlurmScheduler
from penstock.store.connection import open_store
from penstock.testing.factories import make_settings
from penstock.testing.transport import ModelTransport


def make_world(folder: Path, transport: ModelTransport, *, alias: str = "") -> World:
    """Return alice's, with a new store in a folder and the clock of the model."""
    clock = transport.cluster.clock
    return World(
        settings=make_settings(folder),
        store=open_store(f"sqlite:///{folder / 'penstock.db'}", create=True, clock=clock),
        scheduler=SlurmScheduler(transport, clock=clock),
        transport=transport,
        clock=clock,
        user="alice",
        uid=1001,
        alias=alias,
    )
