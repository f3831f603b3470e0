"""Run programs as a user would, and see what they cost."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class BenchmarkError(Exception):
    """Something that is measured failed, or could not be set up."""


@dataclass(frozen=True)
class Ended:
    """What a program cost, from start to end; ``peak_bytes`` is of its largest process."""

    wall_s: float
    peak_bytes: int
    out: str


@dataclass(frozen=True)
class As:
    """Where, as whom and with what variables a program runs; nothing else of the caller's."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None

    def begin(
        self, argv: Sequence[str | Path], stdout: int, stderr: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[str]":
        """Start a program, and go on."""
        return subprocess.Popen(
            [str(word) for word in argv],
            cwd=self.folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **self.env},
            stdin=subprocess.DEVNULL,
            text=True,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdout=stdout,
            stderr=stderr,
        )

    def run(self, *argv: str | Path) -> Ended:
        """Run a program to its end. Raises BenchmarkError with its words where it fails."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            began = time.perf_counter()
            child = self.begin(argv, out.fileno(), err.fileno())
            _, status, used = os.wait4(child.pid, 0)
            wall_s = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if child.returncode != 0:
                words = (out.read() + err.read()).strip()
                raise BenchmarkError(f"{argv} ended with {child.returncode}: {words[-3000:]}")
            return Ended(wall_s, used.ru_maxrss * 1024, out.read())


@dataclass(frozen=True)
class Taken:
    """What several rounds took, in seconds: a wide range says that something else had a part."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3g} s ({self.least:.3g} to {self.most:.3g})"


def alternate(
    rounds: int, measure: Callable[[str], float], names: Iterable[str]
) -> dict[str, "Taken"]:
    """Measure each in turn, again and again."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name, values in taken.items():
            values.append(measure(name))
            say(f"{number + 1}/{rounds}: {name}: {values[-1]:.3f}")
    return {
        name: Taken(statistics.median(values), min(values), max(values))
        for name, values in taken.items()
    }


def say(words: str) -> None:
    """Tell on stderr how far it is."""
    print(f"  {words}", file=sys.stderr, flush=True)
