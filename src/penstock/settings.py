"""Settings: from the environment, the project, the user and the site, in this order.

PENSTOCK_*                      environment variables
penstock.toml                   the project's, found here or in a folder above
~/.config/penstock/settings.toml
/etc/penstock/site.toml         the site's; PENSTOCK_SITE names another file
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

# Chosen for the project: its import costs 0.1 s, and is not to be replaced by code of our own.
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from penstock.errors import SettingsError

PROJECT_FILE = "penstock.toml"
SITE_FILE = "/etc/penstock/site.toml"


class Cluster(BaseModel):
    """A cluster that is reached by SSH; what is not here ~/.ssh/config says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1, description="a login node, or an alias of ~/.ssh/config")
    user: str = Field("", description="your login there")
    port: int = Field(0, ge=0, le=65535, description="else 22")
    key: str = Field("", description="path of a private key; then only this one is offered")
    agent: bool = Field(True, description="offer the keys of an SSH agent")
    proxy_jump: str = Field("", description="[user@]host[:port]; several with commas")
    known_hosts: list[Path] = Field([], description="else ~/.ssh/known_hosts and the system's")
    home: str = Field("~/penstock", description="a folder there that compute nodes see")
    results: str = Field("", description="a folder there; else `runs` in its home")
    scratch: str = Field("", description="scratch folder of its compute nodes")
    python: str = Field("python3", description="Python 3.6 or later there, on all nodes")
    path: list[str] = Field([], description="folders there, where sbatch and the like are")
    login_shell: bool = Field(False, description="take what a login shell there sets, always")
    connect_s: float = Field(20, ge=1, description="how long a step of connecting may take")
    keep_s: float = Field(3600, ge=0, description="how long an unused connection is kept")


class Settings(BaseSettings):
    """All that can be set. ``root`` is the project's folder, and relative paths start there."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", extra="forbid")

    root: Path = Field(description="the project's folder: where penstock.toml is")
    project: str = Field("", description="the project's name; else its folder's")
    home: Path = Field(Path(".penstock"), description="where Penstock keeps its files")
    results: Path = Field(Path("runs"), description="where the outputs of runs are put")
    store: str = Field("", description="URL of the store; else sqlite in the home folder")
    scheduler: Literal["auto", "slurm", "pyslurm", "local"] = Field(
        "auto", description="auto: slurm (pyslurm, if it fits) where sbatch is on PATH, else local"
    )
    scratch: str = Field("", description="scratch folder of compute nodes; may name $VARIABLES")
    python: str = Field("python3", description="Python 3.6 or later, on compute nodes")
    templates: list[Path] = Field([], description="folders whose *.sh.j2 go before Penstock's own")
    local_cpus: int = Field(0, ge=0, description="cpu slots of the local scheduler; 0: all")
    journal: Literal["delete", "wal"] = Field(
        "delete", description="SQLite's journal; wal only where one host uses the store"
    )
    poll_s: float = Field(10, ge=1, description="the shortest time between two looks at the queue")
    poll_max_s: float = Field(120, ge=1, description="the longest")
    beat_s: float = Field(30, ge=1, description="how often a run says that it lives")
    lost_after_s: float = Field(
        3600, ge=0, description="how long nobody may have heard of a run before it is called lost"
    )
    accounting_lag_s: int = Field(
        60, ge=0, description="how late Slurm's accounting may hear of a job (slurmdbd when busy)"
    )
    record_grace_s: float = Field(
        60, ge=0, description="how long a record may come later than the scheduler's word (NFS)"
    )
    clusters: dict[str, Cluster] = Field({}, description="clusters reached by SSH, by name")
    debug: bool = False

    @field_validator("clusters")
    @classmethod
    def _named(cls, clusters: dict[str, Cluster]) -> dict[str, Cluster]:
        for name in clusters:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", name):
                raise ValueError(f"a cluster's name is letters, digits, - and _, not {name!r}")
        return clusters

    def on(self, cluster: str, *, home: str, results: str) -> "Settings":
        """Return what holds on a cluster, whose folders nothing here resolves."""
        there = self.clusters[cluster]
        changed = {"home": Path(home), "results": Path(results), "scheduler": "slurm"}
        return self.model_copy(
            update={**changed, "scratch": there.scratch, "python": there.python, "clusters": {}}
        )

    @field_validator("home", "results")
    @classmethod
    def _below_root(cls, path: Path, info: Any) -> Path:
        root = info.data.get("root")
        return (root / path.expanduser()).resolve() if root else path

    @property
    def store_url(self) -> str:
        """Return the URL of the store."""
        return self.store or f"sqlite:///{self.home / 'penstock.db'}"

    @property
    def project_name(self) -> str:
        """Return the name of the project."""
        return self.project or self.root.name

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic passes all of them by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put files below the environment; PENSTOCK_ROOT only starts the search for the root."""

        def environment() -> dict[str, Any]:
            return {key: value for key, value in env_settings().items() if key != "root"}

        return (environment, init_settings)  # type: ignore[return-value]  # a callable is enough


