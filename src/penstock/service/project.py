"""Open a project: its settings, its store, and the world of its user."""

import contextlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from penstock.clock import Clock, SystemClock
from penstock.errors import SettingsError, StoreError
from penstock.settings import Settings
from penstock.settings.files import PROJECT_FILE, SITE_FILE, load, of_site, site_floor_s
from penstock.store.connection import Store, open_store
from penstock.store.writers import Writers

if TYPE_CHECKING:
    from penstock.reconciler.world import World
    from penstock.transport.peer import Shared
    from penstock.transport.protocol import Transport
    from penstock.transport.ssh import SshTransport


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
        opened = open_store(self.settings.store_url, journal=self.settings.journal)
        file = opened.dialect.path
        if file is None:
            self._refuse_anothers(opened)
        else:
            opened.admit = Writers(self.settings.home, file, warn=_warn).admit
        return opened

    def _refuse_anothers(self, opened: Store) -> None:
        """Refuse a server's database that has another project: whose files are not in our home."""
        with opened.read() as view:
            found = view.one(
                "SELECT project FROM experiment WHERE project <> ? LIMIT 1",
                (self.settings.project_name,),
            )
        if found is not None:
            raise StoreError(
                f"the store {opened.name} has the project {found[0]!r}, and this one is "
                f"{self.settings.project_name!r}",
                hint="it takes a database for each project; was this one renamed? Then set "
                f'`project = "{found[0]}"` in penstock.toml',
            )

    @cached_property
    def world(self) -> "World":
        """Return what a cycle works with. Raises SchedulerMissing where there is none."""
        from penstock.transport.local import LocalTransport  # noqa: PLC0415  queries do without it

        return self._world(LocalTransport(), os.getuid())

    def _world(self, transport: "Transport", uid: int, cluster: str = "") -> "World":
        from penstock.reconciler.world import World  # noqa: PLC0415  queries do without it
        from penstock.scheduler import counted, pyslurm  # noqa: PLC0415
        from penstock.scheduler.choose import choose  # noqa: PLC0415
        from penstock.scheduler.pyslurm import PyslurmScheduler  # noqa: PLC0415
        from penstock.scheduler.slurm import SlurmScheduler  # noqa: PLC0415

        chosen = choose(self.settings, transport, memory=self.state)
        return World(
            settings=self.settings,
            store=self.store,
            scheduler=counted.Counted(
                chosen,
                counted.path_of(self.state, self.user),
                self.clock,
                is_slurm=isinstance(chosen, SlurmScheduler),
                costs=pyslurm.COSTS if isinstance(chosen, PyslurmScheduler) else counted.COSTS,
            ),
            transport=transport,
            clock=self.clock,
            user=self.user,
            uid=uid,
            alias=cluster,
        )

    @cached_property
    def floor_s(self) -> float:
        """Return how long after a look at the queue the site allows the next, whoever asks."""
        return site_floor_s()

    @property
    def here(self) -> Settings:
        """Return the settings of this machine, wherever the runs are."""
        return self.settings

    @property
    def state(self) -> Path:
        """Return the folder of this machine for small things about the scheduler."""
        return self.settings.home

    def state_of(self, cluster: str) -> Path:
        """Return such a folder for another cluster."""
        return self.here.home / "clusters" / cluster

    def on(self, cluster: str) -> "Project":
        """Return this project as it is on a cluster; itself where none is named.

        Connects, where it is reached by SSH. Raises SettingsError, Unreachable.
        """
        if not cluster:
            return self
        if cluster not in self._far:
            self._far[cluster] = _far(self, cluster)
        return self._far[cluster]

    @contextlib.contextmanager
    def reaching(self, cluster: str) -> Iterator[None]:
        """Begin to connect to a cluster, while other things are got ready."""
        link = self._peer(cluster) if cluster in self.settings.clusters else None
        try:
            if link is not None:
                link.begin()
            yield
        except BaseException:
            if link is not None:
                link.abandon()
            raise

    def _peer(self, cluster: str) -> "Shared":
        from penstock.transport.peer import peer  # noqa: PLC0415  most projects do without it

        if cluster not in self._peers:
            self._peers[cluster] = peer(cluster, self.settings.clusters[cluster])
        return self._peers[cluster]

    @cached_property
    def _peers(self) -> "dict[str, Shared]":
        return {}

    @cached_property
    def _far(self) -> "dict[str, FarProject]":
        return {}


@dataclass(frozen=True)
class FarProject(Project):
    """A project as it is on a cluster that is reached by SSH: folders are there, the store here."""

    near: Project
    cluster: str
    transport: "SshTransport"

    @cached_property
    def store(self) -> Store:
        """Return the store, which is here."""
        return self.near.store

    @cached_property
    def world(self) -> "World":
        """Return what a cycle works with there."""
        self.state.mkdir(parents=True, exist_ok=True)
        uid: int = self.transport.hello["uid"]  # who a cancelled job was cancelled by
        world = self._world(self.transport, uid, self.cluster)
        return replace(world, recall=self.transport.recall, remember=self.transport.remember)

    @cached_property
    def floor_s(self) -> float:
        """Return what the site of the cluster says."""
        return _of_site(self.transport, self.cluster)[0]

    @property
    def here(self) -> Settings:
        """Return the settings of this machine."""
        return self.near.settings

    @property
    def state(self) -> Path:
        """Return the folder of this machine for small things about the scheduler."""
        return self.state_of(self.cluster)

    def on(self, cluster: str) -> Project:
        """Return the project on a cluster."""
        return self.near.on(cluster)


def _far(near: Project, name: str) -> FarProject:
    """Open a project on a cluster."""
    clusters = near.settings.clusters
    if name not in clusters:
        known = ", ".join(clusters) or "none"
        raise SettingsError(
            f"there is no cluster {name!r} in your settings",
            hint=f"there are: {known}; [clusters.{name}] in {PROJECT_FILE} would be one",
        )
    cluster = clusters[name]
    from penstock.transport.ssh import SshTransport  # noqa: PLC0415  most do without it

    transport = SshTransport(near._peer(name), name)  # noqa: SLF001  of this module
    root = PurePosixPath(transport.hello["home"])

    def there(path: str) -> PurePosixPath:
        return root / path.removeprefix("~/") if path != "~" else root

    home = there(cluster.home)
    results = there(cluster.results) if cluster.results else home / "runs"
    floor_s, scratch = _of_site(transport, name)
    settings = near.settings.on(
        name, home=str(home), results=str(results), floor_s=floor_s, scratch=scratch
    )
    return FarProject(settings, near.clock, near, name, transport)


def _of_site(transport: "SshTransport", name: str) -> tuple[float, str]:
    return of_site(transport.hello["site"], f"{SITE_FILE} of {name}")


def _warn(words: str) -> None:
    import logging  # noqa: PLC0415  seldom needed

    logging.getLogger("penstock.store").warning("%s", words)  # to stderr, or a daemon's log


def open_project(start: Path | None = None) -> Project:
    """Return the project around a folder. Raises SettingsError where there is none."""
    return Project(load(start), SystemClock())
