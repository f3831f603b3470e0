"""Find the runs that stand first in an order, by a look at the first 20,000.

Few are shown, and most filters let many through: then the first of them stand near the beginning,
however many runs there are. Where too few are found there, ``search`` looks at all.
"""

from typing import Any

from penstock.store import fields
from penstock.store.connection import Connection
from penstock.store.fields import Asked, Clause
from penstock.store.filter import Comparison, Joined, Tree, parse

COLUMNS = (
    "run.id, run.uid, experiment.name, run.number, stage.name, run.state, run.cause, run.attempt,"
    " run.params, submission.created_at, run.started_at, run.ended_at"
)
SEEN = 20_000
MOST = 1000  # runs that are asked for
# CROSS JOIN: SQLite then begins with what stands first, and so comes by the order for nothing.
_FROM = " CROSS JOIN experiment CROSS JOIN stage CROSS JOIN submission"
_ON = (
    " AND experiment.id = run.experiment_id AND stage.id = run.stage_id"
    " AND submission.id = stage.submission_id AND experiment.project = ?"
)


def first(
    view: Connection, asked: Asked, project: str, sort: str, limit: int
) -> list[tuple[Any, ...]] | None:
    """Return the rows of the first runs that a filter lets through; None: it takes a look at all.

    Sorted as they were made, or by one parameter, metric or tag that is a number.
    """
    if limit > MOST:
        return None
    tree = parse(asked.text)
    seen = _by_value(view, sort) if sort else _oldest(view, project, tree)
    if seen is None:
        return None
    where = fields.condition(tree, asked) if tree is not None else Clause("1 = 1")
    table, order, window = seen
    sql = f"SELECT {COLUMNS} FROM {table}{_FROM} WHERE {window.sql}{_ON} AND {where.sql}{order}"
    found = list(view.execute(sql + " LIMIT ?", (*window.params, project, *where.params, limit)))
    return found if len(found) == limit else None


def _oldest(view: Connection, project: str, tree: Tree | None) -> tuple[str, str, Clause]:
    """Return tables, order and condition of the runs that were made first.

    Of an experiment, where the filter names one: its own may begin late.
    """
    row = view.one("SELECT min(id) FROM run")
    named = _experiment(tree)
    if named:
        row = view.one(
            "SELECT run.id FROM run JOIN experiment ON experiment.id = experiment_id"
            " WHERE project = ? AND name = ? ORDER BY number LIMIT 1",
            (project, named),
        )
    start = (row[0] if row else None) or 0
    window = Clause("run.id >= ? AND run.id < ?", (start, start + SEEN))
    return "run", " ORDER BY run.id", window


def _experiment(tree: Tree | None) -> str:
    """Return the experiment that all runs are of which a filter lets through; empty: any."""
    for part in tree.parts if isinstance(tree, Joined) and tree.word == "AND" else (tree,):
        if isinstance(part, Comparison) and part.sign == "=" and part.field.text == "experiment":
            return part.values[0].text
    return ""


def _by_value(view: Connection, sort: str) -> tuple[str, str, Clause] | None:
    """Return tables, order and condition of the runs with the least or the greatest values."""
    keyed = fields.split(sort.strip().lstrip("-+"))
    if keyed is None or "," in sort:
        return None
    is_down = sort.strip().startswith("-")
    table, key = keyed
    column, direction = fields.number_of(table), "DESC" if is_down else "ASC"
    last = view.one(
        f"SELECT {column} FROM {table} WHERE key = ? AND {column} IS NOT NULL"
        f" ORDER BY {column} {direction} LIMIT 1 OFFSET {SEEN}",
        (key,),
    )
    window = Clause(f"top.key = ? AND top.{column} IS NOT NULL AND run.id = top.run_id", (key,))
    if last is not None:
        sign = ">=" if is_down else "<="
        window = Clause(f"{window.sql} AND top.{column} {sign} ?", (*window.params, last[0]))
    return f"{table} top CROSS JOIN run", f" ORDER BY top.{column} {direction}, run.id", window
