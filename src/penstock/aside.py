"""Small files that others read while they are written."""

import contextlib
import errno
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


NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}  # what link(2) says where there are none


def take(path: Path, text: str) -> bool:
    """Write a file aside, then give it a name that must be free; return whether it was.

    Of all hosts that share the file system one gets the name, NFS included. Raises OSError. Where
    there are no hard links the last one has it: whoever asks has to look again.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_text(text, encoding="utf-8")
        return _linked(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _linked(aside: Path, path: Path) -> bool:
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno in NO_LINKS:
            os.replace(aside, path)  # noqa: PTH105  renames are os here
            return True
        # An NFS server's answer may be lost and the call repeated: then the name exists, by us.
        with aside.open() as file:  # to open it asks the server
            if os.fstat(file.fileno()).st_nlink > 1:
                return True
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def clear(path: Path, text: bytes) -> None:
    """Take a file away that has this text; what another put there meanwhile is put back.

    Several may try it at once. One that is put back was not there for an instant: should a third
    have taken the name in it, the name stays the third's.
    """
    away = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, away)  # noqa: PTH104  renames are os here
        if away.read_bytes() != text:
            with contextlib.suppress(OSError):
                os.link(away, path)
        away.unlink()
