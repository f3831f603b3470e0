"""The fields that runs are searched and sorted by, as SQL. Values are always parameters."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock.errors import UsageError
from penstock.model.state import Cause, State
from penstock.store.filter import Comparison, Joined, Not, Token, Tree, fail
from penstock.store.values import searchable

GROUPS = {"params": "param", "metrics": "metric", "tags": "tag"}
_SPAN = re.compile(r"(-?\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SQL = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True)
class Clause:
    """A piece of SQL and its parameters."""

    sql: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a filter is read with: its text, for errors, and the time by the store's clock.

    Parameters, metrics and tags are looked up for each run (``is_each``), or all that fit first.
    """

    text: str
    now: float
    is_each: bool = False


# --- values ---------------------------------------------------------------------------------------

Read = Callable[[Token, Asked], Any]


def _number(token: Token, asked: Asked) -> float:
    try:
        return float(token.text)
    except ValueError:
        fail(asked.text, token.at, f"{token.text!r} is not a number")


def _text(token: Token, _: Asked) -> str:
    return searchable(token.text)


def _one_of(words: list[str]) -> Read:
    def read(token: Token, asked: Asked) -> str:
        if token.text.lower() not in words:
            fail(asked.text, token.at, f"{token.text!r} is none", f"one of {', '.join(words)}")
        return token.text.lower()

    return read


def _time(token: Token, asked: Asked) -> float:
    span = _SPAN.fullmatch(token.text)
    if span and float(span[1]) <= 0:
        return asked.now + float(span[1]) * _SECONDS[span[2]]
    try:
        return datetime.fromisoformat(token.text).astimezone().timestamp()
    except (ValueError, OverflowError):
        hint = "a date ('2024-11-20', '2024-11-20 14:00'), or -2h for two hours ago"
        fail(asked.text, token.at, f"{token.text!r} is not a time", hint)


def _duration(token: Token, asked: Asked) -> float:
    span = _SPAN.fullmatch(token.text)
    return float(span[1]) * _SECONDS[span[2]] if span else _number(token, asked)


# --- fields of a run ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A field of a run: its SQL, and how a value for it is read."""

    sql: str
    read: Read
    is_text: bool = False


NOW = "%now%"  # stands for a parameter: the time
FIELDS: dict[str, Field] = {
    "run": Field("(experiment.name || '/' || run.number)", _text, is_text=True),
    "number": Field("run.number", _number),
    "uid": Field("run.uid", _text, is_text=True),
    "experiment": Field("experiment.name", _text, is_text=True),
    "stage": Field("stage.name", _text, is_text=True),
    "state": Field("run.state", _one_of([state.value for state in State]), is_text=True),
    "cause": Field("run.cause", _one_of([cause.value for cause in Cause]), is_text=True),
    "attempt": Field("run.attempt", _number),
    "created": Field("submission.created_at", _time),
    "started": Field("run.started_at", _time),
    "ended": Field("run.ended_at", _time),
    "duration": Field(f"(coalesce(run.ended_at, {NOW}) - run.started_at)", _duration),
    "submission": Field("submission.uid", _text, is_text=True),
    "user": Field("submission.owner", _text, is_text=True),
    "cluster": Field("submission.cluster", _text, is_text=True),
}


def _unknown(name: str) -> tuple[str, str]:
    from difflib import get_close_matches  # noqa: PLC0415  only for a mistake

    near = get_close_matches(name.lower(), [*FIELDS, *GROUPS], 1)
    dotted = "" if "." in name else f"params.{name}, metrics.{name} or tags.{name}; "
    hint = f"did you mean {near[0]}?" if near else f"{dotted}fields are {', '.join(FIELDS)}"
    return f"there is no field {name!r}", hint


def split(name: str) -> tuple[str, str] | None:
    """Return table and key of ``params.lr``, ``tags."odd key"``; None where it is none of these."""
    group, dot, key = name.partition(".")
    if len(key) > 1 and key[0] == key[-1] and key[0] in "'\"":
        key = key[1:-1]
    return (GROUPS[group], key) if group in GROUPS and dot and key else None


