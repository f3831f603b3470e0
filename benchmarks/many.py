"""Many more runs, on programs named sbatch, squeue … that accept at once; a part of ``submit``.

With MaxArraySize as Slurm has it (1001) they are many arrays too.
"""

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import project
from benchmarks.figures import Figure, at_most, number
from benchmarks.timing import As, BenchmarkError, Ended, say

PARTS = 5
GROWTH = 1.2  # of the time for each run, from a fifth to all of them
PEAK_MB = 400
ROUNDS = 3
LAST = re.compile(r"^#SBATCH --array=0-(\d+)", re.MULTILINE)


class Accepting:
    """A folder with programs that accept, and users' commands that find them first."""

    def __init__(self, folder: Path, ours: Path, scripts: Path) -> None:
        self.folder = folder / "many"
        self.folder.mkdir()
        self.penstock = ours / "penstock"
        self.state = self.folder / "state"
        programs = self.folder / "programs"
        user = pwd.getpwuid(os.getuid()).pw_name
        path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
        self.user = As(self.folder, {"PATH": path, "HOME": str(self.folder), "USER": user})
        self.user.run(ours / "python", scripts / "accepting.py", programs, self.state, user)

    def submit(self, name: str, runs: int) -> Ended:
        """Submit a sweep; see that all of it was accepted."""
        before = self.accepted()
        made = project.make(self.user, self.penstock, self.folder / name, runs)
        ended = made.submit()
        if (accepted := self.accepted() - before) != runs:
            raise BenchmarkError(f"{accepted} of {runs} runs were accepted: {ended.out}")
        say(f"{runs:,} runs: {ended.wall_s:.2f} s, {ended.peak_bytes / 1e6:.0f} MB")
        return ended

    def accepted(self) -> int:
        """Return how many tasks were accepted until now."""
        file = self.state / "accepted"
        lines = file.read_text().splitlines() if file.exists() else []
        texts = (Path(line.partition(" ")[2]).read_text() for line in lines)
        return sum(int(found[1]) + 1 for text in texts if (found := LAST.search(text)))


def many(
    folder: Path, ours: Path, peer: tuple[Path, Path], runs: int, name: str
) -> Iterator[Figure]:
    """Yield how time grows with the runs, and the memory of the largest process."""
    accepting = Accepting(folder, ours, folder / "scripts")
    sizes = (runs // PARTS, runs)
    ended: dict[int, list[Ended]] = {size: [] for size in sizes}
    for turn in range(ROUNDS):
        for size in sizes:
            ended[size].append(accepting.submit(f"{turn}.{size}", size))
    theirs = accepting.user.run(*peer, accepting.folder / "submitit", str(runs))
    each = {size: median(one.wall_s for one in ended[size]) / size for size in sizes}
    what = f"submit {runs:,} runs, programs that accept at once"
    took = f"{name}: {number(theirs.wall_s)} s, penstock: {number(each[runs] * runs)} s"
    growth = each[runs] / each[sizes[0]]
    ratio = each[runs] * runs / theirs.wall_s
    yield at_most(f"{what}, beside the peer's", ratio, "× submitit", 1, peer=took)
    yield at_most(f"… time for each, beside that of {sizes[0]:,}", growth, "×", GROWTH)
    peak_mb = max(one.peak_bytes for one in ended[runs]) / 1e6
    beside = f"{name}: {number(theirs.peak_bytes / 1e6)} MB"
    yield at_most("… peak memory", peak_mb, "MB", PEAK_MB, peer=beside)
