"""How many files a sweep has while it runs and when it has ended; a part of ``submit``."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import project
from benchmarks.cluster import Cluster
from benchmarks.figures import Figure, at_most
from benchmarks.timing import BenchmarkError, say

A_RUN = 2
FILES = 50  # however many runs


def live(
    slurm: Cluster, penstock: Path, peer: tuple[Path, Path], runs: int, name: str
) -> Iterator[Figure]:
    """Run a sweep to its end; yield the most files that it had at once, and what remained."""
    folder = slurm.folder / "live"
    made = project.make(slurm.user, penstock, folder, runs)
    made.submit()
    most = _most(made)
    after = project.inodes(folder)
    slurm.drain()
    of_peer = slurm.folder / "live.submitit"
    slurm.user.run(*peer, of_peer, str(runs), "--wait")
    theirs = project.inodes(of_peer)
    what = f"files of {runs:,} runs"
    limit = FILES + A_RUN * runs
    yield at_most(f"{what} while they run", most, "files", limit, peer=f"{name}: {theirs:,}")
    yield at_most(f"{what} after they ended", after, "files", FILES, peer=f"{name}: {theirs:,}")


def _most(made: project.Project) -> int:
    """Watch to the end, and count again and again."""
    argv = (made.penstock, "--project", made.folder, "watch", "grid")
    child = made.user.begin(argv, subprocess.DEVNULL)
    counts = []
    while child.poll() is None:
        counts.append(project.inodes(made.folder))
        time.sleep(0.1)
    if child.returncode != 0:
        raise BenchmarkError(f"penstock watch ended with {child.returncode}: not all completed")
    say(f"most {max(counts)} files, {counts[-1]} at the end")
    return max(counts)
