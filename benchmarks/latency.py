"""From the end of a run to its state in the store, with the daemon running; and what that asks.

The end is the time in the run's own exit record, the state what another process reads from the
store. Slurm's programs have a model behind them that really runs what is submitted; all calls of
them are counted.
"""

import argparse
import json
import os
import pwd
import random
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import venvs
from benchmarks.figures import Figure, at_most, number
from benchmarks.timing import As, BenchmarkError, say

MEDIAN_S = 2
LOOK_S = 0.02  # at the store
LONGEST_S = 600.0
SPEC = """\
experiment: ends
command: [sleep, "{{s}}"]
params: {{s: {durations}}}
request: {{cpus: 1, mem: 100M, time: 10m}}
"""
SETTINGS = 'scratch = "{scratch}"\nbeat_s = 5\n'
NO_LOOKS = "poll_s = 3600\npoll_max_s = 3600\n"  # while the runs end


@dataclass(frozen=True)
class Told:
    """How late the ends of a sweep were told, and how often Slurm was asked meanwhile."""

    late_s: list[float]
    calls: int

    @property
    def median_s(self) -> float:
        """Return the median."""
        return statistics.median(self.late_s)


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=40, metavar="N", help="of a sweep (40)")
    parser.add_argument("--tasks", type=int, default=4, metavar="N", help="at once (4)")
    parser.add_argument("--seed", type=int, default=1, help="of how long runs take")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield how late ends are told as installed, and the same where the queue is not looked at."""
    drawn = random.Random(given.seed).sample(range(500, 5000), given.runs)
    durations = [ms / 1000 for ms in drawn]
    with venvs.workplace() as folder:
        ours, peers, scripts = venvs.product(folder), venvs.peers(folder), venvs.scripts(folder)
        bench = Bench(folder, ours, scripts, given.tasks, durations)
        usual, alone = bench.sweep("usual", ""), bench.sweep("alone", NO_LOOKS)
        words = (str(given.tasks), json.dumps(durations))
        argv = (peers / "python", scripts / "submitit_ends.py", folder / "submitit", *words)
        ended = As(folder, {"HOME": str(folder)}).run(*argv)
        theirs = statistics.median(json.loads(ended.out.splitlines()[-1]))
        version = venvs.version(peers, "submitit")
    peer = f"{version}, local, job.done() each second: {number(theirs)} s"
    what = "from the end of a run to its state in the store, median"
    yield at_most(f"{what} of {given.runs}", usual.median_s, "s", MEDIAN_S, peer=peer)
    most = f"at most {max(alone.late_s):.1f} s"
    yield at_most(f"{what}, nobody looks at the queue", alone.median_s, "s", MEDIAN_S, peer=most)
    first = "… calls of Slurm's programs, from the first end to the last state"
    yield at_most(
        first, alone.calls, "calls", 0, peer=f"as installed, looks are due: {usual.calls}"
    )


@dataclass(frozen=True)
class Bench:
    """Where it is done, with what, and what is run."""

    folder: Path
    ours: Path
    scripts: Path
    tasks: int
    durations: list[float]

    def sweep(self, name: str, settings: str) -> Told:
        """Run a sweep to its end, with a daemon."""
        place = self.folder / name
        place.mkdir()
        programs, calls = place / "programs", place / "calls"
        user = self._user(place, programs)
        argv = (self.scripts / "modelled.py", programs, calls, str(self.tasks))
        user.run(self.ours / "python", *argv)
        project = place / "project"
        penstock = (self.ours / "penstock", "--project", project)
        user.run(self.ours / "penstock", "init", project)
        with (project / "penstock.toml").open("a") as file:
            file.write(SETTINGS.format(scratch=place / "scratch") + settings)
        (place / "scratch").mkdir()
        (project / "sweep.yaml").write_text(SPEC.format(durations=self.durations))
        with _daemon(user, penstock, place):
            user.run(*penstock, "submit", project / "sweep.yaml")
            seen = _watch(project / ".penstock" / "penstock.db", len(self.durations))
        began, ended = min(end for end, _ in seen), max(at for _, at in seen)
        asked = [float(line.split()[0]) for line in calls.read_text().splitlines()]
        told = Told([at - end for end, at in seen], sum(began <= at <= ended for at in asked))
        say(f"{name}: {told.median_s:.2f} s, at most {max(told.late_s):.2f} s, {told.calls} calls")
        return told

    def _user(self, place: Path, programs: Path) -> As:
        path = f"{programs}:{self.ours}:/usr/local/bin:/usr/bin:/bin"
        name = pwd.getpwuid(os.getuid()).pw_name
        return As(place, {"PATH": path, "HOME": str(place), "USER": name})


@contextmanager
def _daemon(user: As, penstock: tuple[str | Path, ...], place: Path) -> Iterator[None]:
    """Let a daemon run meanwhile; tell what it said where all did not go well."""
    with (place / "daemon.err").open("w+") as err:
        daemon = user.begin((*penstock, "daemon", "run"), subprocess.DEVNULL, err.fileno())
        try:
            yield
            if daemon.poll() is not None:
                err.seek(0)
                raise BenchmarkError(f"the daemon ended: {err.read()[-2000:]}")
        finally:
            daemon.terminate()
            daemon.wait(60)


def _watch(store: Path, runs: int) -> list[tuple[float, float]]:
    """Return when each run ended, and when the store was seen to say so."""
    seen: dict[int, tuple[float, float]] = {}
    deadline = time.monotonic() + LONGEST_S
    query = "SELECT id, state, ended_at FROM run WHERE ended_at IS NOT NULL"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as view:
        while len(seen) < runs:
            for run, state, ended_at in view.execute(query):
                if state != "completed":
                    raise BenchmarkError(f"run {run} is {state}")
                seen.setdefault(run, (ended_at, time.time()))
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{len(seen)} of {runs} runs ended in {LONGEST_S:.0f} s")
            time.sleep(LOOK_S)
    return list(seen.values())
