"""One cycle over many unfinished runs, of which few have changed.

    cycle_penstock.py prepare FOLDER RUNS CHANGED    fill a store, write spools and squeue's answers
    cycle_penstock.py look FOLDER first|later        do one cycle; print what it took, as JSON

Between the two looks half of the changed runs end, with a record, and half begin: some in each
array. What squeue prints is read from a file: its own time is not measured.
"""

import json
import os
import resource
import secrets
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from penstock.clock import SystemClock
from penstock.errors import SchedulerError
from penstock.model.evidence import Poll
from penstock.model.run import Array, Capabilities, Intent, Limits
from penstock.model.spec import Request, Stage
from penstock.planning.arrays import plan
from penstock.reconciler.cycle import cycle
from penstock.reconciler.world import World
from penstock.scheduler import parse
from penstock.scheduler.protocol import Submission
from penstock.service.init import init
from penstock.settings.files import load
from penstock.store import attempts, submissions
from penstock.store.connection import Store, open_store
from penstock.testing.factories import make_new_submission
from penstock.transport.local import LocalTransport
from penstock.wire import place, spool

ARRAY = 1000  # runs: as MaxArraySize is
BEGAN = timedelta(minutes=10)  # ago
WHO: dict[str, Any] = {"user": "bench", "cluster": "bench"}
HEAD = "JOBID|ARRAY_JOB_ID|JOBID|STATE|REASON|PARTITION|SUBMIT|START|END|NODES|USER|NAME|.\n"


