"""A real Slurm for a benchmark alone: deploy/local-slurm, in a folder and on ports of its own."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import As, BenchmarkError, say
from benchmarks.venvs import ROOT

USER = "alice"  # without a limit of jobs; what an ordinary user does is what is measured
PORT_BASE = 17_400
LARGEST_ARRAY = 100_001
COUNTED = rf"^\s*{USER}\s*\(\s*\d+\)\s+count:(\d+)"  # in what sdiag says of users


@dataclass(frozen=True)
class Cluster:
    """A Slurm that is up, and a folder that its user may write."""

    conf: Path
    folder: Path

    @property
    def user(self) -> As:
        """Return how programs run as the ordinary user."""
        env = {"SLURM_CONF": str(self.conf), "HOME": str(self.folder), "USER": USER}
        return As(self.folder, env, USER)

    @property
    def root(self) -> As:
        """Return how Slurm's programs run as the administrator."""
        return As(Path("/"), {"SLURM_CONF": str(self.conf)})

    def fill(self) -> int:
        """Take all nodes, so that what is submitted waits; return the job that does it."""
        script = ("--wrap", "sleep 86400", "--output", "/dev/null", "--time", "60")
        nodes = ("--nodes", "4", "--exclusive", "--mem", "0", "--partition", "urgent")
        job = int(self.root.run("sbatch", "--parsable", *nodes, *script).out)
        until(lambda: self.root.run("squeue", "-h", "-t", "R", "-o", "%A").out.strip() != "")
        return job

    def clear(self) -> None:
        """Cancel what the user has in the queue."""
        self.root.run("scancel", "--quiet", f"--user={USER}")
        self.drain()

    def drain(self) -> None:
        """Wait until nothing of the user is left in the queue."""
        until(lambda: self.tasks() == 0)

    def tasks(self) -> int:
        """Return how many tasks of the user are in the queue, or end just now."""
        listed = self.root.run("squeue", "-h", "-r", "-u", USER, "-o", "%i")
        return len(listed.out.splitlines())

    def reset_rpcs(self) -> None:
        """Forget what was counted."""
        self.root.run("sdiag", "--reset")

    def rpcs(self) -> int:
        """Return how many RPCs the user has made to slurmctld since it was reset."""
        counted = re.search(COUNTED, self.root.run("sdiag").out, re.MULTILINE)
        return int(counted.group(1)) if counted else 0


def bare(runs: int) -> tuple[str, ...]:
    """Return the arguments of a bare sbatch for so many tasks that do nothing."""
    return (f"--array=0-{runs - 1}", "--mem=200M", "--time=10", "-o", "/dev/null", "--wrap", "true")


def why_not() -> str:
    """Return why there can be no Slurm here, or nothing."""
    if os.geteuid() != 0:
        return "needs root, for a Slurm of its own (deploy/local-slurm)"
    return ""


@contextmanager
def slurm(workplace: Path, *, largest_array: int = LARGEST_ARRAY) -> Iterator[Cluster]:
    """Start one; end it and all its jobs. Raises BenchmarkError where that can't be done."""
    home = workplace / "slurm"
    _local_slurm(
        home,
        "up",
        f"--port-base={PORT_BASE}",
        f"--max-array-size={largest_array}",
        "--max-job-count=500000",
    )
    folder = workplace / USER
    folder.mkdir()
    try:
        subprocess.run(["chown", f"{USER}:", folder], check=True)
        yield Cluster(home / "slurm.conf", folder)
    finally:
        _local_slurm(home, "down")


def _local_slurm(home: Path, *words: str) -> None:
    say(f"deploy/local-slurm {' '.join(words)}")
    done = subprocess.run(
        [ROOT / "deploy" / "local-slurm", *words],
        env={**os.environ, "LOCAL_SLURM_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"deploy/local-slurm {words[0]}: {done.stderr[-2000:]}")


def until(holds: Callable[[], bool], *, timeout_s: float = 300) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"still not so after {timeout_s:.0f} s")
        time.sleep(0.1)
