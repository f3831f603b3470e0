"""Points of metrics, from spools into the store: how many a second, and how many bytes each.

The peer is MLflow: the tracker that most people know, and one whose store is SQLite too. It is
called without server or client, in its largest batches; and it gets fewer runs, as it is slow.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks import venvs
from benchmarks.figures import Figure, at_least, at_most, number
from benchmarks.timing import As, say

POINTS_A_SECOND = 200_000
BYTES_A_POINT = 12


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark."""
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="spools (1000)")
    parser.add_argument("--points", type=int, default=1000, metavar="N", help="of each (1000)")
    parser.add_argument("--looks", type=int, default=10, metavar="N", help="at live spools (10)")
    parser.add_argument("--peer-runs", type=int, default=50, metavar="N", help="MLflow's (50)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of (3)")


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Yield what a point costs: of finished runs in one look, of live ones in several."""
    with venvs.workplace() as folder:
        ours, peers = venvs.product(folder) / "python", venvs.peers(folder)
        scripts = venvs.scripts(folder)
        size = (str(given.runs), str(given.points))
        penstock, mlflow = (
            (ours, scripts / "ingest_penstock.py"),
            (peers / "python", scripts / "ingest_mlflow.py"),
        )
        programs: dict[str, tuple[tuple[Path, Path], tuple[str, ...]]] = {
            "in one look": (penstock, (*size, "1")),
            "while they grow": (penstock, (*size, str(given.looks))),
            "mlflow": (mlflow, (str(given.peer_runs), str(given.points))),
        }
        rates: dict[str, list[float]] = {name: [] for name in programs}
        sizes: dict[str, float] = {}
        for turn in range(given.rounds):
            for name, (program, words) in programs.items():
                place = folder / f"{turn}.{name.replace(' ', '-')}"
                rate, sizes[name] = _measure(program, place, words)
                rates[name].append(rate)
                say(f"{turn + 1}/{given.rounds}: {name}: {rate:,.0f}/s, {sizes[name]:.1f} bytes")
        version = venvs.version(peers, "mlflow-skinny")
    yield from _compare(rates, sizes, given.looks, f"{version} in SQLite")


def _measure(
    program: tuple[Path, Path], place: Path, words: tuple[str, ...]
) -> tuple[float, float]:
    home = {"HOME": str(place.parent)}
    told = As(place.parent, home).run(*program, place, *words).out.splitlines()[-1]
    done = json.loads(told)
    return done["points"] / done["seconds"], done["bytes"] / done["points"]


def _compare(
    rates: dict[str, list[float]], sizes: dict[str, float], looks: int, peer: str
) -> Iterator[Figure]:
    rate = {name: statistics.median(values) for name, values in rates.items()}
    rate_of_peer = f"{peer}: {number(rate['mlflow'])}/s"
    size_of_peer = f"{peer}: {number(sizes['mlflow'])} bytes"
    whats = {"in one look": "of runs that ended", "while they grow": f"of live runs, {looks} looks"}
    yield at_least(
        "points a second beside the peer's",
        rate["in one look"] / rate["mlflow"],
        "× mlflow",
        1,
        peer=rate_of_peer,
    )
    for name, what in whats.items():
        yield at_least(
            f"points a second, {what}", rate[name], "points/s", POINTS_A_SECOND, peer=rate_of_peer
        )
        yield at_most(
            f"the store's file, each point {what}",
            sizes[name],
            "bytes",
            BYTES_A_POINT,
            peer=size_of_peer,
        )
