"""Simulate a cluster over days with a steady load: the real reconciler and store, and the model.

Sweeps come at random times, their commands end in all ways, calls of Slurm's programs fail now and
then, users and machines do something about once an hour, and cycles run as often as from cron. At
the end every run is judged by what really was. Prints what it took, as JSON.
"""

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from penstock.errors import PenstockError
from penstock.model.spec import Request, Stage
from penstock.model.state import FINAL, State
from penstock.planning.pace import Pace, after
from penstock.reconciler.cycle import cycle
from penstock.settings import Settings
from penstock.store import submissions
from penstock.store.connection import open_store
from penstock.testing import draw, witness
from penstock.testing.accounting import Row
from penstock.testing.draw import USER
from penstock.testing.factories import make_new_submission
from penstock.testing.files import MemoryFiles
from penstock.testing.hosts import Host
from penstock.testing.judge import Verdict
from penstock.testing.mischief import Mischief
from penstock.testing.runners import Execution, Runners
from penstock.testing.site import ROOT, NodeKind, Partition, Site
from penstock.testing.transport import Fault, ModelTransport
from penstock.wire import place

DAY_S = 86_400.0
HEAL_S = 6 * 3600.0
MISCHIEF_S = 3600.0  # on average
SWEEP = 50  # runs
LOST_CALLS = 0.005
HOME = Path("/project/.penstock")  # in memory
BOUNDS_S = (10.0, 120.0)  # of the pace: as Penstock is installed


