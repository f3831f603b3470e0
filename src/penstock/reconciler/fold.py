"""Fold: when an array has ended, make one file of its spools and one of its logs.

The manifest is renamed first: nothing can start from the array any more, so the claims may go.
Killed anywhere, it is done again.
"""

import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from penstock import failpoint
from penstock.errors import TransportError
from penstock.model.run import Array, Intent
from penstock.reconciler.collect import collect_one
from penstock.reconciler.world import World
from penstock.store import attempts
from penstock.wire import place


def fold(world: World, arrays: Sequence[Array], odd: list[str]) -> None:
    """Fold the files of ended arrays; one that cannot be is told in ``odd``, and tried again."""
    for array in arrays:
        try:
            _fold_one(world, array)
        except TransportError as error:
            odd.append(str(error))
        except OSError as error:
            odd.append(f"{world.folder(array.token)} cannot be folded: {error.strerror}")


def _fold_one(world: World, array: Array) -> None:
    folder = world.folder(array.token)
    if folder.is_dir():
        close(folder)
        collect_one(world, array)  # what came after the last look
        pack(folder / place.SPOOLS, folder / place.SPOOLS_FOLDED)
        pack(folder / place.LOGS, folder / place.LOGS_FOLDED)
    with world.store.write() as tx:
        attempts.update_array(tx, array.id, intent=Intent.FOLDED)


def close(folder: Path) -> None:
    """Take the manifest away from runners that may still come."""
    try:
        (folder / place.MANIFEST).rename(folder / place.MANIFEST_ENDED)
    except FileNotFoundError:
        return
    failpoint.hit("fold.closed")


def pack(source: Path, target: Path) -> None:
    """Make a zip of a folder, whole or not at all, then remove the folder.

    What a zip of an earlier time has, and the folder has not, is kept: an array is folded again
    where a kill came between, or where a store of before it was put back.
    """
    if not source.is_dir():
        return
    aside = target.with_suffix(".tmp")
    with aside.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for path in sorted(source.rglob("*")):
                if path.is_file() and path.suffix != ".claim":
                    archive.write(path, path.relative_to(source).as_posix())
            _keep(archive, target)
        file.flush()
        os.fsync(file.fileno())
    failpoint.hit("fold.written")
    aside.rename(target)
    failpoint.hit("fold.packed")
    shutil.rmtree(source)


def _keep(archive: zipfile.ZipFile, earlier: Path) -> None:
    if not earlier.exists():
        return
    new = set(archive.namelist())
    with zipfile.ZipFile(earlier) as old:
        for name in old.namelist():
            if name not in new:
                archive.writestr(old.getinfo(name), old.read(name), zipfile.ZIP_DEFLATED)
