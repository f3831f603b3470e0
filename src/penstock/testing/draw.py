"""What a seed draws: a cluster, what goes wrong how often, and what commands do."""

from dataclasses import dataclass, replace
from random import Random

from penstock.testing.jobs import Plan
from penstock.testing.site import ROOT, NodeKind, Partition, Site, User
from penstock.testing.transport import Fault

USER = User("alice", 1001)
OTHER = User("bob", 1002)
SENDING = 4  # how much more often things go wrong around sbatch, which is seldom called
WHEN_SENDING = ("reconciler.sending", "reconciler.sent")
LOST_CALLS = (
    Fault.TIME_OUT,
    Fault.DONE_THEN_TIME_OUT,
    Fault.DONE_THEN_FAIL,
    Fault.REJECT,
    Fault.FAIL,
    Fault.HALF,
    Fault.GARBAGE,
    Fault.EMPTY,
    Fault.BANNER,
    Fault.LATE,
    Fault.MISSING,
)


@dataclass(frozen=True)
class Odds:
    """How often what goes wrong, while anything does."""

    call: float  # a call of one of Slurm's programs is spoilt
    crash: float  # the reconciler dies at a failpoint
    pause: float  # it is suspended there, and another acts
    store: float  # a transaction fails
    mischief: float  # something happens between two cycles
    stale_s: float  # how late names of files are seen
    skew_s: float  # how wrong the reconciler's clock may be
    record_grace_s: float
    lost_after_s: float
    chaos_s: float  # how long things go wrong
    nights: int  # how often nobody looks for long
    is_brisk: bool  # commands take seconds, and are gone before anybody looks


def odds(random: Random) -> Odds:
    """Draw how bad it gets."""
    pick = random.choice
    stale_s, is_brisk = pick([0, 30]), random.random() < 0.2
    return Odds(
        call=pick([0, 0.02, 0.1, 0.3]),
        crash=pick([0, 0.01, 0.05]),
        pause=pick([0, 0.02, 0.05]),
        store=pick([0, 0, 0.02, 0.1]),
        mischief=pick([0.05, 0.15, 0.3]),
        stale_s=stale_s,
        skew_s=pick([0, 0, 0, 40, 400]),
        record_grace_s=pick([60, 5] if not stale_s else [60]),
        lost_after_s=pick([600, 3600]),
        chaos_s=pick([1800] * 5 + [3600] * 3 + [7200, 14_400]),
        nights=pick([0, 0, 1, 2]),
        is_brisk=is_brisk,
    )


def site(random: Random) -> Site:
    """Draw a cluster."""
    pick = random.choice
    ids = pick([(1, 67_043_328), (1, 90)])  # of the second each comes again within the hour
    return Site(
        nodes=tuple(NodeKind(f"n{n}", cpus=pick([2, 4])) for n in range(1, pick([2, 3, 5]))),
        partitions=(
            Partition("batch", 1, 86_400, 600, is_default=True, preempt="REQUEUE"),
            Partition("urgent", 10, 7_200, 600),
        ),
        users=(ROOT, replace(USER, max_submit=pick([None, None, 6])), OTHER),
        max_array_size=pick([4, 8, 1001]),
        first_job_id=ids[0],
        max_job_id=ids[1],
        min_job_age_s=pick([2, 60, 300]),
        has_accounting=pick([True, True, True, True, False]),
        accounting_lag_s=pick([0, 1, 20, 50]),
        requeue_wait_s=pick([5, 120]),
        has_cgroups=pick([True, False]),
    )


def command(random: Random, restart: int, *, is_brisk: bool) -> Plan:
    """Draw what a command does; what was requeued is often sent where it cannot begin."""
    pick, kind = random.choice, random.random()
    longest_s = 5 if is_brisk else 1200
    usual = Plan(duration_s=random.uniform(0.1, longest_s), on_term_s=pick([0, 1, None]))
    fails_to_launch = bool(restart) and random.random() < 0.1
    if kind < 0.02 or fails_to_launch:
        return replace(usual, duration_s=0.1, is_launch_failure=True)
    if kind < 0.67:
        return usual
    if kind < 0.82:
        return replace(usual, code=pick([1, 2, 77]))
    if kind < 0.88:
        return replace(usual, signal=pick([6, 9, 11]))
    if kind < 0.94:
        return replace(usual, is_oom=True, peak_mb=5000, signal=pick([0, 9]))
    return replace(usual, duration_s=7200, term_code=pick([None, 0, 3]))
