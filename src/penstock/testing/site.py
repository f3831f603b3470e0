"""What a modelled cluster is made of: nodes, partitions, users, limits, delays."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NodeKind:
    """A node as slurm.conf has it."""

    name: str
    cpus: int = 8
    mem_mb: int = 8000
    gpus: int = 0
    features: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Partition:
    """A partition; a job of a higher tier takes the place of those it may preempt."""

    name: str
    tier: int = 1
    max_time_s: int | None = None  # None: unlimited
    default_time_s: int | None = None
    is_default: bool = False
    preempt: str = "OFF"  # what is done to its own jobs: OFF, REQUEUE, CANCEL
    grace_s: int = 0
    accounts: frozenset[str] | None = None  # None: all; others wait for ever
    users: frozenset[str] | None = None  # None: all; others are refused
    nodes: tuple[str, ...] | None = None  # None: all
    def_mem_per_cpu_mb: int | None = 100
    is_up: bool = True


@dataclass(frozen=True)
class User:
    """Who may submit, for which accounts, and how much at once."""

    name: str
    uid: int
    accounts: tuple[str, ...] = ("lab",)
    max_submit: int | None = None
    qos: tuple[str, ...] = ("normal",)
    is_admin: bool = False  # not of uid 0 by itself: tests may run as root


ROOT = User("root", 0, ("root",), is_admin=True)


@dataclass(frozen=True)
class Site:
    """A whole cluster. The defaults are those of deploy/local-slurm, but for the delays."""

    name: str = "penstock"
    version: str = "22.05.8"
    nodes: tuple[NodeKind, ...] = tuple(
        NodeKind(f"n{number}", gpus=2 if number > 2 else 0) for number in range(1, 5)
    )
    partitions: tuple[Partition, ...] = (
        Partition("batch", 1, 86_400, 600, is_default=True, preempt="REQUEUE"),
        Partition("urgent", 10, 7_200, 600),
        Partition("closed", 1, 86_400, 600, users=frozenset({"root"})),
        Partition("guarded", 1, 86_400, 600, accounts=frozenset({"closed"})),
    )
    users: tuple[User, ...] = field(
        default=(
            ROOT,
            User("alice", 1001, ("lab", "physics"), qos=("normal", "few")),
            User("bob", 1002, ("lab", "biology"), max_submit=20, qos=("normal", "few")),
        )
    )
    # The most tasks of one user in each qos.
    qos: dict[str, int | None] = field(default_factory=lambda: {"normal": None, "few": 10})
    max_array_size: int = 1001
    max_job_count: int = 200_000
    first_job_id: int = 1
    max_job_id: int = 67_043_328
    min_job_age_s: float = 5
    kill_wait_s: float = 5
    requeue_wait_s: float = 5  # 120 s where AuthInfo has no cred_expire
    schedule_s: float = 1  # from a change to the next look of the scheduler
    completing_s: float = 0.1  # how long COMPLETING is seen after the last process
    purge_every_s: float = 1  # 0: purge exactly at MinJobAge
    limit_slack_s: float = 30  # time limits are enforced at multiples of this after the start
    has_accounting: bool = True
    accounting_lag_s: float = 1
    has_cgroups: bool = False  # without, out of memory is FAILED 0:9 with JobLaunchFailure
    enforce_limits: bool = True
    utc_offset_s: int = 0
