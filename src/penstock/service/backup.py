"""Check, copy and put back the store of a project, with an eye on the files beside it."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import NotFoundError, StoreError
from penstock.model.run import Intent
from penstock.reconciler import mark
from penstock.service import search
from penstock.service.move import migrate
from penstock.service.project import Project
from penstock.store import backup as copies
from penstock.store import check as checks
from penstock.store import lease, recovery
from penstock.store.connection import Store, open_store
from penstock.store.sqlite import sqlite_path
from penstock.wire import place


@dataclass(frozen=True)
class Restored:
    """What came of putting a backup back."""

    kept: Path | None  # the store of before
    taken_up: int  # arrays that were sent since the backup, and are looked up now
    unknown: tuple[str, ...]  # tokens of arrays whose runs the backup does not know


def check(project: Project) -> list[str]:
    """Return what is wrong with the store, a line for each thing."""
    problems = checks.check(project.store)
    if any(line.startswith("damaged") for line in problems):
        return problems
    return problems + list(_since(project)) + list(_beyond(project))


def _since(project: Project) -> Iterator[str]:
    """Yield what was sent and the store does not know, where it is a copy of before.

    One that was put back in order need not know what was submitted since.
    """
    given = recovery.fences(project.store)
    marks = mark.here(project.settings.home)
    if all(given.get(key, 0) >= fence for key, fence in marks.items()):
        return
    yield lease.older(project.store.name)
    there = search.folders(project.settings.home / "arrays")  # before the store: files come later
    known = recovery.tokens(project.store)
    for folder in there:
        if folder.name not in known:
            yield f"the store does not know the array whose files are in {folder}"


def _beyond(project: Project) -> Iterator[str]:
    """Yield the spools that are shorter than what was read of them, or away."""
    far = project.settings.clusters
    for token, is_folded, read in checks.spools(project.store, elsewhere=far):
        folder = project.settings.home / "arrays" / token
        if not folder.is_dir() or (is_folded and not (folder / place.SPOOLS_FOLDED).exists()):
            if not is_folded:
                yield f"the files of array {token} are away: {folder}"
            continue  # who has no use for old files may remove them
        sizes = _folded_sizes(folder / place.SPOOLS_FOLDED)
        for (index, restart), read_to in read.items():
            size = max(_size(folder, index, restart), sizes.get((index, restart), -1))
            if size < read_to:
                where = folder / place.spool(index, restart)
                what = "is away" if size < 0 else f"has {size} bytes, and {read_to} were read"
                yield f"the spool {where} {what}"


def _size(folder: Path, index: int, restart: int) -> int:
    for is_done in (True, False):
        with contextlib.suppress(OSError):
            return (folder / place.spool(index, restart, is_done)).stat().st_size
    return -1


def _folded_sizes(path: Path) -> dict[tuple[int, int], int]:
    sizes: dict[tuple[int, int], int] = {}
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            index, _, rest = member.filename.rpartition("/")[2].partition(".")
            restart = rest.partition(".")[0]
            if index.isdecimal() and restart.isdecimal():
                sizes[int(index), int(restart)] = member.file_size
    return sizes


def back_up(project: Project, target: Path | None = None) -> tuple[Path, int, str]:
    """Copy the store while it is used; return where to, the size, and how. Raises StoreError.

    One in PostgreSQL by pg_dump, or as a file of SQLite: where its name is one of such a file, and
    where pg_dump is not to be had. Both can be put back.
    """
    store, stem = project.store, f"penstock-{_stamp(project)}"
    folder = project.settings.home / "backups"
    if store.dialect.path is not None:
        target = target or folder / f"{stem}.db"
        return target, copies.back_up(store, target), "as a file of SQLite"
    from penstock.store import copy, dump  # noqa: PLC0415  SQLModel is slow

    hindrance = "so is its name" if target and target.suffix != dump.SUFFIX else dump.why_not(store)
    target = target or folder / f"{stem}{'.db' if hindrance else dump.SUFFIX}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if hindrance:
            copy.into_file(store, target)
        else:
            dump.dump(store, target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from error
    how = f"as a file of SQLite ({hindrance})" if hindrance else "by pg_dump"
    return target, target.stat().st_size, how


def _stamp(project: Project) -> str:
    return f"{project.clock.now():%Y%m%d-%H%M%S}"


def restore(project: Project, source: Path, *, force: bool = False) -> Restored:
    """Put a backup in the store's place. Raises StoreError where one acts just now, or NotFound.

    Nothing is doubled by it: spools are read from where the backup had come to, and arrays that
    were sent since are found again by their folders, and looked up.
    """
    if not source.is_file():
        raise NotFoundError(
            f"there is no backup {source}", hint="`penstock store backup` makes one"
        )
    url = project.settings.store_url
    given = _given(project, force=force)
    if Store(url).dialect.path is None:
        return _restore_on_server(project, source, given)
    path = sqlite_path(url)
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    keep = path.with_name(f"{path.name}.before-{_stamp(project)}")
    try:
        copies.prepare(source, aside)
        new = Store(f"sqlite:///{aside}")
        taken_up, unknown = _renewed(project, new, given)
        new.close()
        was_there = copies.put(aside, path, keep)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        copies.remove(aside)
    return Restored(keep if was_there else None, taken_up, unknown)


def take_up(project: Project, *, force: bool = False) -> Restored:
    """Bring up to date what was put in the store's place by other means than ``restore``."""
    given = _given(project, force=force)
    taken_up, unknown = _renewed(project, project.store, given)
    return Restored(None, taken_up, unknown)


