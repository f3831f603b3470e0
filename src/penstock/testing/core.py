"""The modelled controller's memory: simulated time, events, records, nodes. No decision is here."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.testing.accounting import Accounting, row_of
from penstock.testing.jobs import Job, Plan, Process
from penstock.testing.site import NodeKind, Partition, Site, User

EPOCH = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC


class SlurmError(Exception):
    """What the controller answers instead: the text of an errno, and its number."""

    def __init__(self, text: str, number: int = 1, detail: str = "") -> None:
        super().__init__(text)
        self.text, self.number, self.detail = text, number, detail


INVALID_ID = ("Invalid job id specified", 2017)
DENIED = ("Access/permission denied", 2002)
FINISHED = ("Job has already finished", 2021)
IS_PENDING = ("Job is pending execution", 2022)
NOT_PENDING = ("Job is no longer pending execution", 2023)
NOT_WHOLE = ("Operation not permitted on individual component of heterogeneous job", 2108)


def nothing(_process: Process) -> None:
    """Hear of it and do nothing."""


def no_signal(_process: Process, _signal: int) -> None:
    """Hear of it and do nothing."""


def one_second(_process: Process) -> Plan:
    """Let every task take a second and end well."""
    return Plan()


@dataclass(eq=False)
class Node:
    """A node's free resources."""

    kind: NodeKind
    free_cpus: int
    free_mem_mb: int
    free_gpus: int
    state: str = "UP"  # DOWN, DRAIN
    jobs: set[int] = field(default_factory=set)


class Core:
    """Tables and time. ``now`` is in seconds since the epoch."""

    def __init__(self, site: Site, seed: int, start: float) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.now = start
        self.boot_at = start
        self.next_id = site.first_job_id
        self.jobs: dict[int, Job] = {}
        self.arrays: dict[int, dict[int, Job]] = {}  # tasks that were split off
        self.pending: dict[int, Job] = {}  # records that may start, by id
        self.submitted: dict[tuple[str, str], int] = {}  # unfinished tasks by user and account
        self.in_qos: dict[tuple[str, str], int] = {}  # … by user and qos
        self.unfinished = 0
        self.active: dict[int, int] = {}  # running tasks of each array
        self.kinds = {node.name: node for node in site.nodes}
        self.nodes = {
            node.name: Node(node, node.cpus, node.mem_mb, node.gpus) for node in site.nodes
        }
        self.partitions: dict[str, Partition] = {part.name: part for part in site.partitions}
        self.users: dict[str, User] = {user.name: user for user in site.users}
        self.accounting = Accounting(site.accounting_lag_s)
        self.rpcs: dict[str, int] = {}
        self.rpcs_of: dict[str, int] = {}
        self.counts = {"submitted": 0, "started": 0, "completed": 0, "canceled": 0, "failed": 0}
        self.lowest_priority = 4_294_901_760
        self.processes: dict[Process, None] = {}  # all that run, cut off or not
        self.behave: Callable[[Process], Plan] = one_second
        self.on_start: Callable[[Process], None] = nothing
        self.on_signal: Callable[[Process, int], None] = no_signal
        self.on_end: Callable[[Process], None] = nothing
        self.is_down = False  # slurmctld does not answer
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._look_at: float | None = None

    # --- time ---

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at a time; what is due at one time is done in the order of asking."""
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, do))

    def run_until(self, when: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= when:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = max(self.now, when)

    def next_at(self) -> float | None:
        """Return when the next thing happens by itself."""
        return self._events[0][0] if self._events else None

    def wake(self) -> None:
        """Have the scheduler look soon."""
        if self._look_at is None:
            self._look_at = self.now + self.site.schedule_s
            self.at(self._look_at, self._look)

    def look(self) -> None:
        """Start what can start."""
        raise NotImplementedError

    def _look(self) -> None:
        self._look_at = None
        if self.is_down:
            self.wake()
        else:
            self.look()

    # --- records ---

    def take_id(self) -> int:
        """Return the next job id; after the last one it begins again, past those in use."""
        if len(self.jobs) > self.site.max_job_id - self.site.first_job_id:
            raise SlurmError("Resource temporarily unavailable", 11)
        while True:
            number = self.next_id
            self.next_id += 1
            if self.next_id > self.site.max_job_id:
                self.next_id = self.site.first_job_id
            if number not in self.jobs:
                return number

    def add(self, job: Job) -> None:
        """Keep a record."""
        self.jobs[job.id] = job
        if job.array is not None and job.index is not None:
            self.arrays.setdefault(job.array, {})[job.index] = job

    def split(self, job: Job, index: int) -> Job:
        """Return the record of one task of a pending rest; the last one keeps the rest's."""
        assert job.rest is not None
        if len(job.rest) == 1:
            job.become(index)
            self.add(job)
            return job
        number = self.take_id()  # first: where none is free nothing has changed
        job.drop({index}) if job.rest[0] != index else job.pop()
        task = job.task(number, index)
        job.eligible_at = None  # seen on 22.05: what stays behind is not eligible any more
        self.add(task)
        self.pending[task.id] = task
        return task

    def remove(self, job: Job) -> None:
        """Forget a record."""
        self.jobs.pop(job.id, None)
        self.pending.pop(job.id, None)
        if job.array is None:
            return
        tasks = self.arrays.get(job.array, {})
        if job.index is not None and tasks.get(job.index) is job:
            del tasks[job.index]
        if not tasks and job.array not in self.jobs:
            self.arrays.pop(job.array, None)

    def records(self, array: int) -> list[Job]:
        """Return the records of a job id: of the whole array, where it is one's."""
        own = self.jobs.get(array)
        if own is not None and own.array not in (None, array):
            return [own]  # the id of a task's own
        if own is not None and own.het is not None and own.het[1] == 0:
            return [job for job in self.jobs.values() if job.het and job.het[0] == array]
        tasks = list(self.arrays.get(array, {}).values())
        if own is not None and own not in tasks:
            tasks.insert(0, own)
        return tasks

    def finished(self, job: Job, count: int = 1) -> None:
        """Count tasks that no longer stand against their user's limits."""
        self.begun(job, -count)

    def begun(self, job: Job, count: int = 1) -> None:
        """Count tasks that stand against their user's limits."""
        account, qos = (job.user, job.account), (job.user, job.options.qos or "normal")
        self.submitted[account] = self.submitted.get(account, 0) + count
        self.in_qos[qos] = self.in_qos.get(qos, 0) + count
        self.unfinished += count

    def tell(self, job: Job, **changes: object) -> None:
        """Send the record to the accounting."""
        if not self.site.has_accounting:
            return
        if job.db == 0:
            job.db = self.accounting.new()
        self.accounting.send(row_of(job, **changes), self.now)

    def rpc(self, name: str, user: str, count: int = 1) -> None:
        """Count a message to the controller, as sdiag shows it."""
        self.rpcs[name] = self.rpcs.get(name, 0) + count
        self.rpcs_of[user] = self.rpcs_of.get(user, 0) + count
