"""What a sweep costs from a laptop: SSH connections, remote commands, the time of a submit."""

import argparse
import importlib.util
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import cluster, project, venvs
from benchmarks.cluster import Cluster
from benchmarks.figures import Figure, at_most, left_out
from benchmarks.timing import As, BenchmarkError, say
from tests import sshd
from tests.sshd import Proxy, Sshd

MOST_CONNECTIONS = 1
MOST_COMMANDS = 2
SUBMIT_S = 5
ROUND_TRIP_S = 0.05
# An hour in minutes: all that Penstock waits for is so much shorter.
FASTER = 30
QUICK = "poll_s = 1\npoll_max_s = 4\n"
SETTINGS = """
{pace}[clusters.big]
host = "login"
home = "{home}"
"""
TASKS = 32  # at once, on the four nodes
ARRAY = 100  # MaxArraySize in that hour: arrays end, and are folded, all the time


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="of a sweep (1000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="median of (3)")
    parser.add_argument(
        "--true-hour", action="store_true", help="an hour alone, not shortened, as installed"
    )


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield connections and commands of a sweep, and the time of a submit far away."""
    if why := why_not():
        target = f"≤ {MOST_CONNECTIONS}"
        yield left_out("SSH connections of a sweep", "connections", target, why)
        return
    if not given.true_hour:
        with _there(cluster.LARGEST_ARRAY) as (folder, slurm, server):
            yield from _submits(folder, slurm, server, given.runs, given.rounds)
    with _there(ARRAY) as (folder, slurm, server):
        yield from _hour(folder, slurm, server, given.runs, 1 if given.true_hour else FASTER)


@contextmanager
def _there(largest_array: int) -> Iterator[tuple[Path, Cluster, Sshd]]:
    """Start a Slurm and an sshd before it."""
    with (
        venvs.workplace() as folder,
        cluster.slurm(folder, largest_array=largest_array) as slurm,
    ):
        server = Sshd(folder / "sshd", more=f"SetEnv SLURM_CONF={slurm.conf}").start()
        try:
            yield folder, slurm, server
        finally:
            server.stop()


def why_not() -> str:
    """Return why this cannot be measured here, or nothing."""
    if not sshd.is_here():
        return "needs root, openssh-server, and a Slurm of its own"
    if importlib.util.find_spec("paramiko") is None:
        return "needs the extra: make setup"
    return cluster.why_not()


class Laptop:
    """A project of this user, to whom the cluster is a round trip away."""

    def __init__(self, folder: Path, server: Sshd, slurm: Cluster, *, delay_s: float) -> None:
        self.proxy = Proxy(server.port, delay_s=delay_s)
        self.home = folder
        (folder / ".ssh").mkdir(parents=True)
        (folder / ".ssh" / "known_hosts").write_text(server.known_hosts(self.proxy.port))
        (folder / ".ssh" / "config").write_text(
            f"Host login\n  HostName 127.0.0.1\n  Port {self.proxy.port}\n"
            f"  User {cluster.USER}\n  IdentityFile {server.folder}/id\n"
        )
        # Of sockets: their paths have to be short.
        self.runtime = Path(tempfile.mkdtemp(prefix="penstock-run-"))
        user = As(folder, {"HOME": str(folder), "XDG_RUNTIME_DIR": str(self.runtime)})
        self.penstock = Path(sys.executable).with_name("penstock")
        self.there = slurm.folder / folder.name
        self.user = user

    def make(self, runs: int, *command: str, pace: str = QUICK) -> project.Project:
        """Make the project and its sweep."""
        made = project.make(self.user, self.penstock, self.home / "project", runs, *command)
        with (made.folder / "penstock.toml").open("a") as settings:
            settings.write(SETTINGS.format(home=self.there, pace=pace))
        return made

    def asked(self) -> list[tuple[float, str]]:
        """Return when what was asked of the cluster."""
        (path,) = self.home.glob(".local/state/penstock/ssh/*.asked")
        lines = (line.split(" ", 1) for line in path.read_text().splitlines())
        return [(float(at), what) for at, what in lines]

    def leave(self) -> None:
        """End the connection, and what keeps it."""
        for path in self.runtime.glob("penstock/*.socket"):
            path.unlink()  # it ends when that is away
        self.proxy.close()
        shutil.rmtree(self.runtime)


def _submits(
    folder: Path, slurm: Cluster, server: Sshd, runs: int, rounds: int
) -> Iterator[Figure]:
    """Yield the time of a submit with the login, and of one when the connection is there."""
    blocker = slurm.fill()
    first: list[float] = []
    further: list[float] = []
    for number in range(rounds):
        laptop = Laptop(folder / f"far{number}", server, slurm, delay_s=ROUND_TRIP_S / 2)
        made = laptop.make(runs, "true")
        for times in (first, further):
            ended = made.run("submit", "--cluster", "big", str(made.folder / "sweep.yaml"))
            times.append(ended.wall_s)
            say(f"{number + 1}/{rounds}: {ended.wall_s:.2f} s")
            if (tasks := slurm.tasks()) != runs:
                raise BenchmarkError(f"Slurm has {tasks} tasks, not {runs}")
            slurm.clear()
        laptop.leave()
    slurm.root.run("scancel", str(blocker))
    slurm.drain()
    what = f"submit {runs:,} runs at {ROUND_TRIP_S * 1000:.0f} ms round trip"
    yield at_most(f"{what}, with the login", sorted(first)[rounds // 2], "s", SUBMIT_S)
    yield at_most("… once the connection is there", sorted(further)[rounds // 2], "s", SUBMIT_S)


def of_intervals(commands: Sequence[str]) -> list[int]:
    """Return how many commands each look took, with those since the look before; and the rest."""
    looks = [n for n, what in enumerate(commands) if what == "run squeue"]
    ends = itertools.pairwise([-1, *looks, len(commands) - 1])
    return [at - before for before, at in ends if at > before]


def _hour(folder: Path, slurm: Cluster, server: Sshd, runs: int, faster: int) -> Iterator[Figure]:
    """Yield what is asked of the cluster in a sweep of an hour, all of it so much shorter."""
    laptop = Laptop(folder / "hour", server, slurm, delay_s=0.0)
    seconds = 3600 / faster / (runs / TASKS)
    pace = QUICK if faster > 1 else ""
    made = laptop.make(runs, "sleep", f"{seconds:.2f}", pace=pace)
    before = server.connections
    made.run("submit", "--cluster", "big", str(made.folder / "sweep.yaml"))
    submitted = len(laptop.asked())
    made.run("watch", "grid")
    made.run("tick")  # what ended with the last look is folded by the next
    asked = laptop.asked()
    connections = max(laptop.proxy.connections, server.connections - before)
    commands = [what for _, what in asked[submitted:] if what != "connect"]
    each = of_intervals(commands)
    took_s = asked[-1][0] - asked[0][0]
    arrays = len(list((laptop.there / "arrays").iterdir()))
    folded = len(list((laptop.there / "arrays").glob("*/spools.zip")))
    laptop.leave()
    if arrays != folded:
        raise BenchmarkError(f"{folded} of {arrays} arrays are folded")
    say(f"{took_s:.0f} s, {len(each)} intervals, {len(commands)} commands, at most {max(each)}")
    what = (
        f"a sweep of {runs:,} runs, an hour {'that took' if faster == 1 else 'in'} {took_s:.0f} s"
    )
    mean = sum(each) / len(each)
    more = sum(one > MOST_COMMANDS for one in each)
    peer = f"{len(each)} intervals; {mean:.3g} in each"
    if more:
        peer += f", more than {MOST_COMMANDS} in {more}"
    peer += f"; {arrays} arrays, with their folding"
    yield at_most(f"{what}: SSH connections", connections, "connections", MOST_CONNECTIONS)
    most = max(each)
    yield at_most("… remote commands in a polling interval, at most", most, "commands",
                  MOST_COMMANDS, peer=peer)  # fmt: skip
