"""One cycle of the reconciler with very many unfinished runs, of which few have changed.

In each array some runs end, with a record, and some begin: no array is left as it was. Each look is
a process of its own, from the first byte of squeue's answer to the last transaction.
"""

import argparse
import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import venvs
from benchmarks.figures import Figure, at_most
from benchmarks.timing import As, BenchmarkError, say

LATER_S = 2.0
GROWTH = 1.2  # of the time for each run: linear
PEAK_MB = 300
SHARE = 100  # one in so many changes
MORE = 10

Look = dict[str, Any]


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=100_000, metavar="N", help="and ten times that")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of (3)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield what one cycle takes, how that grows, and what the first look takes."""
    with venvs.workplace() as folder:
        bench = As(folder, {"HOME": str(folder), "USER": "bench"})
        argv = (venvs.product(folder) / "python", venvs.scripts(folder) / "cycle_penstock.py")
        few = _looks(bench, argv, given.runs, given.rounds)
        many = _looks(bench, argv, given.runs * MORE, given.rounds)
    runs, changed = f"{given.runs:,}", f"{given.runs // SHARE:,}"
    later, first = _median(few, "later"), _median(few, "first")
    what = f"a cycle with {runs} unfinished runs of which {changed} changed"
    yield at_most(what, later, "s", LATER_S, peer=_range(few, "later"))
    yield at_most("… of that a processor's", _median(few, "later", "cpu_s"), "s", LATER_S)
    peak_mb = max(one["peak_mb"] for one in few["later"] + few["first"])
    yield at_most("… peak memory", peak_mb, "MB", PEAK_MB)
    growth = _median(many, "later", "cpu_s") / MORE / _median(few, "later", "cpu_s")
    beside = f"{_median(many, 'later', 'cpu_s'):.3g} s in all"
    what = f"… a processor's for each run, with {given.runs * MORE:,} beside that"
    yield at_most(what, growth, "×", GROWTH, peer=beside)
    what = f"the first look at {runs} runs: a reason is written for each"
    yield at_most(what, first, "s", LATER_S, peer=_range(few, "first"))


def _looks(bench: As, argv: tuple[Path, Path], runs: int, rounds: int) -> dict[str, list[Look]]:
    """Look for the first time and again, each time at the same."""
    place = bench.folder / str(runs)
    some = runs // SHARE
    say(f"{runs:,} runs: filling a store")
    bench.run(*argv, "prepare", place, str(runs), str(some))
    states = {
        "first": {"queued": runs - some, "running": some},
        "later": {"queued": runs - some - some // 2, "running": some, "completed": some // 2},
    }
    looks: dict[str, list[Look]] = {}
    for name, right in states.items():
        if name == "later":
            bench.run(*argv, "change", place)
        looks[name] = [_look(bench, argv, place, name, right) for _ in range(rounds)]
        bench.run(*argv, "look", place, name)
    shutil.rmtree(place)
    return looks


def _look(
    bench: As, argv: tuple[Path, Path], place: Path, name: str, right: dict[str, int]
) -> Look:
    store = place / ".penstock" / "penstock.db"
    before = store.with_suffix(".before")
    shutil.copyfile(store, before)
    told: Look = json.loads(bench.run(*argv, "look", place, name).out)
    if told["states"] != right or told["odd"]:
        raise BenchmarkError(f"{name} look: {told['states']}, {told['odd']}, and not {right}")
    say(f"{name}: {told['wall_s']:.2f} s, cpu {told['cpu_s']:.2f} s, {told['peak_mb']:.0f} MB")
    before.replace(store)
    return told


def _median(looks: dict[str, list[Look]], name: str, key: str = "wall_s") -> float:
    return statistics.median(float(one[key]) for one in looks[name])


def _range(looks: dict[str, list[Look]], name: str) -> str:
    every = [float(one["wall_s"]) for one in looks[name]]
    cpu_s = _median(looks, name, "cpu_s")
    return f"from {min(every):.3g} to {max(every):.3g} s, a processor's {cpu_s:.3g} s"
