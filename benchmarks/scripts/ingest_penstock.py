"""Bring the spools of many runs into a store, as each cycle does; print what it took as JSON."""

import json
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import cast

from penstock.clock import SystemClock
from penstock.model.run import Array, Intent, Limits
from penstock.model.spec import Request, Stage
from penstock.planning.arrays import plan
from penstock.reconciler.collect import collect
from penstock.reconciler.world import World
from penstock.runner.points import Points
from penstock.scheduler.protocol import Scheduler
from penstock.service.init import init
from penstock.store import attempts, submissions
from penstock.store.connection import Store, open_store
from penstock.testing.factories import make_new_submission
from penstock.transport.local import LocalTransport
from penstock.wire import place, spool

A_SECOND = 20  # steps of a training loop: the runner writes what came in a second as one record


def main(folder: Path, runs: int, points: int, looks: int) -> None:
    """Write the spools part by part, and time only how their points come into the store."""
    world = _world(folder)
    array = _array(world, runs)
    parts = [_parts(index, points, looks) for index in range(runs)]
    told = sum(points_of for _, points_of in parts)
    taken_s = 0.0
    for look in range(looks):
        for index, (data, _) in enumerate(parts):
            _append(world.folder(array.token), index, data[look])
        began = time.perf_counter()
        collect(world, [array], [])
        taken_s += time.perf_counter() - began
    with world.store.read() as view:
        stored = view.one("SELECT sum(count) FROM metric")
    if stored != (told,):
        raise SystemExit(f"{told} points were told, and {stored} are stored")
    size = _size(world.store)
    print(json.dumps({"points": told, "seconds": taken_s, "bytes": size}))


def _size(store: Store) -> int:
    """Return the bytes of a store: of its file, or of its database."""
    if store.dialect.path is not None:
        return store.dialect.path.stat().st_size
    with store.read() as view:
        row = view.one("SELECT pg_database_size(current_database())")
    return int(row[0]) if row else 0


def _world(folder: Path) -> World:
    settings = init(folder).settings
    return World(
        settings=settings,
        store=open_store(settings.store_url),
        scheduler=cast(Scheduler, None),  # spools are read without it
        transport=LocalTransport(),
        clock=SystemClock(),
        user="bench",
        uid=os.getuid(),
    )


def _array(world: World, runs: int) -> Array:
    now = world.clock.now()
    who = {"user": "bench", "cluster": "bench"}
    new = make_new_submission(
        project="bench",
        experiment="curves",
        stages=(Stage("main", ("train",), request=Request(cpus=1)),),
        **who,
    )
    grid = [(0, submissions.params({"lr": 0.001 * number})) for number in range(runs)]
    with world.store.write() as tx:
        submissions.insert(tx, new, grid, now)
        rows = attempts.stages(tx, attempts.ready_stages(tx, **who))
        limits = Limits(max_array_size=runs)
        (planned,) = plan(attempts.ready(tx, **who), rows, limits, None)
        array = attempts.insert_array(tx, planned, token="bench", now=now, **who)
        attempts.update_array(tx, array.id, intent=Intent.ACCEPTED, job=1)
    return array


def _parts(index: int, points: int, looks: int) -> tuple[list[bytes], int]:
    """Return a run's spool in as many parts as there are looks, and how many points it has.

    A loss at each step, and an accuracy at each tenth, both noisy, at irregular times.
    """
    noise = random.Random(index)
    at, columns, lines = 1.7e9 + index, Points(), []
    head = {"token": "bench", "index": index, "restart": 0, "job": f"1_{index}", "node": "n1"}
    lines.append(spool.encode({"k": "open", "at": at, **head, "pid": 1}))
    lines.append(spool.encode({"k": "start", "at": at, "argv": ["train"], "folder": "/scratch/1"}))
    count = 0
    for step in range(points * 10 // 11):
        at += noise.uniform(0.04, 0.06)
        loss = 2.3 * math.exp(-step / 300) + 0.1 + noise.gauss(0, 0.03)
        columns.add("loss", loss, step, at)
        count += 1
        if step % 10 == 9:
            columns.add("accuracy", 1 - loss / 2.5 + noise.gauss(0, 0.01), step, at)
            count += 1
        if step % A_SECOND == A_SECOND - 1:
            lines += [spool.encode(record) for record in columns.take()]
    lines += [spool.encode(record) for record in columns.take()]
    ended = {"code": 0, "signal": None, "cause": None, "detail": "", "peak": 1 << 28, "cpu": 40.0}
    lines.append(spool.encode({"k": "exit", "at": at, **ended, "wall": 50.0, "sealed": True}))
    size = math.ceil(len(lines) / looks)
    return [b"".join(lines[look * size : (look + 1) * size]) for look in range(looks)], count


def _append(folder: Path, index: int, data: bytes) -> None:
    path = folder / place.spool(index, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:5]))
