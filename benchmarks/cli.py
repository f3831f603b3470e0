"""How long a command takes to answer: help, and the state of a store with many runs.

For scale: Python alone, and what others need before they do anything.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks import project, venvs
from benchmarks.figures import Figure, at_most
from benchmarks.many import Accepting
from benchmarks.timing import As, alternate, say

HELP_S = 0.25
STATUS_S = 0.6
SCALE = ("python -c pass", "import submitit", "mlflow --help")


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=100_000, metavar="N", help="in the store")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="medians of (15)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the time of the command, from start to end of its process."""
    with venvs.workplace() as folder:
        ours, peers = venvs.product(folder), venvs.peers(folder)
        accepting = Accepting(folder, ours, venvs.scripts(folder))
        say(f"filling two stores with {given.runs:,} runs")
        ended = _ended(accepting.user, ours, folder, given.runs)
        queued = project.make(accepting.user, ours / "penstock", folder / "queued", given.runs)
        queued.submit()
        programs: dict[str, tuple[str | Path, ...]] = {
            "--help": (ours / "penstock", "--help"),
            "ended": (ours / "penstock", "--project", ended, "status"),
            "queued": (ours / "penstock", "--project", queued.folder, "status"),
            "python -c pass": (peers / "python", "-c", "pass"),
            "import submitit": (peers / "python", "-c", "import submitit"),
            "mlflow --help": (peers / "mlflow", "--help"),
        }
        for argv in programs.values():
            accepting.user.run(*argv)  # once, so that none reads its files from the disk
        all_took = alternate(
            given.rounds, lambda name: accepting.user.run(*programs[name]).wall_s, programs
        )
    took = {name: one.median for name, one in all_took.items()}
    peer = ", ".join(f"{name} {took[name]:.3f} s" for name in SCALE)
    ratio = took["--help"] / took["mlflow --help"]
    yield at_most("penstock --help beside the peer's", ratio, "× mlflow --help", 1, peer=peer)
    yield at_most("penstock --help", took["--help"], "s", HELP_S, peer=peer)
    what = f"penstock status, {given.runs:,} runs in the store"
    yield at_most(f"{what}, all ended", took["ended"], "s", STATUS_S, peer=peer)
    yield at_most(f"{what}, all in the queue", took["queued"], "s", STATUS_S, peer=peer)


def _ended(user: As, ours: Path, folder: Path, runs: int) -> Path:
    """Return a project with experiments that are over."""
    made = folder / "ended"
    user.run(ours / "python", folder / "scripts" / "fill_store.py", made, str(runs))
    return made
