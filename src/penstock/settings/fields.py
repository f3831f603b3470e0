"""All that can be set, with what holds where nothing is: plain values, quick to import.

`schema.py` makes the check of these fields, with their bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal


def _set(default: Any, description: str, **bounds: float) -> Any:
    return field(default=default, metadata={"description": description, **bounds})


def has_password(store: str) -> bool:
    """Say whether the URL of a store carries a password."""
    user = store.partition("://")[2].partition("@")[0] if "@" in store else ""
    return ":" in user or "password=" in store


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that is reached by SSH; what is not here ~/.ssh/config says."""

    host: str = field(
        metadata={"description": "a login node, or an alias of ~/.ssh/config", "min_length": 1}
    )
    user: str = _set("", "your login there")
    port: int = _set(0, "else 22", ge=0, le=65535)
    key: str = _set("", "path of a key; then only this one is offered")
    agent: bool = _set(True, "let an SSH agent sign")
    proxy_jump: str = _set("", "[user@]host[:port]; several with commas")
    known_hosts: tuple[str, ...] = _set((), "else ~/.ssh/known_hosts and the system's")
    home: str = _set("~/penstock", "a folder there that compute nodes see")
    results: str = _set("", "a folder there; else `runs` in its home")
    scratch: str = _set("", "scratch folder of its compute nodes")
    python: str = _set("python3", "Python 3.6 or later there, on all nodes")
    path: tuple[str, ...] = _set((), "folders there, where sbatch and the like are")
    login_shell: bool = _set(False, "take what a login shell there sets, always")
    connect_s: float = _set(20, "how long a step of connecting may take", ge=1)
    keep_s: float = _set(3600, "how long an unused connection is kept", ge=0)
    # What a project has too. None: as there.
    templates: tuple[str, ...] | None = _set(None, "folders here, in place of the project's")
    poll_s: float | None = _set(None, "the shortest time between two looks at its queue", ge=1)
    poll_max_s: float | None = _set(None, "the longest", ge=1)
    beat_s: float | None = _set(None, "how often a run there says that it lives", ge=1)
    lost_after_s: float | None = _set(None, "when a run there is called lost", ge=0)
    accounting_lag_s: int | None = _set(None, "how late its accounting may hear of a job", ge=0)
    record_grace_s: float | None = _set(None, "how late a record may come from there", ge=0)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Cluster":
        """Return a cluster from values as JSON has them, checked before."""
        lists = {key: tuple(one) for key, one in plain.items() if isinstance(one, list)}
        return cls(**{**plain, **lists})

    @property
    def own(self) -> dict[str, Any]:
        """Return what it has otherwise than its project."""
        names = [one.name for one in fields(self) if one.default is None]
        found = {key: one for key in names if (one := getattr(self, key)) is not None}
        if self.templates is not None:
            found["templates"] = tuple(map(Path, self.templates))
        return found


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that can be set. ``root`` is the project's folder, and relative paths start there."""

    root: Path
    project: str = _set("", "the project's name; else its folder's")
    home: Path = field(
        default=Path(".penstock"), metadata={"description": "where Penstock keeps its files"}
    )
    results: Path = field(
        default=Path("runs"), metadata={"description": "where the outputs of runs are put"}
    )
    store: str = _set("", "URL of the store; else sqlite in the home folder")
    scheduler: Literal["auto", "slurm", "pyslurm", "local"] = _set(
        "auto", "auto: slurm (pyslurm, if it fits) where sbatch is on PATH, else local"
    )
    scratch: str = _set("", "scratch folder of compute nodes; may name $VARIABLES")
    python: str = _set("python3", "Python 3.6 or later, on compute nodes")
    templates: tuple[Path, ...] = _set((), "folders whose *.sh.j2 go before Penstock's own")
    local_cpus: int = _set(0, "cpu slots of the local scheduler; 0: all", ge=0)
    journal: Literal["delete", "wal"] = _set(
        "delete", "SQLite's journal; wal only where one host uses the store"
    )
    poll_s: float = _set(10, "the shortest time between two looks at the queue", ge=1)
    poll_max_s: float = _set(120, "the longest", ge=1)
    beat_s: float = _set(30, "how often a run says that it lives", ge=1)
    lost_after_s: float = _set(
        3600, "how long nobody may have heard of a run before it is called lost", ge=0
    )
    accounting_lag_s: int = _set(
        60, "how late Slurm's accounting may hear of a job (slurmdbd when busy)", ge=0
    )
    record_grace_s: float = _set(
        60, "how long a record may come later than the scheduler's word (NFS)", ge=0
    )
    clusters: Mapping[str, Cluster] = field(
        default_factory=dict, metadata={"description": "clusters reached by SSH, by name"}
    )
    debug: bool = _set(False, "a traceback with every error")

    def __post_init__(self) -> None:
        """Let relative folders start at the root."""
        object.__setattr__(self, "home", self.root / self.home)
        object.__setattr__(self, "results", self.root / self.results)
        templates = tuple(self.root / folder.expanduser() for folder in self.templates)
        object.__setattr__(self, "templates", templates)

    @classmethod
    def of(cls, plain: Mapping[str, Any], root: Path) -> "Settings":
        """Return the settings of a project from values as JSON has them, checked before."""
        folders = {
            key: (root / Path(plain[key]).expanduser()).resolve() for key in ("home", "results")
        }
        return cls(
            root=root,
            **{
                **plain,
                **folders,
                "templates": tuple(Path(folder) for folder in plain["templates"]),
                "clusters": {name: Cluster.of(one) for name, one in plain["clusters"].items()},
            },
        )

    def at(self, cluster: str) -> "Settings":
        """Return what is set for runs of a cluster; its folders only `on` knows."""
        there = self.clusters.get(cluster)
        return replace(self, **there.own) if there else self

    def on(
        self, cluster: str, *, home: str, results: str, floor_s: float = 0, scratch: str = ""
    ) -> "Settings":
        """Return what holds on a cluster, whose folders nothing here resolves.

        Its site says how often its queue may be looked at, and where the scratch folder is.
        """
        there, found = self.clusters[cluster], self.at(cluster)
        return replace(
            found,
            home=Path(home),
            results=Path(results),
            scheduler="slurm",
            scratch=there.scratch or scratch,
            python=there.python,
            poll_s=max(found.poll_s, floor_s),
            clusters={},
        )

    @property
    def store_url(self) -> str:
        """Return the URL of the store."""
        return self.store or f"sqlite:///{self.home / 'penstock.db'}"

    @property
    def project_name(self) -> str:
        """Return the name of the project."""
        return self.project or self.root.name