def _restore_on_server(
    project: Project, source: Path, given: dict[tuple[str, str], int]
) -> Restored:
    """Put a dump, or a file of SQLite, in the place of all that a store in PostgreSQL has."""
    from penstock.store import copy, dump  # noqa: PLC0415  SQLModel is slow

    migrate(project.settings, project.clock, or_none=True)
    store = open_store(project.settings.store_url, create=True)
    before = project.settings.home / "backups" / f"before-restore-{_stamp(project)}.db"
    before.parent.mkdir(parents=True, exist_ok=True)
    copy.into_file(store, before)
    if source.suffix == dump.SUFFIX:
        dump.restore(store, source)
        store = open_store(project.settings.store_url, create=True)  # it may be an older one
        left = _renewed(project, store, given)
    else:
        aside = before.with_suffix(".new")
        try:
            copies.prepare(source, aside)
            new = Store(f"sqlite:///{aside}")
            left = _renewed(project, new, given)
            copy.copy(new, store, replace=True)
            new.close()
        finally:
            copies.remove(aside)
    store.close()
    return Restored(before, left[0], left[1])


def _renewed(
    project: Project, store: Store, given: dict[tuple[str, str], int]
) -> tuple[int, tuple[str, ...]]:
    """Bring a store up to what happened since; return how many arrays it took up, and which not."""
    found = list(search.here(project.settings.home / "arrays", recovery.settled(store)))
    known = recovery.tokens(store, Intent.SENDING)
    far = project.settings.clusters.keys()
    unknown = recovery.renew(store, given, found, project.clock.now(), elsewhere=far)
    new = sum(one.token not in known for one in found) - len(unknown)
    return new, tuple(sorted(one.token for one in unknown))


def _given(project: Project, *, force: bool) -> dict[tuple[str, str], int]:
    """Return the fences that were given, as the store in use and the marks say."""
    from penstock.reconciler.world import is_gone  # noqa: PLC0415  queries do without it

    given = mark.here(project.settings.home)
    try:
        with contextlib.closing(Store(project.settings.store_url)) as store:
            held = recovery.holders(store, is_gone)
            for key, fence in recovery.fences(store).items():
                given[key] = max(fence, given.get(key, 0))
    except StoreError:
        return given  # it is away or damaged: that is why one restores
    if held and not force:
        raise StoreError(
            f"{', '.join(held)} is at work with the store",
            hint="`penstock daemon stop`, or wait until it has ended; --force does it all the same",
        )
    return given


def search_elsewhere(project: Project) -> list[str]:
    """Search clusters for what was sent there since; return why that was not possible, if so."""
    # The store that was put in place is another one than this project had open.
    fresh = Project(project.settings, project.clock)
    return search.far(fresh)
