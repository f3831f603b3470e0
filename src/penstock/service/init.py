"""Make a folder a project: its settings file, its home, its store."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from penstock.clock import SystemClock
from penstock.errors import SettingsError
from penstock.reconciler import mark
from penstock.service import move
from penstock.settings import Settings
from penstock.settings.files import PROJECT_FILE, load
from penstock.store.connection import Store, open_store

TEMPLATE = """\
# Penstock's settings for this project. Each line shows what holds without it.
# PENSTOCK_<NAME> in the environment goes before this file.

# scheduler = "auto"      # slurm where sbatch is on PATH, else local: processes on this machine
# results = "runs"        # outputs go to <results>/<experiment>/<number>/
# scratch = ""            # of compute nodes, such as "/scratch/$USER"; else $SLURM_TMPDIR, $TMPDIR
# python = "python3"      # on compute nodes, 3.6 or later
# poll_s = 10             # the shortest time between two looks at the queue
"""
NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")


@dataclass(frozen=True)
class Created:
    """What ``init`` made, or found."""

    settings: Settings
    is_new: bool
    notes: tuple[str, ...] = ()


def init(folder: Path) -> Created:
    """Make a project of a folder; again is no error and changes no file that is there."""
    folder = folder.resolve()
    try:
        notes = tuple(_notes(folder))
        is_new = not (folder / PROJECT_FILE).exists()
        folder.mkdir(parents=True, exist_ok=True)
        if is_new:
            (folder / PROJECT_FILE).write_text(TEMPLATE)
        settings = load(folder)
        settings.home.mkdir(parents=True, exist_ok=True)
        (settings.home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise SettingsError(
            f"{error.filename or folder} cannot be made: {error.strerror}",
            hint="`penstock init FOLDER` with one of your own, on storage that compute nodes see",
        ) from error
    notes += _older(settings)
    notes += _begun_anew(settings)
    open_store(settings.store_url, journal=settings.journal, create=True).close()
    return Created(settings, is_new, notes)


def _older(settings: Settings) -> tuple[str, ...]:
    """Bring an older store up to date, and say where it lies as it was."""
    file = Store(settings.store_url).dialect.path
    if file is not None and not file.exists():
        return ()
    done = move.migrate(settings, SystemClock(), or_none=True)
    return (
        (f"the store was of an older Penstock; as it was it lies in {done.backup}",) if done else ()
    )


def _begun_anew(settings: Settings) -> tuple[str, ...]:
    """Say what to do where a store was removed that had sent something."""
    file = Store(settings.store_url).dialect.path
    if file is None or file.exists() or not mark.here(settings.home):
        return ()
    was = f"there was a store in {settings.home}, and what was sent from it is not in this new one"
    return (f"{was}: put it back, or let `penstock store restore` look that up by its files",)


def _notes(folder: Path) -> list[str]:
    """Return what its user may want to know of a folder."""
    notes = []
    above = [one for one in folder.parents if (one / PROJECT_FILE).is_file()]
    if above:
        notes.append(f"this is inside the project {above[0]}, and now one of its own")
    if shutil.which("sbatch") and any(folder.is_relative_to(one) for one in NODE_LOCAL):
        notes.append(
            f"{folder} may be on this machine alone: compute nodes must see the project's folder"
        )
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK | os.X_OK):
        notes.append(f"{folder} is not yours to write")
    return notes
