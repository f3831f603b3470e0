"""Processes killed at every failpoint and at random: what is lost, doubled or wrong afterwards.

A crash is a SIGKILL of a command of Penstock or of a runner; then others go on until all is over.
"""

import argparse
import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import cluster, venvs
from benchmarks.figures import Figure, at_least, at_most, left_out
from benchmarks.timing import BenchmarkError, say
from penstock.testing import rounds
from penstock.testing.places import OnSlurm, on_model
from penstock.testing.rounds import Tally


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--model", type=int, default=1000, metavar="N", help="crashes (1000)")
    parser.add_argument("--slurm", type=int, default=50, metavar="N", help="crashes (50)")
    parser.add_argument(
        "--conf", type=Path, metavar="FILE", help="slurm.conf of one that is up (one of its own)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first round (0)")
    parser.add_argument("--at-once", type=int, default=6, metavar="N", help="rounds (6)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield how many processes were killed, and what came of it."""
    with venvs.workplace() as folder:
        if given.model:
            yield from _on_model(given, folder)
        if given.slurm:
            yield from _on_slurm(given, folder)


def _on_slurm(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    try:
        with _slurm(given, folder) as (conf, home):
            place = OnSlurm(venvs.product(folder) / "penstock", cluster.USER, conf)
            drawn = map(rounds.on_slurm, itertools.count(given.seed))
            tally = rounds.play(place, home, drawn, at_once=3, until=given.slurm, say=say)
    except BenchmarkError as error:  # what the model said stands
        yield left_out("crashes on a real Slurm", "SIGKILLs", f"≥ {given.slurm}", str(error))
    else:
        yield from _told("a real Slurm", tally, given.slurm)


@contextmanager
def _slurm(given: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the configuration of a Slurm, and a folder of its user's."""
    if why := cluster.why_not():
        raise BenchmarkError(why)
    if given.conf is None:
        with cluster.slurm(folder) as slurm:
            yield slurm.conf, slurm.folder
        return
    home = folder / cluster.USER
    home.mkdir()
    shutil.chown(home, cluster.USER)
    yield given.conf, home


def _on_model(given: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    with on_model(folder / "on-model") as place:
        drawn = map(rounds.at_random, itertools.count(given.seed))
        every = itertools.chain(*map(rounds.in_turn, (1, 2, 3)), drawn)
        tally = rounds.play(
            place, folder / "on-model", every, at_once=given.at_once, until=given.model, say=say
        )
    passed = len(rounds.commands()) + len(rounds.runners())
    killed = len(tally.crashes.keys() - {"random"})
    yield at_least("failpoints at which a process was killed", killed, "failpoints", passed)
    yield from _told("the model", tally, given.model)


def _told(where: str, tally: Tally, wanted: int) -> Iterator[Figure]:
    for problem in tally.problems:
        say(problem)
    at_random = tally.crashes["random"]
    how = f"{tally.crashed - at_random} at failpoints, {at_random} at random instants"
    yield at_least(f"crashes on {where}", tally.crashed, "SIGKILLs", wanted, peer=how)
    yield at_least("… runs", tally.runs, "runs", 1, peer=f"in {tally.rounds} projects")
    for kind in ("lost", "doubled", "wrong"):
        yield at_most(f"… {kind}", len(getattr(tally, kind)), "runs", 0)
