"""Fill a project's store with runs that have ended, as a sweep of months would."""

import os
import secrets
import sys
from datetime import datetime, timedelta
from pathlib import Path

from penstock.clock import SystemClock
from penstock.model.evidence import Transition
from penstock.model.run import Array, Intent, Limits
from penstock.model.spec import Stage
from penstock.model.state import Cause, State
from penstock.planning.arrays import plan
from penstock.service.init import init
from penstock.store import attempts, submissions
from penstock.store.connection import Connection, Store, open_store
from penstock.testing.factories import make_new_submission

EACH = 10_000  # runs of an experiment
ARRAY = 1000


def main(folder: Path, runs: int) -> None:
    """Insert, plan and end them by the store's own verbs."""
    settings = init(folder).settings
    store = open_store(settings.store_url)
    for number in range(0, runs, EACH):
        size = min(EACH, runs - number)
        _experiment(store, settings.project_name, f"sweep-{number // EACH}", size)


def _experiment(store: Store, project: str, name: str, runs: int) -> None:
    now = SystemClock().now()
    who = {"user": os.environ["USER"], "cluster": "bench"}
    new = make_new_submission(
        project=project,
        experiment=name,
        stages=(Stage("main", ("train",)),),
        **who,
    )
    grid = [(0, submissions.params({"lr": 0.001 * n, "seed": n})) for n in range(runs)]
    with store.write() as tx:
        submissions.insert(tx, new, grid, now)
        rows = attempts.stages(tx, attempts.ready_stages(tx, **who))
        planned = list(plan(attempts.ready(tx, **who), rows, Limits(max_array_size=ARRAY), None))
        for one in planned:
            array = attempts.insert_array(tx, one, token=secrets.token_hex(8), now=now, **who)
            attempts.update_array(tx, array.id, intent=Intent.FOLDED, job=array.id)
            _end(tx, array, now)


def _end(tx: Connection, array: Array, now: datetime) -> None:
    """End all runs of an array: one in twenty failed."""
    told = [
        Transition(
            known.attempt,
            State.COMPLETED if index % 20 else State.FAILED,
            None if index % 20 else Cause.EXIT,
            started_at=now,
            ended_at=now + timedelta(seconds=60 + index),
            exit_code=0 if index % 20 else 1,
            node="n1",
            why=(("record", "exit"),),
        )
        for index, known in attempts.known(tx, array.id).items()
    ]
    attempts.apply(tx, told, now)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