class Printed:
    """A scheduler whose answer is in a file; nothing else is asked of it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def capabilities(self) -> Capabilities:
        """Return what it can do."""
        return Capabilities("slurm", (22, 5, 8), WHO["cluster"], has_accounting=True)

    def observe(self) -> Poll:
        """Return what squeue printed."""
        return parse.queue(self.file.read_text(), datetime.now(UTC))

    def limits(self) -> Limits:
        """Say that this is not asked."""
        raise SchedulerError("not asked here")

    def check(self, submission: Submission) -> None:
        """Say that this is not asked."""
        raise SchedulerError(f"not asked here: {submission.token}")

    def submit(self, submission: Submission) -> int:
        """Say that this is not asked."""
        raise SchedulerError(f"not asked here: {submission.token}")

    def history(self, jobs: Iterable[int], *, since: datetime) -> Poll:
        """Say that this is not asked: each end has its record."""
        raise SchedulerError(f"not asked here: {list(jobs)} since {since}")

    def find(self, token: str, *, since: datetime) -> Poll:
        """Say that this is not asked."""
        raise SchedulerError(f"not asked here: {token} since {since}")

    def cancel(self, targets: Iterable[tuple[int, int | None]]) -> None:
        """Say that this is not asked."""
        raise SchedulerError(f"not asked here: {list(targets)}")


# --- prepare ---


def prepare(folder: Path, runs: int, changed: int) -> None:
    """Fill a store with arrays that are with the scheduler, and write what is seen at two looks."""
    init(folder)
    settings = load(folder)
    store = open_store(settings.store_url)
    for _ in range(runs // ARRAY):
        _insert(store)
    with store.read() as view:
        arrays = attempts.arrays(view, **WHO, intents=[Intent.ACCEPTED])
    some = changed // 2 // len(arrays)
    for array in arrays:
        (settings.home / "arrays" / array.token / place.SPOOLS / "0").mkdir(parents=True)
        for index in range(2 * some):
            _begin(settings.home, array, index)
    (folder / "first").write_text(_queue(arrays, 0, 2 * some))
    (folder / "later").write_text(_queue(arrays, some, 3 * some))
    (folder / "some").write_text(str(some))


def _insert(store: Store) -> None:
    now = SystemClock().now()
    new = make_new_submission(
        project="bench",
        experiment="many",
        stages=(Stage("main", ("train",), request=Request(cpus=1)),),
        **WHO,
    )
    grid = [(0, submissions.params({"lr": 0.001 * number})) for number in range(ARRAY)]
    with store.write() as tx:
        submissions.insert(tx, new, grid, now)
        rows = attempts.stages(tx, attempts.ready_stages(tx, **WHO))
        limits = Limits(max_array_size=ARRAY)
        (planned,) = plan(attempts.ready(tx, **WHO), rows, limits, None)
        token = f"ps-{secrets.token_hex(8)}"
        array = attempts.insert_array(tx, planned, token=token, now=now, **WHO)
        job = 1000 + 2 * ARRAY * array.id
        attempts.update_array(tx, array.id, intent=Intent.ACCEPTED, job=job, sent_at=now - BEGAN)


def _begin(home: Path, array: Array, index: int) -> None:
    """Open the spool of a run that has begun."""
    at = time.time() - 60
    head = {"token": array.token, "index": index, "restart": 0, "job": f"{array.job}_{index}"}
    lines = spool.encode({"k": "open", "at": at, **head, "node": "n1", "pid": 1})
    lines += spool.encode({"k": "start", "at": at, "argv": ["train"], "folder": "/scratch/1"})
    (home / "arrays" / array.token / place.spool(index, 0)).write_bytes(lines)


def _end(home: Path, array: Array, index: int) -> None:
    """Close it as a run that has ended does."""
    path = home / "arrays" / array.token / place.spool(index, 0)
    said = {"code": 0, "signal": None, "cause": None, "detail": "", "peak": 1 << 28, "cpu": 40.0}
    record: dict[str, object] = {
        "k": "exit",
        "at": time.time(),
        **said,
        "wall": 50.0,
        "sealed": True,
    }
    with path.open("ab") as file:
        file.write(spool.encode(record))
    path.rename(home / "arrays" / array.token / place.spool(index, 0, done=True))


def _queue(arrays: list[Array], first: int, last: int) -> str:
    """Return what squeue prints: the runs between these run, those after them wait."""
    submit = (datetime.now(UTC) - BEGAN).strftime("%Y-%m-%dT%H:%M:%S+0000")
    lines = [HEAD]
    for array in arrays:
        job = array.job or 0
        rest = f"{job}_[{last}-{ARRAY - 1}]|{job}|{job}|PENDING|Priority|batch|{submit}|N/A|N/A|"
        lines.append(f"{rest}|bench|{array.token}.many|.\n")
        for index in range(first, last):
            running = f"{job}_{index}|{job}|{job + index + 1}|RUNNING|None|batch|"
            lines.append(f"{running}{submit}|{submit}|N/A|n1|bench|{array.token}.many|.\n")
    return "".join(lines)


# --- look ---


def look(folder: Path, name: str) -> None:
    """Do one cycle."""
    settings = load(folder)
    store = open_store(settings.store_url)
    world = World(
        settings=settings,
        store=store,
        scheduler=Printed(folder / name),
        transport=LocalTransport(),
        clock=SystemClock(),
        user=WHO["user"],
        uid=os.getuid(),
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    report = cycle(world)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    told = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb, "odd": report.odd}
    with store.read() as view:
        states = dict(view.execute("SELECT state, count(*) FROM run GROUP BY 1"))
    print(json.dumps(told | {"changed": report.changed, "states": states}))


def change(folder: Path) -> None:
    """Let some runs of each array end, and some begin."""
    settings = load(folder)
    some = int((folder / "some").read_text())
    with open_store(settings.store_url).read() as view:
        arrays = attempts.arrays(view, **WHO, intents=[Intent.ACCEPTED])
    for array in arrays:
        for index in range(some):
            _end(settings.home, array, index)
        for index in range(2 * some, 3 * some):
            _begin(settings.home, array, index)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]), *(int(word) for word in sys.argv[3:5]))
    elif sys.argv[1] == "change":
        change(Path(sys.argv[2]))
    else:
        look(Path(sys.argv[2]), sys.argv[3])
