"""What the modelled controller keeps: job records, and the processes that run for them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from penstock.testing.indices import spell

# Base states; squeue prints a flag in their place where one is set.
PENDING, RUNNING, SUSPENDED = "PENDING", "RUNNING", "SUSPENDED"
COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"
TIMEOUT, NODE_FAIL, PREEMPTED = "TIMEOUT", "NODE_FAIL", "PREEMPTED"
OUT_OF_MEMORY, DEADLINE, BOOT_FAIL = "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"
ENDS = frozenset(
    {
        COMPLETED, FAILED, CANCELLED, TIMEOUT, NODE_FAIL, PREEMPTED, OUT_OF_MEMORY, DEADLINE,
        BOOT_FAIL,
    }
)  # fmt: skip
CODES = {
    "PENDING": "PD", "RUNNING": "R", "SUSPENDED": "S", "COMPLETED": "CD", "FAILED": "F",
    "CANCELLED": "CA", "TIMEOUT": "TO", "NODE_FAIL": "NF", "PREEMPTED": "PR",
    "OUT_OF_MEMORY": "OOM", "DEADLINE": "DL", "BOOT_FAIL": "BF", "COMPLETING": "CG",
    "CONFIGURING": "CF", "SPECIAL_EXIT": "SE", "REQUEUE_HOLD": "RH", "REQUEUED": "RQ",
    "REVOKED": "RV", "STOPPED": "ST", "STAGE_OUT": "SO", "RESIZING": "RS", "SIGNALING": "SI",
    "RESV_DEL_HOLD": "RD", "REQUEUE_FED": "RF",
}  # fmt: skip
INFINITE = float("inf")


DESCRIBED = {
    "Job's account not permitted": "AccountNotAllowed",
    "Nodes required for job": "ReqNodeNotAvail",
    "job requeued in held state": "JobHeldUser",
}


def short_reason(reason: str) -> str:
    """Return the name of a reason that squeue may print as a sentence."""
    return next((name for text, name in DESCRIBED.items() if reason.startswith(text)), reason)


@dataclass(frozen=True)
class Options:
    """What sbatch was asked for."""

    name: str = "sbatch"
    array: tuple[int, ...] = ()
    throttle: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    cpus: int = 1
    gpus: int = 0
    nodes: int = 1
    mem_mb: int | None = None
    time_s: int | None = None
    begin_s: float = 0  # from now
    is_held: bool = False
    is_exclusive: bool = False
    can_requeue: bool = True
    dependency: str = ""
    features: tuple[str, ...] = ()
    wanted_nodes: tuple[str, ...] = ()  # --nodelist
    script: bytes = b""
    command: str = ""
    folder: str = "/"
    output: str = ""
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    comment: str = ""


@dataclass(frozen=True)
class Plan:
    """What a process will do if nobody disturbs it."""

    duration_s: float = 1
    code: int = 0
    signal: int = 0
    on_term_s: float | None = 0  # from TERM to its end; None: it waits for KILL
    term_code: int | None = None  # of its own, after TERM; None: the signal ends it
    is_oom: bool = False  # it ends because it needs more memory than it asked for
    is_launch_failure: bool = False  # the script can't be started: 0:53
    peak_mb: int = 3


@dataclass(eq=False, slots=True)
class Job:
    """A record: one job, one task of an array, or the pending rest of an array."""

    id: int  # its own; the last task that is split off keeps the array's
    options: Options
    user: str
    uid: int
    account: str
    partition: str
    name: str
    time_s: float
    submit_at: float
    array: int | None = None
    index: int | None = None
    rest: deque[int] | None = None
    throttle: int | None = None
    state: str = PENDING
    flag: str = ""  # COMPLETING, SPECIAL_EXIT, REQUEUE_HOLD, REVOKED …
    reason: str = "None"
    priority: int = 0
    held_by: str = ""  # "", "user", "admin"
    begin_at: float = 0
    eligible_at: float | None = None
    start_at: float | None = None
    end_at: float | None = None
    restarts: int = 0
    code: int = 0
    signal: int = 0
    cancelled_by: int | None = None
    where: tuple[str, ...] = ()
    process: "Process | None" = None
    next: str = ""  # after COMPLETING: "", "requeue", "hold", "special"
    gone_at: float | None = None  # when it may be purged
    start_reason: str = "None"
    het: tuple[int, int] | None = None  # leader, offset
    db: int = 0  # which row of the accounting is its own
    _text: str | None = None

    @property
    def word(self) -> str:
        """Return what squeue prints for its state."""
        return self.flag or self.state

    @property
    def reason_name(self) -> str:
        """Return the short name of its reason, where a description stands in its place."""
        return short_reason(self.reason)

    @property
    def is_over(self) -> bool:
        """Return whether its state is an end, with nothing left to do."""
        return self.state in ENDS and self.flag not in ("COMPLETING", "SPECIAL_EXIT")

    @property
    def group(self) -> int:
        """Return the id of its array, or its own."""
        return self.id if self.array is None else self.array

    @property
    def count(self) -> int:
        """Return how many tasks it stands for."""
        return 1 if self.rest is None else len(self.rest)

    def rest_text(self) -> str:
        """Return ``3-7,9`` of a pending rest."""
        if self._text is None:
            self._text = spell(self.rest or ())
        return self._text

    def tasks(self) -> Iterable[int]:
        """Return the indices that it stands for."""
        if self.rest is not None:
            return self.rest
        return () if self.index is None else (self.index,)

    def drop(self, gone: frozenset[int] | set[int]) -> None:
        """Take indices from the pending rest."""
        assert self.rest is not None
        self.rest = deque(index for index in self.rest if index not in gone)
        self._text = None

    def pop(self) -> int:
        """Take the lowest index from the pending rest."""
        assert self.rest is not None
        self._text = None
        return self.rest.popleft()

    def task(self, new_id: int, index: int) -> "Job":
        """Return a record of one task, split from this rest."""
        return replace(self, id=new_id, index=index, rest=None, process=None, db=0)

    def become(self, index: int) -> None:
        """Turn from a rest into its last task."""
        self.index, self.rest, self._text = index, None, None


@dataclass(eq=False, slots=True)
class Process:
    """What runs on a node for a job. It may outlive what the controller believes."""

    job: Job
    restart: int
    nodes: tuple[str, ...]
    start_at: float
    plan: Plan = field(default_factory=Plan)
    end_at: float = INFINITE
    code: int = 0
    signal: int = 0
    ends: int = 0  # counts changes of its end: an older one is void
    has_ended: bool = False
    is_cut_off: bool = False  # its node has lost the controller
    data: object = None  # of whoever drives the cluster
    was_signalled: bool = False
    was_lost: bool = False  # its node lost power: it could do nothing more

    @property
    def array(self) -> int:
        """Return SLURM_ARRAY_JOB_ID, or the job's id."""
        return self.job.group

    @property
    def index(self) -> int | None:
        """Return SLURM_ARRAY_TASK_ID."""
        return self.job.index

    def environment(self) -> dict[str, str]:
        """Return the variables by which a task knows itself."""
        job = self.job
        env = dict(job.options.env)
        env |= {
            "SLURM_JOB_ID": str(job.id),
            "SLURM_JOBID": str(job.id),
            "SLURM_JOB_NAME": job.name,
            "SLURM_JOB_PARTITION": job.partition,
            "SLURM_JOB_USER": job.user,
            "SLURM_JOB_ACCOUNT": job.account,
            "SLURM_JOB_NODELIST": ",".join(self.nodes),
            "SLURMD_NODENAME": self.nodes[0],
            "SLURM_CPUS_ON_NODE": str(job.options.cpus),
            "SLURM_SUBMIT_DIR": job.options.folder,
        }
        if self.restart:
            env["SLURM_RESTART_COUNT"] = str(self.restart)
        if job.index is not None:
            size = job.options.array
            env |= {
                "SLURM_ARRAY_JOB_ID": str(job.array),
                "SLURM_ARRAY_TASK_ID": str(job.index),
                "SLURM_ARRAY_TASK_COUNT": str(len(size)),
                "SLURM_ARRAY_TASK_MIN": str(size[0]),
                "SLURM_ARRAY_TASK_MAX": str(size[-1]),
            }
        return env
