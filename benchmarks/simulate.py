"""Simulated time of a cluster for a minute of one core, with a steady load; and what went wrong.

The real reconciler and store, and a model of Slurm: see ``scripts/steady.py``. Its processor time
is taken, so it does not matter who else uses the machine; the judgement of each run is in it.
"""

import argparse
import json
from collections.abc import Iterator

from benchmarks import venvs
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.timing import As, say

DAYS_A_MINUTE = 10
CRON_MIN = 5  # as `penstock daemon install --kind cron` has it


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--days", type=int, default=10, metavar="N", help="simulated (10)")
    parser.add_argument("--daily", type=int, default=1000, metavar="N", help="runs a day (1000)")
    parser.add_argument(
        "--every", type=int, default=CRON_MIN, metavar="MIN", help=f"between cycles ({CRON_MIN})"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield how much passes in a minute, and whether each run ended as it really did."""
    with venvs.workplace() as folder:
        python = venvs.product(folder) / "python"
        script = venvs.scripts(folder) / "steady.py"
        words = [str(n) for n in (given.seed, given.days, given.daily, given.every * 60)]
        ended = As(folder, {"HOME": str(folder)}).run(python, script, *words)
    told = json.loads(ended.out.splitlines()[-1])
    wrong = [*told["doubled"], *told["wrong"], *told["stuck"]]
    for one in wrong:
        say(one)
    days = told["days"] / told["seconds"] * 60
    beside = f"{told['days']:.1f} days in {told['seconds']:.1f} s, {told['cycles']:,} cycles"
    what = f"simulated days for a minute of a core, {given.daily:,} runs a day"
    yield at_least(what, days, "days", DAYS_A_MINUTE, peer=beside)
    what = f"… of {told['runs']:,} runs doubled, wrong or stuck"
    yield at_most(what, len(wrong), "runs", 0, peer=f"{told['rpcs']:,} RPCs")
