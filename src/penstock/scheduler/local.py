"""The local scheduler: arrays as processes of this machine, for laptops and for trying things out.

It speaks as Slurm does. State is a ledger in a folder; a keeper, started by whoever needs it, runs
the tasks and outlives the command. What it cannot do is in ``capabilities().lacks``.
"""

import json
import os
import pwd
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from penstock.clock import Clock, SystemClock, moment, stamp
from penstock.errors import Refused, SchedulerError
from penstock.model.evidence import Poll, Task
from penstock.model.run import Capabilities, Limits
from penstock.model.state import Kind, word
from penstock.scheduler import keeper
from penstock.scheduler.ledger import PENDING, Job, Ledger, TaskRow
from penstock.scheduler.protocol import Submission
from penstock.transport.local import FORCED, scrubbed

MIN_JOB_AGE_S = 300  # how long `observe` tells of what ended
MAX_ARRAY_SIZE = 10_001
LACKS = frozenset({"accounts", "gpus", "limits", "options", "partitions", "preemption", "qos"})

# Each for one task of a job, or with no index for all of them.
END_WAITING = (
    "UPDATE task SET word = :said, end_at = :now"
    " WHERE word = 'PENDING' AND job = :job AND (idx = :index OR :index IS NULL)"
)
END_RUNNING = (
    "UPDATE task SET ask = :said"
    " WHERE word = 'RUNNING' AND job = :job AND (idx = :index OR :index IS NULL)"
)
END_COMPLETING = (
    "UPDATE task SET end_word = :said"
    " WHERE word = 'COMPLETING' AND job = :job AND (idx = :index OR :index IS NULL)"
)
HOLD = (
    "UPDATE task SET held = 1"
    " WHERE word = 'PENDING' AND job = :job AND (idx = :index OR :index IS NULL)"
)
RELEASE = "UPDATE task SET held = 0 WHERE job = :job AND (idx = :index OR :index IS NULL)"
ASK_REQUEUE = (
    "UPDATE task SET ask = 'REQUEUE'"
    " WHERE word = 'RUNNING' AND job = :job AND (idx = :index OR :index IS NULL)"
)


