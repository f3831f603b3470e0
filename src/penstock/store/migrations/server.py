"""Migrations on PostgreSQL: the lock, and columns that take what SQLite's take.

Whole numbers have 64 bits. Texts are compared byte by byte, so that lists have one order, and a
search by how a name begins finds its index, whatever language the database was made for.
"""

import re
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler

from penstock.errors import StoreError
from penstock.store.dialect import Dialect

if TYPE_CHECKING:
    from penstock.store.postgresql import PostgreSQL


_WIDER = ((" SERIAL", " BIGSERIAL"), (" INTEGER", " BIGINT"))
_TEXT = re.compile(r" (VARCHAR(\(\d+\))?|TEXT)(?=\s|$)")


class _Columns(PGDDLCompiler):
    """What a column is, in CREATE TABLE and ALTER TABLE."""

    def get_column_specification(self, column: Any, **given: Any) -> str:
        words = str(super().get_column_specification(column, **given))  # type: ignore[no-untyped-call]
        for narrow, wide in _WIDER:
            words = words.replace(narrow, wide)
        return _TEXT.sub(' TEXT COLLATE "C"', words)


def engine(dialect: Dialect) -> sqlalchemy.Engine:
    """Return an engine whose transactions are those that write: one at a time."""
    store = cast("PostgreSQL", dialect)
    made = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=store.raw, poolclass=sqlalchemy.NullPool
    )
    made.dialect.ddl_compiler = _Columns
    sqlalchemy.event.listen(made, "connect", _leave_transactions_to_sqlalchemy)
    sqlalchemy.event.listen(made, "begin", _locked)
    return made


def _leave_transactions_to_sqlalchemy(raw: Any, _: object) -> None:
    raw.autocommit = False


def _locked(connection: sqlalchemy.Connection) -> None:
    from penstock.store.postgresql import LOCK  # noqa: PLC0415  an extra

    connection.exec_driver_sql(LOCK)
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"the database has the encoding {encoding}, which cannot hold all that runs may tell",
            hint="make one with createdb --template=template0 --encoding=UTF8",
        )
