"""Move a store to another database, or to the tables of this version, with nothing lost."""

from dataclasses import dataclass
from pathlib import Path

from penstock.clock import Clock
from penstock.errors import StoreError
from penstock.settings import Settings
from penstock.store import backup as copies
from penstock.store import fault, recovery
from penstock.store.connection import VERSION, Store, open_store


@dataclass(frozen=True)
class Copied:
    """What went from one store into another."""

    source: str
    target: str
    rows: dict[str, int]  # by table


@dataclass(frozen=True)
class Migrated:
    """A store that was of another version; ``backup`` is as it was before."""

    before: str
    backup: Path | None


def copy(source: str, target: str, *, force: bool = False) -> Copied:
    """Copy a store, named by its URL or file, into an empty one. Raises StoreError."""
    from penstock.reconciler.world import is_gone  # noqa: PLC0415  queries do without it
    from penstock.store import copy as whole  # noqa: PLC0415  SQLModel is slow

    old = open_store(url_of(source))
    held = recovery.holders(old, is_gone)
    if held and not force:
        raise StoreError(
            f"{', '.join(held)} is at work with the store {old.name}",
            hint="`penstock daemon stop`, or wait until it has ended: what it wrote after the copy "
            "would be lost; --force copies all the same",
        )
    to = url_of(target)
    file = Store(to).dialect.path
    if file is not None:
        counts = whole.into_file(old, file)
        return Copied(old.name, str(file), counts)
    new = open_store(to, create=True)
    try:
        return Copied(old.name, new.name, whole.copy(old, new))
    finally:
        new.close()
        old.close()


def url_of(word: str) -> str:
    """Return the URL of a store that is named by it, or by a file."""
    return word if "://" in word else f"sqlite:///{Path(word).absolute()}"


def migrate(settings: Settings, clock: Clock, *, or_none: bool = False) -> Migrated | None:
    """Bring an older store up to date, after a backup; None: it is of this version.

    Raises StoreError where it is newer or none (with ``or_none`` that is left to others), or where
    no backup can be made.
    """
    store = Store(settings.store_url)
    with store.read() as view:
        version = view.version()
    if version is None and or_none:
        return None
    if not fault.is_older(version, VERSION):
        fault.check_version(version, store.name, VERSION)
        return None
    kept = keep(store, settings.home / "backups" / f"before-{VERSION}-{clock.now():%Y%m%d-%H%M%S}")
    from penstock.store.migrations import upgrade  # noqa: PLC0415  Alembic costs half a second

    upgrade.make(store.dialect)
    store.close()
    return Migrated(version or "none", kept)


def keep(store: Store, stem: Path) -> Path:
    """Back up a store whose tables are of any version; return the file."""
    from penstock.store import dump  # noqa: PLC0415  only for PostgreSQL

    if store.dialect.path is not None:
        target = stem.with_name(stem.name + ".db")
        copies.back_up(store, target)
        return target
    hindrance = dump.why_not(store)
    if hindrance:
        raise StoreError(
            f"the store {store.name} is older, and cannot be backed up here: {hindrance}",
            hint="install PostgreSQL's programs of the server's version; nothing was changed",
        )
    target = stem.with_name(stem.name + dump.SUFFIX)
    target.parent.mkdir(parents=True, exist_ok=True)
    dump.dump(store, target)
    return target