class LocalScheduler:
    """Run arrays on this machine, at most so many cpus at once (0: all that there are)."""

    def __init__(self, folder: str, *, cpus: int = 0, clock: Clock | None = None) -> None:
        self._folder = Path(folder).absolute()
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._clock = clock or SystemClock()

    def capabilities(self) -> Capabilities:
        """Return what it is and can do. It keeps its own accounting."""
        return Capabilities(
            name="local",
            version=(1,),
            cluster="local",
            has_accounting=True,
            min_job_age_s=0,  # the ledger has every job from its submit on: no look misses one
            accounting_lag_s=0,
            lacks=LACKS,
        )

    def limits(self) -> Limits:
        """Return its limits: only the size of an array."""
        return Limits(max_array_size=MAX_ARRAY_SIZE)

    def check(self, submission: Submission) -> None:
        """Raise Refused for what this machine has not."""
        request = submission.request
        if request.cpus > self._cpus:
            raise Refused(
                f"a run asks for {request.cpus} cpus, and the local scheduler has {self._cpus}",
                hint="ask for fewer, or set `local_cpus`, or submit where Slurm is",
            )
        if request.gpus:
            raise Refused(
                "the local scheduler gives no gpus",
                hint="leave out `gpus:` here, or submit where Slurm is",
            )
        if submission.size > MAX_ARRAY_SIZE:
            raise Refused(f"an array holds at most {MAX_ARRAY_SIZE} runs here")

    def submit(self, submission: Submission) -> int:
        """Write the array down, and see that a keeper lives."""
        self.check(submission)
        if not Path(submission.folder, "script.sh").is_file():
            raise Refused(f"there is no script.sh in {submission.folder}")
        now = stamp(self._clock.now())
        with self._ledger() as ledger, ledger.write() as db:
            number = ledger.setting("next_id", 1)
            db.execute(
                "INSERT INTO job VALUES (?,?,?,?,?,?,?,?,?,?,?)", _values(number, submission)
            )
            db.executemany(
                "INSERT INTO task (job, idx, word, submit_at) VALUES (?, ?, ?, ?)",
                ((number, index, PENDING, now) for index in range(submission.size)),
            )
            # Tasks take the ids after their array's. No id is ever given again.
            changed = [("next_id", number + submission.size + 1), ("cpus", self._cpus)]
            db.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", changed)
        self._wake()
        return number

    def observe(self) -> Poll:
        """Return its word on every task that is unfinished, or ended not long ago."""
        at = self._clock.now()
        with self._ledger() as ledger:
            since = stamp(at) - MIN_JOB_AGE_S
            rows = ledger.tasks("end_at IS NULL OR end_at >= ?", since)
            poll = Poll(at, tuple(_told(ledger, rows)), "local")
        self._wake()
        return poll

    def history(self, jobs: Iterable[int], *, since: datetime) -> Poll:
        """Return its word on every task of these jobs."""
        at, wanted = self._clock.now(), sorted(set(jobs))
        marks = ",".join("?" * len(wanted))
        with self._ledger() as ledger:
            rows = ledger.tasks(f"job IN ({marks}) AND submit_at >= ?", *wanted, stamp(since))
            return Poll(at, tuple(_told(ledger, rows)), "local")

    def find(self, token: str, *, since: datetime) -> Poll:
        """Return its word on jobs by token."""
        with self._ledger() as ledger:
            names = {job.id: job.name for job in ledger.jobs().values()}
        return self.history(
            [job for job, name in names.items() if f"{name}.".startswith(f"{token}.")], since=since
        )

    def cancel(self, targets: Iterable[tuple[int, int | None]]) -> None:
        """End tasks: at once where they wait, by TERM and then KILL where they run."""
        said = f"CANCELLED by {os.getuid()}"
        now = stamp(self._clock.now())
        with self._ledger() as ledger, ledger.write() as db:
            for job, index in targets:
                which = {"job": job, "index": index, "said": said, "now": now}
                for statement in (END_WAITING, END_RUNNING, END_COMPLETING):
                    db.execute(statement, which)
        self._wake()

    def hold(self, job: int, index: int | None = None) -> None:
        """Keep tasks that wait from starting."""
        self._change(HOLD, job, index)

    def release(self, job: int, index: int | None = None) -> None:
        """Let held tasks start."""
        self._change(RELEASE, job, index)

    def requeue(self, job: int, index: int) -> None:
        """End a task that runs, and have it wait again, as its next restart."""
        if not self._change(ASK_REQUEUE, job, index):
            raise SchedulerError(f"{job}_{index} does not run, so it cannot be requeued")

    def _change(self, statement: str, job: int, index: int | None) -> int:
        with self._ledger() as ledger, ledger.write() as db:
            changed = db.execute(statement, {"job": job, "index": index}).rowcount
        self._wake()
        return changed

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        with closing(Ledger(str(self._folder))) as ledger:
            yield ledger

    def _wake(self) -> None:
        """See that a keeper lives where there is something to keep."""
        with self._ledger() as ledger:
            if ledger.unfinished() == 0:
                return
        if keeper.is_there(self._folder):
            keeper.ring(self._folder)
            return
        argv = [sys.executable, "-P", "-m", keeper.__name__, str(self._folder)]
        try:
            subprocess.run(
                argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SchedulerError(
                f"the keeper of the local scheduler cannot be started: {error}",
                hint=f"look at {self._folder / keeper.LOG}",
            ) from error


def _values(number: int, submission: Submission) -> tuple[object, ...]:
    given = {key: value for key, value in scrubbed(os.environ).items() if key not in FORCED}
    return (
        number,
        f"{submission.token}.{submission.label}",
        submission.folder,
        submission.log,
        submission.size,
        submission.throttle,
        submission.request.cpus,
        submission.request.time_s,
        os.getuid(),
        pwd.getpwuid(os.getuid()).pw_name,
        json.dumps(given),
    )


def _told(ledger: Ledger, rows: Iterable[TaskRow]) -> Iterator[Task]:
    """Yield tasks; those that wait for one reason stand together, as in Slurm's queue."""
    jobs = ledger.jobs()
    reasons = {verdict.job: verdict.reason for verdict in ledger.verdicts()}
    waiting: dict[tuple[int, str, float], set[int]] = defaultdict(set)
    for row in rows:
        if row.word == PENDING:
            reason = "JobHeldUser" if row.held else reasons.get(row.job, "None")
            waiting[row.job, reason, row.submit_at].add(row.idx)
        else:
            yield _task(jobs[row.job], row)
    for (job, reason, submit_at), indices in waiting.items():
        yield Task(
            job=job,
            tasks=_compact(indices),
            word=PENDING,
            name=jobs[job].name,
            reason=reason,
            submit_at=moment(submit_at),
            user=jobs[job].user,
        )


def _compact(indices: set[int]) -> frozenset[int] | range:
    first, last = min(indices), max(indices)
    if len(indices) > 1 and last - first + 1 == len(indices):
        return range(first, last + 1)
    return frozenset(indices)


def _task(job: Job, row: TaskRow) -> Task:
    is_end = word(row.word).kind is Kind.END
    return Task(
        job=row.job,
        tasks=frozenset({row.idx}),
        word=row.word,
        name=job.name,
        submit_at=moment(row.submit_at),
        start_at=None if row.start_at is None else moment(row.start_at),
        end_at=None if row.end_at is None else moment(row.end_at),
        node=os.uname().nodename,
        exit_code=row.code if is_end else None,
        exit_signal=(row.signal or None) if is_end else None,
        job_raw=row.job + 1 + row.idx,
        max_rss_bytes=row.peak,
        user=job.user,
    )
