"""What a sweep costs the controller: RPCs of its user to slurmctld, as sdiag counts them."""

import argparse
import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from benchmarks import cluster, project, venvs
from benchmarks.cluster import Cluster
from benchmarks.figures import Figure, at_most, left_out
from benchmarks.timing import BenchmarkError, say

MOST_RPCS = 50
LATEST_S = 5
SHOWN = re.compile(r"(\d+)/\d+ ended")


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="of a sweep (1000)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield the RPCs of whole sweeps of `true`, beyond those of a bare ``sbatch --array``."""
    if why := cluster.why_not():
        yield left_out("RPCs beyond a bare sbatch --array", "RPCs", f"≤ {MOST_RPCS}", why)
        return
    with venvs.workplace() as folder:
        ours, peers, scripts = venvs.product(folder), venvs.peers(folder), venvs.scripts(folder)
        with cluster.slurm(folder) as slurm:
            bare = _bare(slurm, given.runs)
            spent, late_s = _penstock(slurm, ours / "penstock", given.runs)
            peer = _submitit(slurm, peers / "python", scripts, given.runs) - bare
        version = venvs.version(peers, "submitit")
    beside = f"{version}: {peer:,}, bare sbatch: {bare}"
    extra = spent - bare
    what = f"{given.runs:,} runs, RPCs beyond a bare sbatch --array"
    yield at_most(f"{what}, beside the peer's", extra / peer, "× submitit", 1, peer=beside)
    yield at_most(what, extra, "RPCs", MOST_RPCS, peer=beside)
    yield at_most("from the end of a run to its being shown, at most", late_s, "s", LATEST_S)


def _bare(slurm: Cluster, runs: int) -> int:
    """Submit the tasks with nothing around them, and nobody looks."""
    slurm.reset_rpcs()
    slurm.user.run("sbatch", *cluster.bare(runs))
    slurm.drain()
    return _counted(slurm, "bare sbatch")


def _penstock(slurm: Cluster, penstock: Path, runs: int) -> tuple[int, float]:
    """Submit and watch to the end; return the RPCs, and how late an end was shown at most."""
    made = project.make(slurm.user, penstock, slurm.folder / "sweep", runs)
    slurm.drain()
    slurm.reset_rpcs()
    made.submit()
    shown = _watch(made)
    spent = _counted(slurm, "penstock")
    rows = json.loads(made.run("runs", "--json").out)
    states = {row["state"] for row in rows}
    if len(rows) != runs or states != {"completed"}:
        raise BenchmarkError(f"{len(rows)} runs, {states}: not all of {runs} completed")
    ends = sorted(datetime.fromisoformat(row["ended_at"]).timestamp() for row in rows)
    return spent, max(
        next(at for at, many in shown if many > place) - end for place, end in enumerate(ends)
    )


def _watch(made: project.Project) -> list[tuple[float, int]]:
    """Return at what times ``penstock watch`` showed how many ends."""
    argv = (made.penstock, "--project", made.folder, "watch", "grid")
    child = made.user.begin(argv, subprocess.PIPE)
    shown = []
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if counted := SHOWN.search(line):
                shown.append((time.time(), int(counted[1])))
                say(line.strip())
    if child.wait() != 0:
        raise BenchmarkError(f"penstock watch ended with {child.returncode}")
    return shown


def _submitit(slurm: Cluster, python: Path, scripts: Path, runs: int) -> int:
    """Submit, and wait for all results as its users do."""
    slurm.drain()
    slurm.reset_rpcs()
    folder = slurm.folder / "submitit"
    slurm.user.run(python, scripts / "submitit_array.py", folder, str(runs), "--wait")
    slurm.drain()
    return _counted(slurm, "submitit")


def _counted(slurm: Cluster, name: str) -> int:
    spent = slurm.rpcs()
    say(f"{name}: {spent} RPCs")
    return spent
