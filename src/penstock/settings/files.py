"""Settings: from the environment, the project, the user and the site, in this order.

PENSTOCK_*                      environment variables
penstock.toml                   the project's, found here or in a folder above
~/.config/penstock/settings.toml
/etc/penstock/site.toml         the site's; PENSTOCK_SITE names another file
"""

import os
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from penstock.errors import SettingsError
from penstock.settings import known
from penstock.settings.fields import Settings, has_password

PROJECT_FILE = "penstock.toml"
SITE_FILE = "/etc/penstock/site.toml"


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
    values: dict[str, Any] = {}
    for file in _files(root):
        found = _read(file)
        _refuse_password(file, found)
        if isinstance(found.get("clusters"), dict):  # a site's and one's own stand beside another
            found["clusters"] = values.get("clusters", {}) | found["clusters"]
        values |= found
    settings = Settings.of(_checked(values, root), root)
    return replace(settings, poll_s=max(settings.poll_s, site_floor_s()))


def _checked(values: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return all settings, checked now or before."""
    key = known.digest(values, os.environ)
    plain = known.recall(key)
    if plain is None:
        from penstock.settings import schema  # noqa: PLC0415  pydantic takes a quarter of a second

        plain = schema.checked(values, str(root / PROJECT_FILE))
        known.remember(key, plain)
    return plain


def _files(root: Path) -> tuple[Path, Path, Path]:
    """Return the files that are read, the last goes before the others."""
    config = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser()
    return _site(), config / "penstock" / "settings.toml", root / PROJECT_FILE


def _site() -> Path:
    return Path(os.environ.get("PENSTOCK_SITE", SITE_FILE))


def site_floor_s() -> float:
    """Return the shortest time between two looks at the queue of this site; 0: it names none."""
    return _floor_s(map(_read, {_site(), Path(SITE_FILE)}))


def origins(root: Path) -> dict[str, str]:
    """Return where each setting of a project comes from that is set anywhere."""
    found = {key: str(file) for file in _files(root) for key in _read(file)}
    for one in fields(Settings):
        name = f"PENSTOCK_{one.name.upper()}"
        if name in os.environ and one.name != "root":
            found[one.name] = f"${name}"
    return found


def _refuse_password(file: Path, found: dict[str, Any]) -> None:
    """Refuse a store's password in a file: one's own goes with the code, a site's is for all."""
    if has_password(str(found.get("store", ""))):
        raise SettingsError(
            f"{file}: `store` has a password, and this file is read and copied by many",
            hint="put it into ~/.pgpass (mode 600: HOST:PORT:DATABASE:USER:PASSWORD)",
        )


def _floor_s(sites: Iterable[dict[str, Any]]) -> float:
    """Return how often a site lets its queue be looked at; nobody else's setting undercuts it."""
    given = [site.get("poll_s") for site in sites]
    return max((float(value) for value in given if isinstance(value, int | float)), default=0)


def of_site(text: str, where: str) -> tuple[float, str]:
    """Return what the site of a cluster says, that is reached by SSH: its floor, its scratch."""
    try:
        found = tomllib.loads(text)
    except ValueError as error:
        raise SettingsError(f"{where} is not TOML: {error}", hint="its site has to know") from error
    scratch = found.get("scratch", "")
    return _floor_s([found]), scratch if isinstance(scratch, str) else ""


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not TOML: {error}", hint="mend it") from error
