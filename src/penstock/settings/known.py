"""Remember settings that were checked: the same values are not checked again.

By their digest, in the user's own cache; a memory that cannot be kept or read does no harm.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from penstock import aside
from penstock.settings.fields import Settings, has_password

_NAMES = {one.name for one in fields(Settings)} - {"root"}  # it is found, not set
MOST = 50  # of a user with many projects


def digest(values: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return what stands for values of files, for those of the environment, and for the check."""
    names = {f"PENSTOCK_{name.upper()}" for name in _NAMES}
    mine = {key: value for key, value in environ.items() if key.upper() in names}
    check = [Path(__file__).with_name(name).stat() for name in ("fields.py", "schema.py")]
    made = [(one.st_mtime_ns, one.st_size) for one in check]
    body = json.dumps([made, values, mine], sort_keys=True, default=repr)
    return hashlib.sha256(body.encode(errors="surrogateescape")).hexdigest()[:32]


def recall(key: str) -> dict[str, Any] | None:
    """Return what was remembered; None: nothing, or not by this user."""
    try:
        with _file(key).open() as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            found: Any = json.load(file)
    except (OSError, ValueError, RuntimeError):  # the last: this user has no home
        return None
    return found if isinstance(found, dict) and found.keys() == _NAMES else None


def remember(key: str, plain: Mapping[str, Any]) -> None:
    """Keep what was checked, but for a store that has a password."""
    if has_password(plain["store"]):
        return
    with contextlib.suppress(OSError, RuntimeError):
        file = _file(key)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in sorted(file.parent.iterdir(), key=os.path.getmtime)[: -MOST + 1]:
            old.unlink()
        aside.write(file, json.dumps(plain))


def _file(key: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "penstock" / "settings" / f"{key}.json"
