"""``penstock runs``."""

import csv
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from penstock.cli import columns, output
from penstock.cli.app import project
from penstock.cli.columns import Cells
from penstock.cli.text import count
from penstock.errors import UsageError
from penstock.model.run import RunRow
from penstock.service import query
from penstock.service.upkeep import freshen

FEW = 50  # as many as a person looks at
MANY = 10_000  # are counted: more take a while


def runs(  # noqa: PLR0913, PLR0917  each is an option
    ctx: typer.Context,
    words: Annotated[
        str,
        typer.Argument(
            metavar="[FILTER]",
            show_default=False,
            help="Such as 'metrics.acc > 0.9 and params.lr <= 0.01', or an experiment's name.",
        ),
    ] = "",
    sort: Annotated[
        str,
        typer.Option("--sort", "-s", metavar="FIELD", help="Sort by it; -FIELD: greatest first."),
    ] = "",
    names: Annotated[
        str,
        typer.Option("--columns", "-c", metavar="NAMES", help="Such as run,state,metrics.acc."),
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", metavar="N", min=0, help="0: all; else 50 on a terminal."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """List runs, filtered and sorted.

    A filter compares fields with values, and joins that with and, or, not. Its fields are the names
    that --columns takes: a wrong one says which there are.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other", hint="choose one")
    chosen = columns.checked([name.strip() for name in names.split(",") if name.strip()])
    opened = project(ctx)
    for hindrance in freshen(opened):
        output.warn(hindrance)
    is_short = limit is None and output.is_terminal(sys.stdout) and not (as_json or as_csv)
    found = query.runs(opened, words, sort=sort, limit=FEW if is_short else limit or None)
    cells = Cells(opened.settings.results, opened.clock.now())
    if as_json:
        output.as_json_list(query.as_data(opened, run) for run in found)
    elif as_csv:
        _csv(found, chosen, cells)
    else:
        _table(found, chosen, cells)
        if is_short and len(found) == FEW:
            total = query.count(opened, words, most=MANY)
            if total > FEW:
                many = f"more than {MANY:,} runs" if total > MANY else count(total, "run")
                output.note(f"{FEW} of {many}; --limit 0 lists all")


def _csv(found: Sequence[RunRow], names: list[str], cells: Cells) -> None:
    names = names or columns.every(found)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([cells.written(run, name) for name in names] for run in found)


def _table(found: Sequence[RunRow], names: list[str], cells: Cells) -> None:
    if not found:
        output.note("no such runs")
        return
    names = names or columns.usual(found)
    rows = [[cells.shown(run, name) for name in names] for run in found]
    for line in output.table(columns.heads(names), rows, wide=output.columns()):
        output.data(line)