# --- conditions -----------------------------------------------------------------------------------


def condition(tree: Tree, asked: Asked) -> Clause:
    """Return a filter as a condition on ``run`` and what it is joined with."""
    if isinstance(tree, Not):
        of = condition(tree.of, asked)
        if _is_keyed(tree.of):
            return Clause(f"NOT {of.sql}", of.params)
        return Clause(f"NOT coalesce({of.sql}, FALSE)", of.params)  # unknown is not so
    if isinstance(tree, Joined):
        parts = [condition(part, asked) for part in tree.parts]
        sql = "(" + f" {tree.word} ".join(part.sql for part in parts) + ")"
        return Clause(sql, tuple(value for part in parts for value in part.params))
    keyed = split(tree.field.text)
    if keyed is not None:
        return _in_table(*keyed, tree, asked)
    field = FIELDS.get(tree.field.text.lower())
    if field is None:
        fail(asked.text, tree.field.at, *_unknown(tree.field.text))
    return _of_run(field, tree, asked)


def _of_run(field: Field, tree: Comparison, asked: Asked) -> Clause:
    sql, times = field.sql.replace(NOW, "?"), (asked.now,) * field.sql.count(NOW)
    if tree.sign == "null":
        return Clause(f"{sql} IS NULL", times)
    if tree.sign in ("~", "!~"):
        if not field.is_text:
            fail(asked.text, tree.field.at, f"{tree.field.text} is no text", "use = < >")
        return _contains(sql, tree)
    compared = _compared(sql, tree, tuple(field.read(value, asked) for value in tree.values))
    return Clause(compared.sql, times + compared.params)


def _compared(sql: str, tree: Comparison, values: tuple[Any, ...]) -> Clause:
    if tree.sign == "in":
        return Clause(f"{sql} IN ({', '.join('?' * len(values))})", values)
    return Clause(f"{sql} {_SQL[tree.sign]} ?", values)


def _contains(sql: str, tree: Comparison) -> Clause:
    part = re.sub(r"([\\%_])", r"\\\1", searchable(tree.values[0].text).lower())
    word = "LIKE" if tree.sign == "~" else "NOT LIKE"
    return Clause(f"lower({sql}) {word} ? ESCAPE '\\'", (f"%{part}%",))


def _in_table(table: str, key: str, tree: Comparison, asked: Asked) -> Clause:
    """Return a condition on a run's parameters, metrics or tags; without any it does not hold."""
    no = "NOT " if tree.sign == "null" else ""
    if not asked.is_each:
        found = _rows(table, key, tree, asked)
        return Clause(f"{no}run.id IN ({found.sql})", found.params)
    found = _rows(table, key, tree, asked, " AND run_id = run.id")
    # OFFSET: else PostgreSQL would look at all rows, and join.
    return Clause(f"{no}EXISTS ({found.sql} LIMIT 1 OFFSET 0)", found.params)


def _rows(table: str, key: str, tree: Comparison, asked: Asked, of: str = "") -> Clause:
    """Return the ids of the runs that a comparison holds for; "is null": that have one."""
    sql = f"SELECT run_id FROM {table} WHERE key = ?{of}"
    if tree.sign == "null":
        has = " AND (number IS NOT NULL OR text IS NOT NULL)" if table == "param" else ""
        return Clause(sql + has, (key,))
    each = _united([_value(table, tree, value, asked) for value in tree.values])
    some = " OR ".join(one.sql for one in each)
    return Clause(f"{sql} AND ({some})", (key, *(value for one in each for value in one.params)))


def _united(each: list[Clause]) -> list[Clause]:
    """Return ``number IN (…)`` for many ``number = ?``: one range of an index, and not a walk."""
    of: dict[str, list[Clause]] = {}
    for one in each:
        of.setdefault(one.sql, []).append(one)
    return [
        Clause(f"{sql.removesuffix(' = ?')} IN ({', '.join('?' * len(some))})",
               tuple(value for one in some for value in one.params))
        if len(some) > 1 and sql.endswith(" = ?") else some[0]
        for sql, some in of.items()
    ]  # fmt: skip


