r"""A model of Slurm in simulated time: deterministic, in process, with one seeded random generator.

    cluster = Cluster(Site(...), seed=7)
    cluster.behave = lambda process: Plan(duration_s=60, code=0)
    job = cluster.submit(b"#!/bin/sh\n", user="alice", name="token.label", array="0-9%2")
    cluster.advance(30)
    cluster.cancel(f"{job}_3", user="alice")

Who drives it hears of every process by ``on_start``, ``on_signal`` and ``on_end``, and may change
what a process does with ``end``. What a process does and what the controller believes are apart: a
process whose node is cut off goes on, and still calls ``on_end``.

It is compared with a real Slurm 22.05; docs/reference/testing.md lists how far.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from penstock.testing import control, life, schedule
from penstock.testing.control import Said
from penstock.testing.core import EPOCH, Core, SlurmError
from penstock.testing.indices import parse
from penstock.testing.jobs import Job, Options, Plan, Process
from penstock.testing.site import ROOT, Site, User
from penstock.testing.submit import accept, examined

__all__ = ["EPOCH", "Clock", "Cluster", "Job", "Options", "Plan", "Process", "Site", "SlurmError"]


class Clock:
    """The cluster's time, as product code asks for it; who sleeps lets the cluster go on."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster
        self.skew_s = 0.0  # how wrong this clock is

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.fromtimestamp(self._cluster.now + self.skew_s, UTC)

    def monotonic(self) -> float:
        """Return simulated seconds: how wrong the clock is makes no difference."""
        return self._cluster.now

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._cluster.advance(seconds)


