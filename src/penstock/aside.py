"""Small files that others read while they are written."""

import contextlib
import os
import secrets
from pathlib import Path


def write(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a file aside, then give it its name: who reads it sees the old text or the new.

    Not safe on the disk before a while has passed. Raises OSError, and leaves nothing half-made.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_text(text, encoding="utf-8")
        if mode is not None:
            with contextlib.suppress(OSError):  # not every file system has modes
                aside.chmod(mode)
        os.replace(aside, path)  # noqa: PTH105  renames are os here
    except OSError:
        aside.unlink(missing_ok=True)
        raise
