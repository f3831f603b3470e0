"""Search among very many runs, in a store of any kind; print what each filter took as JSON."""

import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import datetime

from penstock.clock import SystemClock
from penstock.model.spec import Request, Stage
from penstock.store import search, submissions
from penstock.store.connection import Connection, Store, open_store
from penstock.testing.factories import make_new_submission

SHOWN = 50  # as on a terminal
EACH = 50_000  # runs of a submission
ROUNDS = 5
# Few runs, many runs, and several conditions; the last ones in an order of their own.
FILTERS = (
    ("metrics.acc > 0.9999", ""),
    ("metrics.acc > 0.5", ""),
    ("params.lr <= 0.01 and metrics.acc > 0.99", ""),
    ("state = failed and params.model = cnn", ""),
    ("experiment = sweep3 and params.depth in (4, 8)", ""),
    ("metrics.acc > 0.999", "-metrics.acc"),
    ("state = completed", "-metrics.acc"),
)


def main(url: str, runs: int) -> None:
    """Fill the store once, then time the filters."""
    store = open_store(url, create=True)
    began = time.perf_counter()
    for first in range(0, runs, EACH):
        _fill(store, first, min(EACH, runs - first))
    filled_s = time.perf_counter() - began
    with store.write() as tx:
        tx.execute("ANALYZE")  # as PostgreSQL does by itself within a minute
    taken: dict[str, float] = {}
    found: dict[str, int] = {}
    for words, sort in FILTERS:
        name = f"{words} by {sort}" if sort else words
        seconds, shown = [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            with store.read() as view:
                shown = search.runs(view, words, project="bench", sort=sort, limit=SHOWN)
            seconds.append(time.perf_counter() - began)
        taken[name] = statistics.median(seconds)
        found[name] = len(shown)
    print(json.dumps({"filled": filled_s, "seconds": taken, "found": found}))


def _fill(store: Store, first: int, runs: int) -> None:
    noise = random.Random(first)
    new = make_new_submission(
        project="bench",
        experiment=f"sweep{first // EACH % 5}",
        stages=(Stage("main", ("train",), request=Request(cpus=1)),),
        user="bench",
        cluster="bench",
    )
    with store.write() as tx:
        made = tx.reserve("run")
        submissions.insert(tx, new, ((0, one) for one in _grid(noise, runs)), _now())
        _end(tx, range(made, made + runs), noise)


def _now() -> datetime:
    return SystemClock().now()


def _grid(noise: random.Random, runs: int) -> Iterator[list[submissions.Param]]:
    for _ in range(runs):
        model = noise.choice(("cnn", "mlp", "gru"))
        yield submissions.params(
            {"lr": 10 ** noise.uniform(-4, 0), "depth": noise.randrange(2, 20), "model": model}
        )


def _end(tx: Connection, runs: range, noise: random.Random) -> None:
    """Let runs end, one in a hundred badly, and have two metrics."""
    bad = [(run,) for run in runs if noise.random() < 0.01]
    tx.execute(
        "UPDATE run SET state = 'completed', attempt = 1, started_at = 1e9, ended_at = 1e9 + 60"
        " WHERE id BETWEEN ? AND ?",
        (runs[0], runs[-1]),
    )
    tx.executemany("UPDATE run SET state = 'failed', cause = 'exit' WHERE id = ?", bad)
    tx.executemany(
        "INSERT INTO metric (run_id, key, attempt, restart, last, step, min, max, count)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (run, key, 1, 0, noise.random(), 100, 0.0, 1.0, 100)
            for run in runs
            for key in ("acc", "loss")
        ],
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
