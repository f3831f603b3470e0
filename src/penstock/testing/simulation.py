"""Deterministic simulation: the real reconciler and store, the model, and faults from one seed.

    outcome = history(seed, folder)

One history submits a few sweeps, lets a user, an administrator, the cluster and the machine do
their worst for a while, then lets all be well, and looks whether every run ended, once, as it
really did. The same seed gives the same history.
"""

import traceback
from collections.abc import Collection
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from penstock import failpoint
from penstock.errors import PenstockError
from penstock.failpoint import Tripped
from penstock.model.spec import Axis, Request, Stage, Sweep
from penstock.model.state import FINAL, State
from penstock.planning import sweep as sweeps
from penstock.reconciler import send
from penstock.reconciler.cycle import cycle
from penstock.settings import Settings
from penstock.store import directives, resolutions, submissions
from penstock.testing import copies, draw, judge
from penstock.testing.draw import USER
from penstock.testing.factories import make_new_submission
from penstock.testing.files import StaleFiles
from penstock.testing.hosts import HOME, FaultyStore, Host, InMemory, settings_of, template
from penstock.testing.jobs import Plan, Process
from penstock.testing.judge import Verdict
from penstock.testing.mischief import Mischief
from penstock.testing.outage import Outage
from penstock.testing.outcome import Outcome
from penstock.testing.runners import Runners
from penstock.testing.site import ROOT
from penstock.testing.spells import Spells
from penstock.testing.transport import Fault, ModelTransport
from penstock.testing.witness import Witness
from penstock.wire import place

PEACE_S = 10 * 24 * 3600.0  # how long all may take once they are well again


