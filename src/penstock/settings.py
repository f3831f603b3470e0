"""Settings: from the environment, the project, the user and the site, in this order.

PENSTOCK_*                      environment variables
penstock.toml                   the project's, found here or in a folder above
~/.config/penstock/settings.toml
/etc/penstock/site.toml         the site's; PENSTOCK_SITE names another file
"""

import json
import math
import os
import stat
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from penstock.errors import SettingsError

PROJECT_FILE = "penstock.toml"
SITE_FILE = "/etc/penstock/site.toml"
PREFIX = "PENSTOCK_"  # of environment variables
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _at_least(least: float, default: float) -> Any:
    return field(default=default, metadata={"least": least})


# A plain class, and not pydantic-settings, which takes 0.1 s to load: a third of a whole `submit`.
@dataclass(frozen=True)
class Settings:
    """All that can be set. ``root`` is the project's folder, and relative paths start there."""

    root: Path  # where penstock.toml is
    project: str = ""  # the project's name; else its folder's
    home: Path = Path(".penstock")  # where Penstock keeps its files
    results: Path = Path("runs")  # where the outputs of runs are put
    store: str = ""  # URL of the store; else sqlite in the home folder
    scheduler: Literal["auto", "slurm", "local"] = "auto"  # auto: slurm where sbatch is on PATH
    scratch: str = ""  # scratch folder of compute nodes; may name $VARIABLES
    python: str = "python3"  # Python 3.6 or later, on compute nodes
    templates: tuple[Path, ...] = ()  # folders whose *.sh.j2 go before Penstock's own
    local_cpus: int = _at_least(0, 0)  # cpu slots of the local scheduler; 0: all
    journal: Literal["delete", "wal"] = "delete"  # SQLite's; wal only where one host uses the store
    poll_s: float = _at_least(1, 10)  # the shortest time between two looks at the queue
    poll_max_s: float = _at_least(1, 120)  # the longest
    beat_s: float = _at_least(1, 30)  # how often a run says that it lives
    # How long nobody may have heard of a run before it is called lost.
    lost_after_s: float = _at_least(0, 3600)
    # How late Slurm's accounting may hear of a job (slurmdbd when busy).
    accounting_lag_s: int = _at_least(0, 60)
    # How long a record may come later than the scheduler's word (NFS).
    record_grace_s: float = _at_least(0, 60)
    debug: bool = False

    def __post_init__(self) -> None:
        """Let relative folders start at the root."""
        for name in ("home", "results"):
            path = (self.root / getattr(self, name).expanduser()).resolve()
            object.__setattr__(self, name, path)  # frozen from here on

    @property
    def store_url(self) -> str:
        """Return the URL of the store."""
        return self.store or f"sqlite:///{self.home / 'penstock.db'}"

    @property
    def project_name(self) -> str:
        """Return the name of the project."""
        return self.project or self.root.name


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
    config = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser()
    site = Path(os.environ.get("PENSTOCK_SITE", SITE_FILE))
    given: dict[str, Any] = {}
    for file in (site, config / "penstock" / "settings.toml", root / PROJECT_FILE):
        given |= {key: _checked(key, value, str(file)) for key, value in _read(file).items()}
    for key, one in _SETTINGS.items():
        name = PREFIX + key.upper()
        if name in os.environ:
            given[key] = _checked(key, _from_text(one.type, os.environ[name]), f"${name}")
    return Settings(root=root, **given)


_SETTINGS = {one.name: one for one in fields(Settings) if one.name != "root"}


def _checked(key: str, value: object, where: str) -> object:
    """Return a value as the setting has it. Raises SettingsError, which names the place."""
    if key not in _SETTINGS:
        from difflib import get_close_matches  # noqa: PLC0415  only for an error

        near = get_close_matches(key, _SETTINGS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_SETTINGS)}"
        raise SettingsError(f"{where}: there is no setting {key}", hint=hint)
    one = _SETTINGS[key]
    try:
        return _as(one.type, value, one.metadata.get("least"))
    except ValueError as error:
        what = f"{where}: {key}: {value!r} is not what is asked for"
        raise SettingsError(what, hint=f"it takes {error}") from None


def _as(kind: Any, value: object, least: float | None) -> object:
    """Return a value as a kind of settings has it. Raises ValueError: what the kind takes."""
    if kind in (str, Path):
        is_right, takes = isinstance(value, str), "a text"
    elif kind is bool:
        is_right, takes = isinstance(value, bool), "true or false"
    elif kind in (int, float):
        is_right = isinstance(value, int | kind) and not isinstance(value, bool)
        is_right = is_right and least <= value < math.inf  # type: ignore[operator]  # no NaN either
        takes = f"a {'whole ' if kind is int else ''}number, {least} at least"
    elif kind == tuple[Path, ...]:
        is_right = isinstance(value, list) and all(isinstance(path, str) for path in value)
        takes = 'a list of texts: ["/site/templates"]'
    else:
        is_right, takes = value in get_args(kind), f"one of {', '.join(get_args(kind))}"
    if not is_right:
        raise ValueError(takes)
    if kind is Path:
        return Path(value)  # type: ignore[arg-type]
    return tuple(map(Path, value)) if isinstance(value, list) else value


def _from_text(kind: Any, text: str) -> object:
    """Return what a variable says, as TOML would have it; a text where it says no such thing."""
    if kind is bool:
        return _TRUTH.get(text.lower(), text)
    if kind not in (int, float, tuple[Path, ...]):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not TOML: {error}", hint="mend it") from error