class Folders(MemoryFiles):
    """Files in memory, found by the folder of their array; what was folded is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._of: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)

    def append(self, path: str, data: bytes) -> None:
        """Append to a file."""
        super().append(path, data)
        self._note(path)

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        super().rename(old, new)
        self._of[_folder(old)].pop(old, None)
        self._note(new)

    def close(self, folder: str) -> None:
        """Take the manifest away."""
        self.files.pop(f"{folder}/{place.MANIFEST}", None)

    def fold(self, folder: str) -> None:
        """Remove what was read to its end."""
        for path in self._of.pop(folder, {}):
            del self.files[path]

    def _note(self, path: str) -> None:
        index, restart, end = path.rsplit("/", 1)[-1].split(".")
        if end in ("open", "done"):
            self._of[_folder(path)][path] = int(index), int(restart)

    def _spools(self, folder: str) -> Iterable[tuple[int, int, str]]:
        return [(*numbers, path) for path, numbers in self._of.get(folder, {}).items()]


def _folder(path: str) -> str:
    return path.partition(f"/{place.SPOOLS}/")[0]


class Remembering(witness.Witness):
    """A witness that finds the segments of one array among those of days."""

    def by_element(self) -> dict[tuple[str, int], list[Row]]:
        """Return all segments, the oldest first, by token and index."""
        found: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for _, (name, row) in sorted(self._truth.items()):
            indices = {row.index} if row.index is not None else witness.indices(row.rest)
            for index in indices:
                found[name.partition(".")[0], index].append(row)
        return found


def site() -> Site:
    """Return a cluster with room for the load, and not much more."""
    return Site(
        nodes=tuple(NodeKind(f"n{number}", cpus=4) for number in range(1, 5)),
        partitions=(
            Partition("batch", 1, 86_400, 600, is_default=True, preempt="REQUEUE"),
            Partition("urgent", 10, 7_200, 600),
        ),
        users=(ROOT, USER, draw.OTHER),
        min_job_age_s=300,
        accounting_lag_s=5,
        requeue_wait_s=120,
        purge_every_s=60,
    )


@dataclass(frozen=True)
class Judged:
    """What became of the runs."""

    doubled: list[str]
    wrong: list[str]
    stuck: list[str]


class Days:
    """Days on a cluster, from one seed."""

    def __init__(self, seed: int, days: int, daily: int, every_s: int, folder: Path) -> None:
        self.random = Random(seed)
        self.cluster = Remembering(site(), seed=seed)
        self.transport = ModelTransport(self.cluster, user=USER.name)
        self.files = Folders()
        self.transport.memory = self.transport.files = self.files
        self.transport.fault = self._spoil
        self.runners = Runners(
            self.cluster,
            self.files,
            lambda process: draw.command(self.random, process.restart, is_brisk=False),
            seed,
        )
        self.mischief = Mischief(self.cluster, self.random, lambda _: None)
        open_store(f"sqlite:///{folder / 'penstock.db'}", create=True).close()
        self.host = Host("one", self.cluster, self.transport, Settings(root=folder, home=HOME))
        self.began_at = self.cluster.now
        self.days, self.daily, self.every_s = days, daily, every_s
        self.pace = Pace()
        self.is_over = False
        self.open: set[int] = set()
        self.runs = self.cycles = 0
        self.decided: dict[int, tuple[float, float]] = {}

    def _spoil(self, _argv: list[str]) -> Fault | None:
        if self.is_over or self.random.random() >= LOST_CALLS:
            return None
        never = Fault.MISSING, Fault.REJECT  # these are no accidents
        return self.random.choice([fault for fault in draw.LOST_CALLS if fault not in never])

    def run(self) -> None:
        """Let them pass, and then let all come to an end."""
        end = self.began_at + self.days * DAY_S
        sweeps = self.days * self.daily // SWEEP
        due = sorted(self.random.uniform(0, self.days * DAY_S) for _ in range(sweeps))
        heal_at = forget_at = self.began_at
        while self.cluster.now < end or self.open:
            if self.cluster.now >= end:
                self.is_over, heal_at = True, self.cluster.now
            while due and self.began_at + due[0] <= self.cluster.now:
                due.pop(0)
                self._submit(SWEEP)
            if not self.is_over and self.random.random() < self.every_s / MISCHIEF_S:
                self.mischief.happen()
            if self.cluster.now >= heal_at:
                self._heal()
                heal_at += HEAL_S
            if self.cluster.now >= forget_at:
                self._forget()
                forget_at += DAY_S
            self.cluster.advance(self.every_s)
            if self.open:
                self._cycle()

    def _submit(self, size: int) -> None:
        request = Request(mem_mb=100, time_s=self.random.choice([600, 3600]))
        stage = Stage("main", ("true",), request=request)
        new = make_new_submission(
            uid=str(self.random.getrandbits(60)),
            user=USER.name,
            cluster=self.cluster.site.name,
            stages=(stage,),
        )
        first = self.runs
        runs = [(0, submissions.params({"x": first + number})) for number in range(size)]
        with self.host.store.write() as tx:
            submissions.insert(tx, new, runs, self.cluster.clock.now())
        self.open |= set(range(self.runs + 1, self.runs + size + 1))
        self.runs += size

    def _cycle(self) -> None:
        """Do as ``service.upkeep`` does."""
        self.cycles += 1
        began_at, now = self.cluster.now, self.cluster.clock.now()
        look = self.pace.is_due(now)
        try:
            report = cycle(self.host.world, look=look)
        except PenstockError as error:
            if "bug" in error.hint:
                raise
            return
        if look:
            changed = bool(report.changed or report.sent)
            failed = not report.polled
            self.pace = after(self.pace, now, changed=changed, failed=failed, bounds_s=BOUNDS_S)
        if report.ended:
            with self.host.store.read() as view:
                ended = view.execute(_OVER, (min(self.open),))
                over = {run for (run,) in ended} & self.open
            self.decided |= dict.fromkeys(over, (began_at, self.cluster.now))
            self.open -= over

    def _heal(self) -> None:
        """Let administrators and users put right what went wrong."""
        cluster = self.cluster
        cluster.is_down = cluster.accounting.is_down = False
        for name in sorted(cluster.nodes):
            cluster.return_node(name)
        for job in list(cluster.jobs.values()):
            if job.held_by or job.flag == "SPECIAL_EXIT":
                cluster.release(job.id, user=ROOT.name)

    def _forget(self) -> None:
        """Let slurmdbd purge what ended more than a day ago."""
        accounting, old = self.cluster.accounting, self.cluster.now - DAY_S
        kept = {db: row for db, row in accounting.rows.items() if (row.end_at or old) >= old}
        accounting.rows = kept

    def judge(self) -> Judged:
        """Compare what the store says of each run with what was."""
        executed: dict[str, list[Execution]] = defaultdict(list)
        for execution in self.runners.executions:
            executed[execution.run].append(execution)
        segments = self.cluster.by_element()
        with self.host.store.read() as view:
            all_rows = list(view.execute(_ROWS))
        rows = [self._verdict(row, executed, segments) for row in all_rows]
        over = [row for row in rows if row.state in FINAL]
        return Judged(
            [problem for row in rows if (problem := row.doubled())],
            [problem for row in over if (problem := row.wrong())],
            [f"run {row.run} is {row.state}" for row in rows if row.state not in FINAL],
        )

    def _verdict(
        self,
        row: tuple[Any, ...],
        executed: dict[str, list[Execution]],
        segments: dict[tuple[str, int], list[Row]],
    ) -> Verdict:
        run, uid, state, cause, token, index = row
        return Verdict(
            run=run,
            state=State(state),
            cause=cause,
            decided=self.decided.get(run, (self.cluster.now, self.cluster.now)),
            told_at=self.cluster.now,  # nothing is requeued by hand here
            executions=tuple(executed.get(uid, ())),
            segments=tuple(segments.get((token, index), ())),
            is_withdrawn=self.cluster.was_withdrawn(token, index),
            is_rejected=False,
            is_asked=False,
            has_accounting=True,
            uid=USER.uid,
            slack_s=1,
        )


_OVER = "SELECT id FROM run WHERE state IN ('completed', 'failed', 'cancelled') AND id >= ?"
_ROWS = (
    "SELECT run.id, run.uid, run.state, coalesce(run.cause, ''), coalesce(token, ''),"
    " coalesce(idx, -1) FROM run LEFT JOIN attempt"
    " ON attempt.run_id = run.id AND attempt.number = run.attempt"
    " LEFT JOIN job_array ON job_array.id = array_id ORDER BY run.id"
)


def main(seed: int, days: int, daily: int, every_s: int) -> None:
    """Simulate, judge, and say what it took: of this process, on whatever core it had."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        began = time.process_time()
        simulated = Days(seed, days, daily, every_s, Path(folder))
        simulated.run()
        judged = simulated.judge()
        taken_s = time.process_time() - began
    print(
        json.dumps(
            {
                "days": (simulated.cluster.now - simulated.began_at) / DAY_S,
                "seconds": taken_s,
                "runs": simulated.runs,
                "cycles": simulated.cycles,
                "rpcs": simulated.cluster.rpcs_of.get(USER.name, 0),
                **vars(judged),
            }
        )
    )


def _memory() -> str | None:
    """Return a folder in memory, where there is one: no disk is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:5]))