class History:
    """One history, from its seed; with ``only`` none but the faults of these numbers happen."""

    def __init__(self, seed: int, folder: Path, only: Collection[int] | None = None) -> None:
        self.random = Random(seed)
        # Streams of their own: one more transaction, or call, moves no more than what comes of it.
        self.of_store, self.of_calls, self.of_trips = (
            Random(f"{kind} {seed}") for kind in ("store", "calls", "trips")
        )
        self.outcome = Outcome(seed)
        self.only = only
        self.count = 0  # of faults that were drawn
        self.folder = folder
        self.odds = draw.odds(self.random)
        self.cluster = Witness(draw.site(self.random), seed=seed)
        if self.random.random() < 0.3:  # ids begin again soon
            self.cluster.next_id = max(1, self.cluster.site.max_job_id - 6)
        self.transport = ModelTransport(self.cluster, user=USER.name)
        self.files = StaleFiles(lambda: self.cluster.now)
        self.files.stale_s = self.odds.stale_s
        self.transport.memory = self.transport.files = self.files
        self.transport.fault = Spells(
            seed, lambda: self.cluster.now, self._is_chaos, self._happens, self._spoil
        )
        self.runners = Runners(self.cluster, self.files, self._command, seed)
        self.mischief = Mischief(self.cluster, self.random, self._tell)
        self.began_at = self.cluster.now
        self.chaos_until = self.began_at + self.odds.chaos_s
        self.memory = InMemory(template(folder))
        self.copies = copies.Copies(self.memory, seed)
        self.outage = Outage(self.memory, seed, lambda: self.cluster.now)
        self.outage.may_begin = lambda: self._is_chaos() and self._happens()
        settings = settings_of(folder, self.odds.lost_after_s, self.odds.record_grace_s)
        self.hosts = [self._host(name, settings) for name in ("one", "two")]
        self.store = FaultyStore(self.memory.file, self.cluster.clock, memory=self.memory)
        self.tokens: list[str] = []  # all that were given to arrays
        self.rejected: set[str] = set()  # those that sbatch refused for good
        self.is_peace = False
        self.acting: list[Host] = []
        self.decided: dict[int, tuple[float, float]] = {}  # between when a run's end was written
        self.told: dict[int, float] = {}  # when runners had been told of it at the latest

    def _host(self, name: str, settings: Settings) -> Host:
        host = Host(name, self.cluster, self.transport, settings, self.outage)
        host.fails = self._store_fault
        return host

    # --- what is drawn ---

    def _command(self, process: Process) -> Plan:
        return draw.command(self.random, process.restart, is_brisk=self.odds.is_brisk)

    def _is_chaos(self) -> bool:
        return self.cluster.now < self.chaos_until

    def _happens(self) -> bool:
        """Return whether a fault that was drawn happens, and number it."""
        self.count += 1
        if self.only is not None and self.count not in self.only:
            return False
        self.outcome.faults.append(self.count)
        self._tell(f"fault {self.count}")
        return True

    def _tell(self, what: str) -> None:
        shown = what.replace(f"{self.folder}/", "")
        self.outcome.story.append(f"{self.cluster.now - self.began_at:9.1f}  {shown}")

    def _spoil(self, argv: list[str]) -> Fault | None:
        is_sending = argv[0] == "sbatch" and "--parsable" in argv  # seldom, and all depends on it
        odds = min(0.5, self.odds.call * (draw.SENDING if is_sending else 1))
        if not self._is_chaos() or self.of_calls.random() >= odds:
            return None
        fault = self.of_calls.choice(draw.LOST_CALLS)
        if fault is Fault.MISSING and argv[0] == "sacct":
            return None  # a site without it has no accounting: that is drawn for a whole history
        if not self._happens():
            return None
        self._tell(f"{fault}: {' '.join(argv)[:100]}")
        if is_sending and fault is Fault.REJECT:
            self.rejected.add(Path(argv[-1]).parent.name)
        return fault

    def _store_fault(self) -> str:
        if not self._is_chaos() or self.of_store.random() >= self.odds.store:
            return ""
        fault = self.of_store.choice(["busy", "full", "unsure"])
        return fault if self._happens() else ""

    def _trip(self, name: str) -> None:
        """Crash at a failpoint, or be suspended there while another reconciler acts."""
        if not self._is_chaos():
            return
        self.copies.make()
        at = self.of_trips.random()
        crash = self.odds.crash * (draw.SENDING if name in draw.WHEN_SENDING else 1)
        if at < crash and self._happens():
            self.outcome.crashes += 1
            self._tell(f"{self.acting[-1].name} dies at {name}")
            self.acting[-1].die()
            raise Tripped(name)
        is_pause = crash <= at < crash + self.odds.pause
        if is_pause and len(self.acting) == 1 and self._happens():
            self._tell(f"{self.acting[-1].name} is suspended at {name}")
            self.cluster.advance(self.of_trips.choice([0, 10, 130, 700]))
            self._cycle(self.hosts[1 - self.hosts.index(self.acting[-1])])

    # --- the story ---

    def run(self) -> Outcome:
        """Let it all happen, and judge it; an exception that is not ours is a find, too."""
        tokens = patch.object(send, "new_token", self._token)
        try:
            with tokens, patch.object(failpoint, "trip", self._trip):
                self._live()
            self._judge()
            self._tell("the end")
            with self.store.read() as view:
                done = self.runners.executions
                self.outcome.story += judge.evidence(view, self.cluster, done, self.began_at)
        except Exception as error:  # noqa: BLE001
            self._tell(traceback.format_exc())
            self.outcome.errors.append(repr(error))
        for host in self.hosts:
            host.end()
        self.store.close()
        self.copies.close()
        self.memory.close()
        return self.outcome

    def _live(self) -> None:
        for _ in range(self.random.choice([1, 1, 2])):
            self._submit()
        length_s = self.odds.chaos_s
        nights = [self.random.random() * length_s for _ in range(self.odds.nights)]
        while self._is_chaos():
            if nights and self.cluster.now - self.began_at >= min(nights):
                nights.remove(min(nights))
                self._night()
            self.cluster.advance(self.random.choice([1, 5, 20, 60, 300]))
            if self.copies.is_due() and self._happens():
                self._put_back()
            self._cycle(self.random.choice([*self.hosts[:1] * 4, self.hosts[1]]))
            if self.random.random() < self.odds.mischief and self._happens():
                self._mischief()
        self._peace()

    def _put_back(self) -> None:
        self._tell("an older copy of the store is put in its place")
        self.copies.put_back()
        with self.store.read() as view:
            over = {run for (run,) in view.execute(judge.OVER_RUNS)}
        self.decided = {run: at for run, at in self.decided.items() if run in over}
        self.told = {run: at for run, at in self.told.items() if run in over}

    def _night(self) -> None:
        """Let things go on while nobody looks; the trouble lasts as much longer."""
        away_s = self.random.choice([900, 3600])
        self._tell(f"nobody looks for {away_s} s")
        self.chaos_until += away_s
        for _ in range(6):
            self.cluster.advance(away_s / 6)
            if self._happens():
                self.mischief.happen()

    def _token(self) -> str:
        self.tokens.append(f"ps-{len(self.tokens) + (self.outcome.seed << 20):016x}")
        return self.tokens[-1]

    def _submit(self) -> None:
        size = self.random.choice([1, 3, 9, 14])
        axis = Axis(("x",), tuple((value,) for value in range(size)))
        stage = Stage(
            "main",
            ("true",),
            sweep=Sweep(grids=((axis,),)),
            request=Request(mem_mb=100, time_s=self.random.choice([600, 3600])),
            max_parallel=self.random.choice([None, None, 2]),
        )
        new = make_new_submission(
            uid=str(self.random.getrandbits(60)),
            user=USER.name,
            cluster=self.cluster.site.name,
            stages=(stage,),
        )
        runs = ((0, params) for params in sweeps.combine(stage.sweep, submissions.param))
        with self.store.write() as tx:
            submissions.insert(tx, new, runs, self.cluster.clock.now())
        self.outcome.runs += size

    def _cycle(self, host: Host) -> None:
        self.outcome.cycles += 1
        began_at = self.cluster.now
        self.runners.beat()
        self.acting.append(host)
        look, plan = self.random.random() < 0.7, self.random.choice([None, True, False])
        is_whole = False
        try:
            report = cycle(host.world, look=look or not self._is_chaos(), plan=plan)
        except Tripped:
            host.end()
            host.begin()
        except PenstockError as error:
            self._tell(f"{host.name}: {type(error).__name__}: {error.what}")
            if copies.is_older(error):
                copies.take_up(self.store, self.transport, self.files, self.cluster.site.name)
            elif self.is_peace or "bug" in error.hint:
                self.outcome.errors.append(f"{type(error).__name__}: {error}")
        else:
            is_whole = not report.is_other
            for odd in report.odd:
                self._tell(f"{host.name}: {odd}")
        finally:
            self.acting.pop()
        if not self.acting:  # else another is in the midst of a transaction
            self._after(began_at, is_whole=is_whole)

    def _after(self, began_at: float, *, is_whole: bool) -> None:
        """Note what has ended, and close arrays as ``reconciler.fold`` does with files."""
        with self.store.read() as view:
            for (run,) in view.execute(judge.OVER_RUNS):
                self.decided.setdefault(run, (began_at, self.cluster.now))
                if is_whole:
                    self.told.setdefault(run, self.cluster.now)
            ended = list(view.execute("SELECT token FROM job_array WHERE intent = 'folded'"))
        for (token,) in ended:
            path = f"{HOME}/arrays/{token}/{place.MANIFEST}"
            if path in self.files.files:
                self.files.rename(path, path + ".ended")

    def _mischief(self) -> None:
        kind = self.random.random()
        if kind < 0.2:
            self._ask_cancel()
        elif kind < 0.3 and self.odds.skew_s:
            skew_s = self.random.uniform(-self.odds.skew_s, self.odds.skew_s)
            self._tell(f"the clock of one is wrong by {skew_s:.0f} s")
            self.hosts[0].clock.skew_s = skew_s
        else:
            self.mischief.happen()

    def _ask_cancel(self) -> None:
        run = self.random.randint(1, self.outcome.runs)
        self._tell(f"run {run} shall be cancelled")
        with self.store.write() as tx:
            directives.insert(
                tx, directives.CANCEL, [run], user=USER.name, now=self.cluster.clock.now()
            )

    # --- peace, and judgement ---

    def _heal(self) -> None:
        cluster = self.cluster
        cluster.is_down = cluster.accounting.is_down = False
        self.hosts[0].clock.skew_s = 0
        for name in sorted(cluster.nodes):
            cluster.return_node(name)
        for job in list(cluster.jobs.values()):
            if job.held_by or job.flag == "SPECIAL_EXIT":
                cluster.release(job.id, user=ROOT.name)

    def _peace(self) -> None:
        self.is_peace = self.outage.is_over = True
        self._tell("peace")
        end, wait_s = self.cluster.now + PEACE_S, 10.0
        while self.cluster.now < end and self._open_runs():
            self._heal()
            self._answer()
            self.cluster.advance(wait_s)
            wait_s = min(wait_s * 1.6, 3600)
            self._cycle(self.hosts[0])
        self.outcome.simulated_s = self.cluster.now - self.began_at
        self.outcome.rpcs = self.cluster.rpcs_of.get(USER.name, 0)

    def _open_runs(self) -> int:
        return self.outcome.runs - len(self.decided)

    def _answer(self) -> None:
        """Answer what Penstock asks, as a user does who knows what really is."""
        with self.store.read() as view:
            asked = resolutions.sending(view, user=USER.name)
        for one in asked:
            if not one.question or one.is_answered:
                continue
            job = min(self.cluster.jobs_of(one.token), default=None)
            self._tell(f"{one.token} is {'not there' if job is None else f'job {job}'}")
            self.outcome.asks += 1
            with self.store.write() as tx:
                now = self.cluster.clock.now()
                resolutions.answer(tx, one.token, job=job, user=USER.name, now=now)

    def _judge(self) -> None:
        outcome, rows = self.outcome, self._rows()
        if len(rows) != outcome.runs:
            outcome.lost.append(f"{outcome.runs - len(rows)} runs are gone")
        for one in rows:
            if problem := one.doubled():
                outcome.doubled.append(problem)
            if one.state in FINAL:
                if problem := one.wrong():
                    outcome.wrong.append(problem)
            else:
                outcome.stuck.append(f"run {one.run} is {one.state}")
        for token in self.tokens:
            if len(jobs := self.cluster.jobs_of(token)) > 1:
                outcome.doubled.append(f"{token} was sent as jobs {sorted(jobs)}")
        if outcome.rpcs > (most := outcome.budget(len(self.tokens))):
            outcome.costly.append(f"{outcome.rpcs} RPCs, where {most} are allowed")

    def _rows(self) -> list[Verdict]:
        with self.store.read() as view:
            return [self._verdict(row) for row in view.execute(judge.ROWS)]

    def _verdict(self, row: tuple[Any, ...]) -> Verdict:
        run, uid, state, cause, token, index, asked, _ = row
        return Verdict(
            run=run,
            state=State(state),
            cause=cause,
            decided=self.decided.get(run, (self.cluster.now, self.cluster.now)),
            told_at=self.told.get(run, self.cluster.now),
            executions=tuple(one for one in self.runners.executions if one.run == uid),
            segments=tuple(self.cluster.segments(token, index)) if token else (),
            is_withdrawn=self.cluster.was_withdrawn(token, index),
            is_rejected=token in self.rejected,
            is_asked=bool(asked),
            has_accounting=self.cluster.site.has_accounting,
            uid=USER.uid,
            slack_s=self.odds.stale_s + 1,
        )


def history(seed: int, folder: Path, only: Collection[int] | None = None) -> Outcome:
    """Run one history, and judge it; the folder keeps the empty store to begin with."""
    return History(seed, folder, only).run()
