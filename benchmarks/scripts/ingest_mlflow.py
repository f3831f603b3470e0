"""Log points into MLflow's store (SQLite, or a URL), in its largest batches; print what it took."""

import json
import logging
import random
import sys
import time
from pathlib import Path

from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

BATCH = 1000  # MLflow refuses more at once


def main(folder: Path, runs: int, points: int, url: str = "") -> None:
    """Time only log_batch, of the store itself: no server and no client stand before it."""
    folder.mkdir(parents=True)
    file = folder / "mlflow.db"
    store = SqlAlchemyStore(url or f"sqlite:///{file}", str(folder / "artifacts"))
    noise = random.Random(1)
    taken_s = 0.0
    for number in range(runs):
        run = store.create_run("0", "bench", 0, [], f"run {number}").info.run_id
        curve = [
            Metric("loss", noise.gauss(1, 0.1), 1_700_000_000_000 + 50 * step, step)
            for step in range(points)
        ]
        began = time.perf_counter()
        for start in range(0, points, BATCH):
            store.log_batch(run, curve[start : start + BATCH], [], [])
        taken_s += time.perf_counter() - began
    told = runs * points
    print(
        json.dumps({"points": told, "seconds": taken_s, "bytes": 0 if url else file.stat().st_size})
    )


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
