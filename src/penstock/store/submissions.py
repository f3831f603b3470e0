"""Insert submissions: all of their runs, READY, or nothing."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple, TypeAlias

from penstock.clock import stamp
from penstock.model.spec import Params, Stage, Value
from penstock.model.state import State
from penstock.store import bodies, values
from penstock.store.connection import Connection

_BATCH = 1000  # runs in memory at a time


@dataclass(frozen=True)
class NewSubmission:
    """What is known of a submission before its runs."""

    uid: str
    project: str
    experiment: str
    user: str
    cluster: str
    spec_text: str
    folder: str
    file: str
    code: str | None  # digest of the archive
    stages: tuple[Stage, ...]
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Submitted:
    """What became of it: its runs have the numbers ``first`` to ``last`` (first - 1: none)."""

    submission: int
    uid: str
    experiment: str
    first: int
    last: int


class Param(NamedTuple):
    """A parameter as it is stored: the runs of a grid share theirs, so it is made for all once."""

    json: str  # "lr":0.1
    columns: tuple[str, float | None, str | None]  # key, and a number or a text


def param(name: str, value: Value) -> Param:
    """Return a parameter as it is stored."""
    json = f"{bodies.compact(name)}:{bodies.compact(value)}"
    return Param(json, (name, *values.columns(value)))


def params(of: Params) -> list[Param]:
    """Return the parameters of one run as they are stored."""
    return [param(name, value) for name, value in of.items()]


def insert(
    tx: Connection,
    submission: NewSubmission,
    runs: Iterable[tuple[int, Sequence[Param]]],
    now: datetime,
) -> Submitted:
    """Store a submission. ``runs`` yields the position of a stage and the parameters of each run.

    The runs are streamed: a hundred thousand take no more memory than a thousand.
    """
    experiment, first = _experiment(tx, submission.project, submission.experiment)
    made = _submission(tx, submission, experiment, now)
    stages = _stages(tx, made, submission.stages)
    tags = [(key, *values.tag_columns(text)) for key, text in submission.tags]
    number = first
    for batch in _batches(runs):
        ids = range(base := tx.reserve("run"), base + len(batch))
        numbers = range(number, number + len(batch))
        _insert_runs(
            tx, experiment, stages, zip(ids, numbers, _uids(len(batch)), batch, strict=True)
        )
        _insert_params(tx, ids, batch)
        _insert_tags(tx, ids, tags)
        number += len(batch)
    tx.execute("UPDATE experiment SET next_number = ? WHERE id = ?", (number, experiment))
    return Submitted(made, submission.uid, submission.experiment, first, number - 1)


_Run: TypeAlias = tuple[int, Sequence[Param]]


def _batches(runs: Iterable[_Run]) -> Iterator[list[_Run]]:
    left = iter(runs)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _uids(count: int) -> list[str]:
    """Return as many random names of runs, with one call for all."""
    digits = os.urandom(8 * count).hex()
    return [digits[at : at + 16] for at in range(0, len(digits), 16)]


def _experiment(tx: Connection, project: str, name: str) -> tuple[int, int]:
    """Return id and next number of an experiment, made if it is new, and ours until the commit."""
    tx.execute(
        "INSERT INTO experiment (id, project, name, next_number) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (project, name) DO UPDATE SET next_number = experiment.next_number",
        (tx.reserve("experiment"), project, name),
    )
    row = tx.one(
        "SELECT id, next_number FROM experiment WHERE project = ? AND name = ?", (project, name)
    )
    assert row is not None
    return row[0], row[1]


def _submission(tx: Connection, new: NewSubmission, experiment: int, now: datetime) -> int:
    made = tx.reserve("submission")
    tx.execute(
        "INSERT INTO submission (id, uid, experiment_id, owner, cluster, spec, folder, file, code,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            made,
            new.uid,
            experiment,
            new.user,
            new.cluster,
            new.spec_text,
            new.folder,
            new.file,
            new.code,
            stamp(now),
        ),
    )
    return made


def _stages(tx: Connection, submission: int, stages: tuple[Stage, ...]) -> list[int]:
    first = tx.reserve("stage")
    tx.executemany(
        "INSERT INTO stage (id, submission_id, position, name, body) VALUES (?, ?, ?, ?, ?)",
        [
            (first + position, submission, position, stage.name, bodies.stage_text(stage))
            for position, stage in enumerate(stages)
        ],
    )
    return [first + position for position in range(len(stages))]


def _insert_runs(
    tx: Connection,
    experiment: int,
    stages: list[int],
    rows: Iterable[tuple[int, int, str, _Run]],
) -> None:
    ready = State.READY.value
    tx.insert(
        "run (id, uid, experiment_id, number, stage_id, state, attempt, params)",
        (
            (run, uid, experiment, number, stages[position], ready, 0, _json(params))
            for run, number, uid, (position, params) in rows
        ),
    )


def _json(params: Sequence[Param]) -> str:
    return "{" + ",".join([one.json for one in params]) + "}"


def _insert_params(tx: Connection, ids: range, batch: list[_Run]) -> None:
    tx.insert(
        "param (run_id, key, number, text)",
        (
            (run, *one.columns)
            for run, (_, params) in zip(ids, batch, strict=True)
            for one in params
        ),
    )


def _insert_tags(tx: Connection, ids: range, tags: list[tuple[str, float | None, str]]) -> None:
    if tags:
        tx.insert("tag (run_id, key, number, text)", ((run, *tag) for run in ids for tag in tags))
