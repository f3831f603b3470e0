"""Open a project: its settings, its store, and the world of its user."""

import os
import pwd
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from penstock import settings as settings_module
from penstock.clock import Clock, SystemClock
from penstock.settings import Settings
from penstock.store.connection import Store, open_store

if TYPE_CHECKING:
    from penstock.reconciler.world import World


@dataclass(frozen=True)
class Project:
    """A project's folder with what is set for it; what costs time is opened at first use."""

    settings: Settings
    clock: Clock

    @property
    def user(self) -> str:
        """Return the name of the user who calls; from the system, for the environment can lie."""
        return pwd.getpwuid(os.getuid()).pw_name

    @cached_property
    def store(self) -> Store:
        """Return the store, which must exist."""
        return open_store(self.settings.store_url, journal=self.settings.journal)

    @cached_property
    def world(self) -> "World":
        """Return what a cycle works with. Raises SchedulerMissing where there is none."""
        from penstock.reconciler.world import World  # noqa: PLC0415  queries do without it
        from penstock.scheduler import counted  # noqa: PLC0415
        from penstock.scheduler.choose import choose  # noqa: PLC0415
        from penstock.scheduler.slurm import SlurmScheduler  # noqa: PLC0415
        from penstock.transport.local import LocalTransport  # noqa: PLC0415

        transport = LocalTransport()
        chosen = choose(self.settings, transport)
        return World(
            settings=self.settings,
            store=self.store,
            scheduler=counted.Counted(
                chosen,
                counted.path_of(self.settings.home, self.user),
                self.clock,
                is_slurm=isinstance(chosen, SlurmScheduler),
            ),
            transport=transport,
            clock=self.clock,
            user=self.user,
            uid=os.getuid(),
        )


def open_project(start: Path | None = None) -> Project:
    """Return the project around a folder. Raises SettingsError where there is none."""
    return Project(settings_module.load(start), SystemClock())
