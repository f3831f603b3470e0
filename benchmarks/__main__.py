"""Run one benchmark alone, with its peers: ``python -m benchmarks submit --json``."""

import argparse
import importlib
import sys

from benchmarks import machine
from benchmarks.figures import document, table
from benchmarks.timing import BenchmarkError

NAMES = (
    "submit", "rpcs", "cli", "ingest", "peers", "latency", "cycle", "simulate", "crashes", "ssh",
    "postgres", "eight",
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Print the table, and with ``--json`` a last line; 0 also where a figure is not met."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in argv[:1] if argv[:1] and argv[0] in NAMES else NAMES:  # one at a time is loaded
        benchmark = importlib.import_module(f"benchmarks.{name}")
        about = (benchmark.__doc__ or "").splitlines()[0]
        options = names.add_parser(name, help=about, description=about)
        options.add_argument("--json", action="store_true", help="the last line is JSON")
        options.set_defaults(figures=benchmark.figures)
        benchmark.options(options)
    given = parser.parse_args(argv)
    print(f"{given.name}: {machine.about()}\n", flush=True)
    try:
        figures = list(given.figures(given))
    except BenchmarkError as error:
        print(f"{given.name}: {error}", file=sys.stderr)
        return 1
    print(table(figures))
    if given.json:
        print(document(given.name, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
