"""Copy a store into another one, of any kind: all rows, compared before they count."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlmodel import SQLModel

from penstock.errors import StoreError
from penstock.store import tables
from penstock.store.connection import Connection, Store, open_store

assert tables.Run.__tablename__ == "run"  # imported for SQLModel's list of them
_BATCH = 5000  # rows in memory


@dataclass(frozen=True)
class Table:
    """What is asked of a table, and what is said to fill it."""

    name: str
    select: str  # in the order of its key
    insert: str


def every() -> list[Table]:
    """Return the tables, each behind those that it points to."""
    return [_table(found) for found in SQLModel.metadata.sorted_tables]


def _table(found: Any) -> Table:
    names = [column.name for column in found.columns]
    key = ", ".join(column.name for column in found.primary_key.columns)
    listed, marks = ", ".join(names), ", ".join("?" * len(names))
    return Table(
        found.name,
        f"SELECT {listed} FROM {found.name} ORDER BY {key}",
        f"INSERT INTO {found.name} ({listed}) VALUES ({marks})",
    )


def copy(source: Store, target: Store, *, replace: bool = False) -> dict[str, int]:
    """Copy all rows of one state of a store, with their ids; return how many, by table.

    The target must be empty; with ``replace`` what is in it goes. It is one transaction, which
    counts only if the target then gives back the same rows. Raises StoreError.
    """
    counts: dict[str, int] = {}
    with source.read() as view, target.write() as tx:
        if replace:
            for table in reversed(every()):
                tx.execute(f"DELETE FROM {table.name}")
        _refuse_what_is_there(tx, target)
        told = {table.name: _fill(view, tx, table) for table in every()}
        tx.settle()
        for table in every():
            counts[table.name], digest = told[table.name]
            found = _seen(tx.stream(table.select))
            if found != (counts[table.name], digest):
                raise StoreError(
                    f"the table {table.name} is not the same in {target.name} as in {source.name}: "
                    f"{found[0]} rows of {counts[table.name]}",
                    hint="nothing was copied; this is a bug in Penstock: report it",
                )
    return counts


def _refuse_what_is_there(tx: Connection, target: Store) -> None:
    for table in every():
        if tx.one(f"SELECT 1 FROM {table.name} LIMIT 1") is not None:
            raise StoreError(
                f"the store {target.name} is not empty: its table {table.name} has rows",
                hint="nothing was copied; name a new file, or an empty database (`createdb`)",
            )


def _fill(view: Connection, tx: Connection, table: Table) -> tuple[int, str]:
    """Copy a table; return how many rows, and their digest."""
    digest, count = hashlib.sha256(), 0
    found = view.stream(table.select)
    while batch := list(islice(found, _BATCH)):
        for row in batch:
            digest.update(_text(row))
        count += tx.executemany(table.insert, batch)
    return count, digest.hexdigest()


def _seen(found: Iterator[tuple[Any, ...]]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    for row in found:
        digest.update(_text(row))
        count += 1
    return count, digest.hexdigest()


def _text(row: tuple[Any, ...]) -> bytes:
    """Return what two rows that are the same have in common: SQLite has no -0.0, the other no NUL.

    A number is written so that it is read back bit by bit.
    """
    parts = []
    for value in row:
        if isinstance(value, float):
            parts.append(repr(value + 0.0))  # -0.0 + 0.0 is 0.0
        elif isinstance(value, str):
            parts.append(repr(value.replace("\0", "\ufffd")))
        else:
            parts.append(repr(value))
    return "\x1f".join(parts).encode() + b"\n"


def into_file(source: Store, target: Path) -> dict[str, int]:
    """Copy a store into a new file, which is there whole or not at all; return rows by table."""
    if target.exists():
        raise StoreError(f"{target} is there already", hint="name another file")
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    made = open_store(f"sqlite:///{aside}", create=True)
    try:
        counts = copy(source, made)
        made.close()
        os.link(aside, target)
        return counts
    except FileExistsError as error:
        raise StoreError(f"{target} is there already", hint="name another file") from error
    finally:
        made.close()
        for end in ("-journal", ""):
            aside.with_name(aside.name + end).unlink(missing_ok=True)
