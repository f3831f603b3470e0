"""Alembic's entry: run the migrations on the connection that ``upgrade`` (or a developer) gives."""

from typing import Literal

from alembic import context
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

from penstock.store import tables

assert tables.Run.__table__ is not None  # type: ignore[attr-defined]  # imported for its tables


def _plain(kind: str, thing: object, _: object) -> str | Literal[False]:
    """Write SQLModel's own string type as SQLAlchemy's, so that a migration needs no import."""
    return "sa.String()" if kind == "type" and isinstance(thing, AutoString) else False


def run() -> None:
    """Run the migrations that are asked for, in one transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=SQLModel.metadata,
        transactional_ddl=True,
        render_as_batch=True,  # SQLite alters a table by making another
        render_item=_plain,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