class Cluster(Core):
    """A cluster with its controller, accounting and nodes."""

    def __init__(self, site: Site | None = None, *, seed: int = 0, start: float = EPOCH) -> None:
        super().__init__(site or Site(), seed, start)
        self.sibling: Cluster | None = None  # of its federation; whoever asks lets its time pass
        self.clock = Clock(self)

    def look(self) -> None:
        """Start what can start."""
        schedule.look(self)

    # --- time ---

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.run_until(self.now + seconds)

    def advance_until(self, is_true: Callable[[], bool], at_most_s: float = 1e6) -> bool:
        """Let time pass from event to event until something is true; return whether it became."""
        end = self.now + at_most_s
        while not is_true():
            following = self.next_at()
            if following is None or following > end:
                return False
            self.run_until(following)
        return True

    def drain(self, at_most_s: float = 1e9) -> bool:
        """Let time pass until no process runs and nothing is pending that could start."""
        return self.advance_until(lambda: not self.unfinished, at_most_s)

    # --- users' verbs ---

    def who(self, user: str) -> User:
        """Return a user by name; root is always there, an administrator unless said otherwise."""
        return self.users.get(user, ROOT) if user == "root" else self.users[user]

    def submit(
        self,
        script: bytes = b"#!/bin/sh\n",
        *,
        user: str = "alice",
        array: str = "",
        options: Options | None = None,
        **more: object,
    ) -> int:
        """Submit a job; ``more`` are fields of Options. Return its id; raises SlurmError."""
        indices, throttle = parse(array) if array else ([], None)
        base = options or Options()
        asked = replace(base, script=script, **more)  # type: ignore[arg-type]
        if array:
            asked = replace(asked, array=tuple(indices), throttle=throttle)
        return accept(self, asked, user)

    def submit_het(self, *components: Options, user: str = "alice") -> int:
        """Submit a job of several components; return its leader's id, which is the first.

        They start together, on nodes of their own. Raises SlurmError.
        """
        if any(options.array for options in components):
            raise SlurmError("Invalid job array specification", 2036)
        for options in components:
            examined(self, options, user)
        ids = [accept(self, options, user) for options in components]
        for offset, number in enumerate(ids):
            self.jobs[number].het = (ids[0], offset)
            self.tell(self.jobs[number])
        return ids[0]

    def cancel(self, target: str | int, *, user: str = "alice", signal: int | None = None) -> None:
        """Cancel ``12``, ``12_7``, ``12_[1-3]``, or send it a signal."""
        control.cancel(self, str(target), self.who(user), signal)

    def hold(self, target: str | int, *, user: str = "alice", by: str = "") -> list[Said]:
        """Hold; root's hold is an administrator's."""
        return control.hold(self, str(target), self.who(user), by)

    def release(self, target: str | int, *, user: str = "alice") -> list[Said]:
        """Release."""
        return control.release(self, str(target), self.who(user))

    def requeue(
        self, target: str | int, *, user: str = "alice", then: str = "requeue"
    ) -> list[Said]:
        """Requeue; ``then`` is requeue, hold or special (special exit)."""
        return control.requeue(self, str(target), self.who(user), then)

    def update(self, target: str | int, *, user: str = "alice", **fields: str) -> list[Said]:
        """Change Name, Partition, ArrayTaskThrottle, StartTime, TimeLimit."""
        return control.update(self, str(target), self.who(user), fields)

    # --- what happens to a cluster ---

    def fail_node(self, name: str, *, cut_off: bool = False) -> None:
        """Let a node fail; cut off, what runs on it goes on unseen."""
        node = self.nodes[name]
        node.state = "DOWN"
        for number in sorted(node.jobs):
            life.lose(self, self.jobs[number], cut_off)
        self.wake()

    def return_node(self, name: str) -> None:
        """Bring a node back; what was cut off on it is killed, as slurmd does."""
        self.nodes[name].state = "UP"
        for process in list(self.processes):
            if process.is_cut_off and name in process.nodes:
                life.end_in(self, process, 0, 0, life.KILL)
        self.wake()

    def preempt(self, target: str | int) -> None:
        """Preempt what runs, with no job that asks for its place."""
        for job, _ in control.find(self, str(target)):
            if job.state == "RUNNING":
                life.preempt(self, job)

    def revoke(self, target: str | int, *, is_back: bool = False) -> None:
        """Show a job as REVOKED: it runs on another cluster of the federation, its sibling.

        A real one gives away single jobs only; arrays stay (seen on 22.05).
        """
        for job, _ in control.find(self, str(target)):
            job.flag = "" if is_back else "REVOKED"
            if is_back:
                self.pending[job.id] = job
                self.tell(job)
                continue
            self.pending.pop(job.id, None)
            self.tell(job, state="REVOKED", end_at=self.now)
            if self.sibling is not None:
                self.sibling.take_over(job)
        self.wake()

    def take_over(self, job: Job) -> None:
        """Have a job of another cluster of the federation, under its id."""
        mine = replace(job, flag="", process=None, db=0)
        self.begun(mine, mine.count)
        self.add(mine)
        self.pending[mine.id] = mine
        self.tell(mine)
        self.wake()

    def beside(self) -> "Cluster | None":
        """Return the other cluster of the federation, as it is now."""
        if self.sibling is not None and self.sibling.now < self.now:
            self.sibling.run_until(self.now)
        return self.sibling

    def purge(self, target: str | int | None = None) -> None:
        """Forget ended jobs before MinJobAge; all of them, or one."""
        jobs = list(self.jobs.values()) if target is None else self.records(int(target))
        for job in jobs:
            if job.is_over and job.gone_at is not None:
                self.remove(job)

    def forget_history(self) -> None:
        """Purge the accounting of what has ended."""
        self.accounting.seen(self.now)
        self.accounting.forget()

    def restart_controller(self, down_s: float) -> None:
        """Take slurmctld away for a while; what runs goes on."""
        self.is_down = True
        self.at(self.now + down_s, self._up)

    def _up(self) -> None:
        self.is_down = False
        self.wake()

    def end(self, process: Process, seconds: float = 0, *, code: int = 0, signal: int = 0) -> None:
        """Let a process end in some seconds, whatever was planned."""
        life.end_in(self, process, seconds, code, signal)
