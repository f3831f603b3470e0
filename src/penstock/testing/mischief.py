"""What users, administrators and machines do to a simulated cluster."""

import contextlib
from collections.abc import Callable
from random import Random

from penstock.testing.core import SlurmError
from penstock.testing.draw import OTHER, USER
from penstock.testing.witness import Witness

ROOT = "root"


class Mischief:
    """One thing after another; ``tell`` hears of each."""

    def __init__(self, cluster: Witness, random: Random, tell: Callable[[str], None]) -> None:
        self.cluster, self.random, self.tell = cluster, random, tell

    def happen(self) -> None:
        """Let something happen."""
        kinds = [self.task] * 4 + [self.job, self.node, self.slurm, self.accounting]
        kinds += [self.purge, self.others, self.others]
        with contextlib.suppress(SlurmError):  # it has ended, or may not be done
            self.random.choice(kinds)()

    def task(self) -> None:
        """Do something to a task of the user's."""
        cluster, pick = self.cluster, self.random.choice
        found = [job for job in cluster.jobs.values() if job.array and job.user == USER.name]
        if not found:
            return
        job = pick(found)
        index = job.index if job.index is not None else pick(list(job.rest or [0]))
        kinds = ["cancel", "admin", "hold", "admin-hold", "release", "requeue", "preempt"]
        self._do(pick([*kinds, "special", "requeue-hold"]), f"{job.group}_{index}")

    def job(self) -> None:
        """Do something to a whole job of the user's."""
        found = sorted({j.group for j in self.cluster.jobs.values() if j.user == USER.name})
        if found:
            kinds = ["cancel", "admin", "hold", "release", "requeue", "rename", "urgent", "limit"]
            self._do(self.random.choice(kinds), str(self.random.choice(found)))

    def _do(self, kind: str, target: str) -> None:
        cluster, user = self.cluster, USER.name
        self.tell(f"{kind} {target}")
        does: dict[str, Callable[[], object]] = {
            "cancel": lambda: cluster.cancel(target, user=user),
            "admin": lambda: cluster.cancel(target, user=ROOT),
            "hold": lambda: cluster.hold(target, user=user),
            "admin-hold": lambda: cluster.hold(target, user=ROOT),
            "release": lambda: cluster.release(target, user=user),
            "requeue": lambda: cluster.requeue(target, user=user),
            "special": lambda: cluster.requeue(target, user=user, then="special"),
            "requeue-hold": lambda: cluster.requeue(target, user=user, then="hold"),
            "preempt": lambda: cluster.preempt(target),
            "rename": lambda: cluster.update(target, user=user, name="mine"),
            "urgent": lambda: cluster.update(target, user=user, partition="urgent"),
            "limit": lambda: cluster.update(target, user=user, timelimit="5"),
        }
        does[kind]()

    def node(self) -> None:
        """Let a node fail, perhaps only its network, and come back later."""
        cluster, pick = self.cluster, self.random.choice
        name, cut_off, away_s = pick(sorted(cluster.nodes)), pick([True, False]), pick([30, 900])
        self.tell(f"{name} fails for {away_s} s{', cut off' if cut_off else ''}")
        cluster.fail_node(name, cut_off=cut_off)
        cluster.at(cluster.now + away_s, lambda: cluster.return_node(name))

    def slurm(self) -> None:
        """Take slurmctld away for a while."""
        away_s = self.random.choice([5, 60, 600])
        self.tell(f"slurmctld is away for {away_s} s")
        self.cluster.restart_controller(away_s)

    def accounting(self) -> None:
        """Take slurmdbd away, or bring it back."""
        accounting = self.cluster.accounting
        accounting.is_down = not accounting.is_down
        self.tell("slurmdbd is " + ("away" if accounting.is_down else "back"))

    def purge(self) -> None:
        """Let slurmctld forget what has ended."""
        self.tell("slurmctld forgets what has ended")
        self.cluster.purge()

    def others(self) -> None:
        """Submit what is not Penstock's, of this user or another: it takes ids and room."""
        user, size = self.random.choice([USER, OTHER]), self.random.choice([1, 5, 30])
        array = f"0-{size - 1}" if size > 1 else ""
        job = self.cluster.submit(user=user.name, array=array, name="other", mem_mb=10)
        self.tell(f"{user.name} submits {job} with {size} tasks")
