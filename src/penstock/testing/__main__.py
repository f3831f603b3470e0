"""Run histories: ``python -m penstock.testing 0:300``, or one seed with its story.

With numbers after a seed (``253 4,17``) only these of its faults happen. ``shrink 253`` looks for
the fewest with which it fails; ``mutations`` for the first seed that finds each deliberate fault.
"""

import gc
import os
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from multiprocessing import Pool
from pathlib import Path

from penstock.testing.mutations import MUTATIONS
from penstock.testing.outcome import Outcome
from penstock.testing.shrink import shrink
from penstock.testing.simulation import history

COUNTED = ("runs", "cycles", "simulated_s", "crashes", "rpcs", "asks")
JUDGED = ("lost", "doubled", "wrong", "stuck", "errors", "costly")
SHARED = Path("/dev/shm")


@dataclass
class Tally:
    """What many histories came to."""

    histories: int = 0
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0.0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JUDGED, 0))
    failed: list[int] = field(default_factory=list)
    core_s: float = 0

    def add(self, outcome: Outcome, core_s: float) -> None:
        """Take in one history."""
        self.histories += 1
        self.core_s += core_s
        for name in COUNTED:
            self.counts[name] += getattr(outcome, name)
        for name in JUDGED:
            self.found[name] += len(getattr(outcome, name))
        if outcome.problems:
            self.failed.append(outcome.seed)

    def lines(self) -> Iterator[str]:
        """Yield what to print."""
        days = self.counts["simulated_s"] / 86_400
        yield f"histories        {self.histories}"
        for name in COUNTED:
            if name != "simulated_s":
                yield f"{name:<16} {self.counts[name]:.0f}"
        yield f"simulated        {days:.1f} days, {days / self.core_s * 60:.1f} a minute of a core"
        for name in JUDGED:
            yield f"{name:<16} {self.found[name]}"


def _spare() -> None:
    """Look for garbage seldom: a history leaves little, and goes within a second."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _one(task: tuple[int, str]) -> tuple[Outcome, float]:
    seed, folder = task
    own = Path(folder) / str(os.getpid())
    own.mkdir(exist_ok=True)
    began = time.process_time()
    outcome = history(seed, own)
    return outcome, time.process_time() - began


def many(seeds: range, processes: int = 2) -> Tally:
    """Run histories, on several cores where there are many; print those that fail."""
    tally = Tally()
    count = min(processes, max(1, len(seeds) // 20))
    with tempfile.TemporaryDirectory(dir=_memory()) as folder, Pool(count, _spare) as pool:
        tasks = ((seed, folder) for seed in seeds)
        for outcome, core_s in pool.imap(_one, tasks, chunksize=4):
            tally.add(outcome, core_s)
            if outcome.problems:
                shown = "; ".join(outcome.problems[:3])
                print(f"make simulate SEEDS={outcome.seed}   # {shown}", flush=True)
    return tally


def _memory() -> Path | None:
    """Return where files cost nothing, if there is such a place."""
    return SHARED if SHARED.is_dir() else None


def single(seed: int, only: Collection[int] | None = None) -> Outcome:
    """Run one history and print its story."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        outcome = history(seed, Path(folder), only)
    print("\n".join([*outcome.story, "", *outcome.problems]))
    return outcome


def shrunk(seed: int) -> bool:
    """Print how a history fails with the fewest faults; return whether it fails."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        outcome = shrink(seed, Path(folder))
    if outcome is None:
        print(f"seed {seed} is right")
        return False
    faults = ",".join(map(str, outcome.faults)) or "0"
    print("\n".join([*outcome.story, "", *outcome.problems]))
    print(f"\nmake simulate SEEDS='{seed} {faults}'")
    return True


def finds(task: tuple[str, int]) -> tuple[str, int | None, str]:
    """Return the first seed below a number that finds a mutation, and what it says."""
    name, below = task
    with tempfile.TemporaryDirectory(dir=_memory()) as folder, MUTATIONS[name]():
        for seed in range(below):
            problems = _one((seed, folder))[0].problems
            if problems:
                return name, seed, problems[0]
    return name, None, "not found"


def mutations(below: int = 1000) -> int:
    """Print which seed finds which mutation; return how many none does."""
    missed = 0
    with Pool(2) as pool:
        for name, seed, problem in pool.imap(finds, ((name, below) for name in MUTATIONS)):
            missed += seed is None
            print(f"| {name} | {seed} | {problem} |", flush=True)
    return missed


def main(argv: list[str]) -> int:
    """Run the histories that the first word names: ``7``, ``7 3,9``, or ``0:300``."""
    if argv == ["mutations"]:
        return mutations()
    if argv[:1] == ["shrink"]:
        return 1 if shrunk(int(argv[1])) else 0
    first, colon, last = (argv or ["0:300"])[0].partition(":")
    if not colon:
        only = [int(number) for number in argv[1].split(",")] if len(argv) > 1 else None
        return 1 if single(int(first), only).problems else 0
    tally = many(range(int(first), int(last)))
    print("\n".join(tally.lines()))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
