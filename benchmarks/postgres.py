"""The store in PostgreSQL: points of metrics into it, and filters over a million runs.

SQLite stands beside it, and MLflow on the same server. The server is Debian's, as it is installed.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import venvs
from benchmarks.figures import Figure, at_least, at_most, left_out, number
from benchmarks.timing import As, say
from tests import postgresql
from tests.postgresql import Server

POINTS_A_SECOND = 200_000
FILTER_S = 0.3
_DRIVER = "psycopg[binary]"


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--spools", type=int, default=1000, metavar="N", help="spools (1000)")
    parser.add_argument("--points", type=int, default=1000, metavar="N", help="of each (1000)")
    parser.add_argument("--looks", type=int, default=10, metavar="N", help="at live spools (10)")
    parser.add_argument("--peer-runs", type=int, default=20, metavar="N", help="MLflow's (20)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of (3)")
    parser.add_argument("--runs", type=int, default=1_000_000, metavar="N", help="to search")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield what a point costs, and how long the slowest of some filters takes."""
    if postgresql.programs() is None:
        yield left_out("points a second", "points/s", f"≥ {POINTS_A_SECOND}", postgresql.MISSING)
        return
    with venvs.workplace() as folder, postgresql.running(settings=()) as server:
        ours, peers = venvs.product(folder), venvs.peers(folder)
        for programs in (ours, peers):
            venvs.add(programs, _DRIVER)
        scripts = venvs.scripts(folder)
        bench = _Bench(folder, server, scripts, ours / "python", peers / "python")
        yield from _ingest(bench, given, venvs.version(peers, "mlflow-skinny"))
        yield from _filters(bench, given.runs)


class _Bench:
    """Scripts in the venvs, each with a database of its own."""

    def __init__(
        self, folder: Path, server: Server, scripts: Path, ours: Path, peers: Path
    ) -> None:
        self.folder, self.server, self.scripts = folder, server, scripts
        self.ours, self.peers = ours, peers
        self._count = 0

    def url(self) -> str:
        """Return the URL of a new database."""
        self._count += 1
        self.server.sql(f"CREATE DATABASE bench{self._count}")
        return self.server.url(f"bench{self._count}")

    def told(self, python: Path, script: str, *words: object, store: str = "") -> dict[str, object]:
        """Run a script; return the JSON of its last line."""
        env = {"HOME": str(self.folder), **({"PENSTOCK_STORE": store} if store else {})}
        ended = As(self.folder, env).run(python, self.scripts / script, *map(str, words))
        found: dict[str, object] = json.loads(ended.out.splitlines()[-1])
        return found

    def rate(self, python: Path, script: str, *words: object, store: str = "") -> float:
        """Return points a second."""
        self._count += 1
        place = self.folder / f"place{self._count}"
        done = self.told(python, script, place, *words, store=store)
        return float(str(done["points"])) / float(str(done["seconds"]))


def _ingest(bench: _Bench, given: argparse.Namespace, version: str) -> Iterator[Figure]:
    rates: dict[str, list[float]] = {}
    size = (given.spools, given.points)
    for turn in range(given.rounds):
        once = {
            "ended": bench.rate(bench.ours, "ingest_penstock.py", *size, 1, store=bench.url()),
            "live": bench.rate(
                bench.ours, "ingest_penstock.py", *size, given.looks, store=bench.url()
            ),
            "sqlite": bench.rate(bench.ours, "ingest_penstock.py", *size, 1),
            "mlflow": bench.rate(
                bench.peers, "ingest_mlflow.py", given.peer_runs, given.points, bench.url()
            ),
        }
        for name, rate in once.items():
            rates.setdefault(name, []).append(rate)
            say(f"{turn + 1}/{given.rounds}: {name}: {rate:,.0f}/s")
    middle = {name: statistics.median(values) for name, values in rates.items()}
    peer = (
        f"{version}: {number(middle['mlflow'])}/s; Penstock in SQLite: {number(middle['sqlite'])}/s"
    )
    yield at_least(
        "points a second beside the peer's", middle["ended"] / middle["mlflow"], "× mlflow", 1,
        peer=peer,
    )  # fmt: skip
    whats = {"ended": "of runs that ended", "live": f"of live runs, {given.looks} looks"}
    for name, what in whats.items():
        yield at_least(
            f"points a second, {what}", middle[name], "points/s", POINTS_A_SECOND, peer=peer
        )


def _filters(bench: _Bench, runs: int) -> Iterator[Figure]:
    stores = {"PostgreSQL": bench.url(), "SQLite": f"sqlite:///{bench.folder / 'many.db'}"}
    for name, url in stores.items():
        say(f"{runs:,} runs into {name}")
        done = bench.told(bench.ours, "filter_penstock.py", url, runs)
        taken = done["seconds"]
        assert isinstance(taken, dict)
        for words, seconds in taken.items():
            say(f"{name}: {words}: {seconds:.3f} s")
        slowest = max(taken, key=lambda words: taken[words])
        yield at_most(
            f"the slowest of {len(taken)} filters over {runs:,} runs in {name}: {slowest}",
            taken[slowest],
            "s",
            FILTER_S,
            peer=f"the median one {statistics.median(taken.values()):.3f} s",
        )