def _is_keyed(tree: Tree) -> bool:
    return isinstance(tree, Comparison) and split(tree.field.text) is not None


def ids(tree: Tree, asked: Asked) -> Clause | None:
    """Return what asks for the ids of the runs with a parameter, metric or tag; None: no such."""
    if not isinstance(tree, Comparison) or tree.sign == "null":
        return None
    keyed = split(tree.field.text)
    return _rows(*keyed, tree, asked) if keyed else None


def _value(table: str, tree: Comparison, value: Token, asked: Asked) -> Clause:
    """Return a condition on a row of a table; without quotes what reads so is a number."""
    sign = "=" if tree.sign == "in" else tree.sign
    if table == "metric":
        return _metric(sign, tree, value, asked)
    if sign in ("~", "!~"):
        return _contains("text", tree)
    try:
        number = float(value.text) if value.kind == "word" else None
    except ValueError:
        number = None
    column, wanted = ("text", _text(value, asked)) if number is None else ("number", number)
    if sign == "!=":
        return Clause(f"({column} <> ? OR {column} IS NULL)", (wanted,))
    return Clause(f"{column} {_SQL[sign]} ?", (wanted,))


def _metric(sign: str, tree: Comparison, value: Token, asked: Asked) -> Clause:
    if sign in ("~", "!~"):
        fail(asked.text, tree.field.at, "metrics are numbers", "use = < >")
    number = _number(value, asked)
    if number == number:  # noqa: PLR0124  not NaN
        return Clause(f"last {_SQL[sign]} ?", (number,))
    if sign not in ("=", "!="):
        fail(asked.text, value.at, "nan is neither less nor more than anything", "use = or !=")
    return Clause("last IS NULL" if sign == "=" else "last IS NOT NULL")


# --- order ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What rows are sorted by; ``join`` brings it in."""

    by: Clause
    join: Clause


def number_of(table: str) -> str:
    """Return the column that runs are sorted by first."""
    return "last" if table == "metric" else "number"


def order(sort: str, now: float) -> Order:
    """Return the order of ``-metrics.acc,run``. Raises UsageError. What is missing comes last."""
    terms: list[Clause] = []
    joins: list[Clause] = []
    for name in filter(None, (part.strip() for part in sort.split(","))):
        bare, direction = name.lstrip("-+"), "DESC" if name.startswith("-") else "ASC"
        keyed = split(bare)
        if keyed is not None:
            alias = f"sorted{len(joins)}"
            table, key = keyed
            join = f" LEFT JOIN {table} {alias} ON {alias}.run_id = run.id AND {alias}.key = ?"
            joins.append(Clause(join, (key,)))
            columns = [number_of(table)] if table == "metric" else [number_of(table), "text"]
            terms += [_term(f"{alias}.{column}", direction) for column in columns]
        elif bare == "run":
            terms += [_term("experiment.name", direction), _term("run.number", direction)]
        elif bare in FIELDS:
            terms.append(_term(FIELDS[bare].sql, direction, now))
        else:
            what, hint = _unknown(bare)
            raise UsageError(f"cannot sort by {bare!r}: {what}", hint=hint)
    terms.append(Clause("run.id"))
    return Order(_together(terms, ", "), _together(joins, ""))


def _term(sql: str, direction: str, now: float = 0) -> Clause:
    times = (now,) * sql.count(NOW) * 2
    sql = sql.replace(NOW, "?")
    return Clause(f"({sql}) IS NULL, {sql} {direction}", times)


def _together(clauses: list[Clause], between: str) -> Clause:
    sql = between.join(clause.sql for clause in clauses)
    return Clause(sql, tuple(value for clause in clauses for value in clause.params))
