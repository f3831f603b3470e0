"""How long a submission takes, what memory it needs, and how many files it makes."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks import cluster, project, venvs
from benchmarks.cluster import Cluster
from benchmarks.figures import Figure, at_most, left_out
from benchmarks.live import live
from benchmarks.many import many
from benchmarks.timing import BenchmarkError, alternate

SHARE = 1 / 3  # of the time that submitit needs
FILES = 50


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=10_000, metavar="N", help="on Slurm (10000)")
    parser.add_argument("--many", type=int, default=100_000, metavar="N", help="runs (100000)")
    parser.add_argument("--live", type=int, default=400, metavar="N", help="that run (400)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="medians of (5)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield times of whole commands, files and memory."""
    with venvs.workplace() as folder:
        ours, peers, scripts = venvs.product(folder), venvs.peers(folder), venvs.scripts(folder)
        peer = (peers / "python", scripts / "submitit_array.py")
        name = venvs.version(peers, "submitit")
        if why := cluster.why_not():
            what, target = f"submit {given.runs:,} runs", "≤ a third of submitit's"
            yield left_out(what, "s", target, why)
        else:
            with cluster.slurm(folder) as slurm:
                sweeps = Sweeps(slurm, ours / "penstock", peer, given.runs)
                yield from sweeps.compare(given.rounds, name)
                yield from live(slurm, ours / "penstock", peer, given.live, name)
        yield from many(folder, ours, peer, given.many, name)


class Sweeps:
    """The same sweep submitted by each, to a cluster that is full: nothing starts meanwhile."""

    def __init__(self, slurm: Cluster, penstock: Path, peer: tuple[Path, Path], runs: int) -> None:
        self.slurm, self.penstock, self.peer, self.runs = slurm, penstock, peer, runs
        self.files: dict[str, int] = {}
        self.turn = 0

    def compare(self, rounds: int, name: str) -> Iterator[Figure]:
        """Yield whole times beside each other, and files before anything starts."""
        blocker = self.slurm.fill()
        took = alternate(rounds, self.submit, ("penstock", "submitit", "sbatch"))
        self.slurm.root.run("scancel", str(blocker))
        peer = f"{name}: {took['submitit']}, bare sbatch: {took['sbatch']}"
        what = f"submit {self.runs:,} runs"
        ours, theirs = took["penstock"].median, took["submitit"].median
        yield at_most(f"{what}, beside the peer's", ours / theirs, "× submitit", SHARE, peer=peer)
        yield at_most(f"{what}, whole command", ours, "s", SHARE * theirs, peer=peer)
        what = f"files of {self.runs:,} runs before they start"
        peer = f"{name}: {self.files['submitit']:,}"
        yield at_most(what, self.files["penstock"], "files", FILES, peer=peer)

    def submit(self, name: str) -> float:
        """Submit by one of them, see that Slurm has all, and take it back; return the seconds.

        Nothing is deleted before the end: ext4 makes files slowly where many were deleted. Nor has
        one to wait for what the other left to be written.
        """
        os.sync()
        self.turn += 1
        folder = self.slurm.folder / f"{self.turn}.{name}"
        by = {"penstock": self._penstock, "submitit": self._submitit, "sbatch": self._sbatch}
        took_s = by[name](folder)
        if (tasks := self.slurm.tasks()) != self.runs:
            raise BenchmarkError(f"{name}: Slurm has {tasks} tasks, not {self.runs}")
        self.files[name] = project.inodes(folder) if folder.exists() else 0
        self.slurm.clear()
        return took_s

    def _penstock(self, folder: Path) -> float:
        return project.make(self.slurm.user, self.penstock, folder, self.runs).submit().wall_s

    def _submitit(self, folder: Path) -> float:
        return self.slurm.user.run(*self.peer, folder, str(self.runs)).wall_s

    def _sbatch(self, _folder: Path) -> float:
        return self.slurm.user.run("sbatch", *cluster.bare(self.runs)).wall_s
