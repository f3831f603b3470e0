"""Search runs: by a filter, in an order, or one by its name."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from penstock.clock import moment
from penstock.errors import NotFoundError
from penstock.model.run import RunRow
from penstock.model.spec import Params
from penstock.model.state import State
from penstock.store import bodies, fields, glance, rows
from penstock.store.connection import Connection
from penstock.store.fields import Asked, Clause
from penstock.store.filter import Joined, Tree, parse

_COLUMNS = glance.COLUMNS
_FROM = (
    " FROM run JOIN experiment ON experiment.id = run.experiment_id"
    " JOIN stage ON stage.id = run.stage_id JOIN submission ON submission.id = stage.submission_id"
)
_BATCH = 500
_FEW = 20_000  # runs: to look each of them up takes less than to find all of another part
_SHORTEST = 4  # digits of a uid that are enough; fewer are a number more likely
_SHOWN = 5  # runs that are named where a name fits several


def runs(
    view: Connection,
    words: str = "",
    *,
    project: str,
    sort: str = "",
    limit: int | None = None,
) -> list[RunRow]:
    """Return the runs that a filter lets through, sorted (``-metrics.acc,run``), else as made.

    Raises UsageError for a filter or an order that cannot be read.
    """
    where, is_rare = _where(view, words, project)
    order = fields.order(sort, view.now())
    if limit is not None and not is_rare:
        few = glance.first(view, Asked(words, view.now(), is_each=True), project, sort, limit)
        if few is not None:
            return _filled(view, few)
    sql = f"SELECT {_COLUMNS}{_FROM}{order.join.sql} WHERE {where.sql} ORDER BY {order.by.sql}"
    params: tuple[Any, ...] = (*order.join.params, *where.params, *order.by.params)
    if limit is not None:
        sql, params = sql + " LIMIT ?", (*params, limit)
    found = view.execute(sql, params)
    return [run for batch in _batches(found) for run in _filled(view, batch)]


def count(view: Connection, words: str = "", *, project: str, most: int | None = None) -> int:
    """Return how many runs a filter lets through; with ``most`` no further than one more."""
    where, is_rare = _where(view, words, project)
    tree = parse(words)
    if most is not None and not is_rare and tree is not None:
        each = fields.condition(tree, Asked(words, view.now(), is_each=True))  # it ends early
        where = Clause(f"experiment.project = ? AND {each.sql}", (project, *each.params))
    limit = "" if most is None else f" LIMIT {most + 1}"
    sql = f"SELECT count(*) FROM (SELECT 1{_FROM} WHERE {where.sql}{limit}) counted"
    row = view.one(sql, where.params)
    assert row is not None
    return int(row[0])


def run(view: Connection, name: str, *, project: str) -> RunRow | None:
    """Return the run of ``experiment/7``, of ``7`` where there is one experiment, or of a uid.

    Four digits or more of a uid are enough where no other begins so; NotFoundError where some do.
    """
    experiment, slash, number = name.rpartition("/")
    if number.isascii() and number.isdigit() and len(number) < 19:
        found = _by_number(view, experiment if slash else None, int(number), project)
        if found or slash:
            return found
    if len(name) < _SHORTEST or not set(name.lower()) <= set("0123456789abcdef"):
        return None
    return _by_uid(view, name.lower(), project)


def _by_number(
    view: Connection, experiment: str | None, number: int, project: str
) -> RunRow | None:
    where = Clause("experiment.project = ? AND run.number = ?", (project, number))
    if experiment is None:
        names = view.execute("SELECT name FROM experiment WHERE project = ?", (project,))
        several = [name for (name,) in islice(names, 2)]
        if len(several) > 1:
            return None
    else:
        where = Clause(where.sql + " AND experiment.name = ?", (*where.params, experiment))
    return next(iter(_some(view, where, 1)), None)


def _by_uid(view: Connection, start: str, project: str) -> RunRow | None:
    after = start + "g"  # no digit of a uid is greater
    where = Clause(
        "experiment.project = ? AND run.uid >= ? AND run.uid < ?", (project, start, after)
    )
    found = _some(view, where, _SHOWN)
    if len(found) > 1:
        names = ", ".join(f"{run.uid} ({run.name})" for run in found)
        raise NotFoundError(f"the uids of several runs begin with {start}", hint=f"such as {names}")
    return found[0] if found else None


def _some(view: Connection, where: Clause, limit: int) -> list[RunRow]:
    sql = f"SELECT {_COLUMNS}{_FROM} WHERE {where.sql} ORDER BY run.id LIMIT ?"
    return _filled(view, list(view.execute(sql, (*where.params, limit))))


def _where(view: Connection, words: str, project: str) -> tuple[Clause, bool]:
    """Return a filter's condition, and whether it surely holds for few runs.

    Then these are looked at one by one for parts of it that hold for many.
    """
    tree = parse(words)
    if tree is None:
        return Clause("experiment.project = ?", (project,)), False
    asked = Asked(words, view.now())
    parts = tree.parts if isinstance(tree, Joined) and tree.word == "AND" else (tree,)
    are_few = [_are_few(view, part, asked) for part in parts]
    each = replace(asked, is_each=True in are_few)
    found = [
        fields.condition(part, each if few is False else asked)
        for part, few in zip(parts, are_few, strict=True)
    ]
    sql = " AND ".join(("experiment.project = ?", *(part.sql for part in found)))
    params = (project, *(value for part in found for value in part.params))
    return Clause(sql, params), True in are_few


def _are_few(view: Connection, part: Tree, asked: Asked) -> bool | None:
    """Return whether a comparison of a parameter, metric or tag holds for few; None: it is none."""
    ids = fields.ids(part, asked)
    if ids is None:
        return None
    row = view.one(f"SELECT count(*) FROM ({ids.sql} LIMIT {_FEW + 1}) few", ids.params)
    return row is not None and row[0] <= _FEW


def _batches(found: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := list(islice(found, _BATCH)):
        yield batch


def _filled(view: Connection, batch: list[tuple[Any, ...]]) -> list[RunRow]:
    """Return rows with what stands of them in other tables."""
    ids = [row[0] for row in batch]
    told = _by_run(view, "key, told FROM param", ids, " AND told IS NOT NULL")
    tags = _by_run(view, "key, text FROM tag", ids)
    metrics = _by_run(view, "key, last FROM metric", ids)
    return [
        RunRow(
            id=row[0],
            uid=row[1],
            experiment=row[2],
            number=row[3],
            stage=row[4],
            state=State(row[5]),
            cause=row[6],
            attempt=row[7],
            params=_params(row[8], told.get(row[0], [])),
            tags=dict(tags.get(row[0], [])),
            metrics={
                key: float("nan") if last is None else last for key, last in metrics.get(row[0], [])
            },
            created_at=moment(row[9]),
            started_at=rows.time(row[10]),
            ended_at=rows.time(row[11]),
        )
        for row in batch
    ]


def _params(text: str, told: list[tuple[str, Any]]) -> Params:
    return bodies.params_of(text) | {key: json.loads(body) for key, body in told}


def _by_run(
    view: Connection, of: str, ids: list[int], where: str = ""
) -> dict[int, list[tuple[str, Any]]]:
    found: dict[int, list[tuple[str, Any]]] = {}
    if ids:
        marks = rows.marks(ids)
        sql = f"SELECT run_id, {of} WHERE run_id IN {marks}{where} ORDER BY run_id, key"
        for run_id, key, value in view.execute(sql, ids):
            found.setdefault(run_id, []).append((key, value))
    return found
