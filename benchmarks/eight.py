"""Eight processes at one store, for five minutes, some killed among them: what is lost or doubled.

Two submit, two read spools in, two call commands of Penstock, two look whether what they see is
whole. SQLite with its rollback journal, as on a shared file system; or another store by its URL.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks import venvs
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.timing import say
from penstock.testing.crowd import crowd

WAIT_S = 30  # a writer gives up then


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--seconds", type=float, default=300, metavar="N", help="how long (300)")
    parser.add_argument("--store", default="", metavar="URL", help="(a file of SQLite)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="a new one, such as on NFS (of this machine)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="who is killed (0)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield what eight processes did, and what came of it."""
    with venvs.workplace() as workplace:
        folder = given.folder or workplace / "crowd"
        outcome = crowd(folder, lasts_s=given.seconds, url=given.store, seed=given.seed)
    for words in (*outcome.lost, *outcome.doubled, *outcome.wrong, *outcome.errors):
        say(words)
    what = f"eight processes on one store for {given.seconds:.0f} s"
    done = f"{outcome.runs:,} runs, {outcome.points:,} points, {outcome.killed} writers killed"
    yield at_least(f"{what}: transactions that write", outcome.transactions, "", 1, peer=done)
    looks = f"{outcome.looks:,} looks, {outcome.commands} submits by command"
    yield at_most("… lost", len(outcome.lost), "", 0)
    yield at_most("… doubled", len(outcome.doubled), "", 0)
    yield at_most("… seen in part, or wrong in the end", len(outcome.wrong), "", 0, peer=looks)
    yield at_most("… processes that failed", len(outcome.errors), "", 0)
    yield at_most("… longest wait of a writer", outcome.longest_wait_s, "s", WAIT_S)