def project_root(start: Path) -> Path:
    """Return the folder of the nearest penstock.toml, here or above."""
    for folder in (start, *start.parents):
        # Not is_file(): it raises where a folder may not be looked into.
        if os.path.isfile(folder / PROJECT_FILE):  # noqa: PTH113
            _refuse_strangers(folder / PROJECT_FILE)
            return folder
    raise SettingsError(
        f"no {PROJECT_FILE} in {start} or in a folder above it",
        hint="run `penstock init` in your project's folder (on project storage) first",
    )


def _refuse_strangers(file: Path) -> None:
    """Refuse a stranger's file where anybody may put one: it names programs to run."""
    is_anybodys = file.parent.stat().st_mode & stat.S_IWOTH
    if is_anybodys and file.lstat().st_uid not in (os.getuid(), 0):
        raise SettingsError(
            f"{file} is not yours, and anybody may write to {file.parent}",
            hint="run `penstock init` in your project's folder, or name the project: --project",
        )


def load(start: Path | None = None) -> Settings:
    """Return the settings of the project around ``start`` (else $PENSTOCK_ROOT, else here)."""
    named = os.environ.get("PENSTOCK_ROOT")
    root = project_root((start or Path(named or ".")).resolve())
    values: dict[str, Any] = {"root": root}
    site, *_ = files = _files(root)
    for file in files:
        found = _read(file)
        _refuse_password(file, found)
        if isinstance(found.get("clusters"), dict):  # a site's and one's own stand beside another
            found["clusters"] = values.get("clusters", {}) | found["clusters"]
        values |= found
    try:
        settings = Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {key}: {_what_is_wrong(first['type'], key) or first['msg']}",
            hint=f"it is set in {root / PROJECT_FILE}, your own or the site's file, "
            f"or as PENSTOCK_{key.upper()}",
        ) from error
    floor_s = _floor_s({site, Path(SITE_FILE)})
    return settings.model_copy(update={"poll_s": max(settings.poll_s, floor_s)})


def _files(root: Path) -> tuple[Path, Path, Path]:
    """Return the files that are read, the last goes before the others."""
    config = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser()
    site = Path(os.environ.get("PENSTOCK_SITE", SITE_FILE))
    return site, config / "penstock" / "settings.toml", root / PROJECT_FILE


def origins(root: Path) -> dict[str, str]:
    """Return where each setting of a project comes from that is set anywhere."""
    found = {key: str(file) for file in _files(root) for key in _read(file)}
    for key in Settings.model_fields:
        name = f"PENSTOCK_{key.upper()}"
        if name in os.environ and key != "root":
            found[key] = f"${name}"
    return found


def _refuse_password(file: Path, found: dict[str, Any]) -> None:
    """Refuse a store's password in a file: one's own goes with the code, a site's is for all."""
    url = str(found.get("store", ""))
    user = url.partition("://")[2].partition("@")[0] if "@" in url else ""
    if ":" in user or "password=" in url:
        raise SettingsError(
            f"{file}: `store` has a password, and this file is read and copied by many",
            hint="put it into ~/.pgpass (mode 600: HOST:PORT:DATABASE:USER:PASSWORD)",
        )


def _floor_s(sites: Iterable[Path]) -> float:
    """Return how often a site lets its queue be looked at; nobody else's setting undercuts it."""
    given = [_read(site).get("poll_s") for site in sites]
    return max((float(value) for value in given if isinstance(value, int | float)), default=0)


def _what_is_wrong(kind: str, key: str) -> str:
    if kind != "extra_forbidden":
        return ""
    from difflib import get_close_matches  # noqa: PLC0415  only for an error

    known = Cluster.model_fields if key.startswith("clusters.") else Settings.model_fields
    near = get_close_matches(key.rpartition(".")[2], known, 1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not TOML: {error}", hint="mend it") from error
