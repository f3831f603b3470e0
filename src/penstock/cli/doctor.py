"""``penstock doctor``."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.text import clean, count

if TYPE_CHECKING:
    from penstock.service.doctor import Finding
    from penstock.service.project import Project

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    ctx: typer.Context,
    job: Annotated[
        bool, typer.Option("--job", help="Send a small job that looks around on a compute node.")
    ] = False,
    wait: Annotated[
        int, typer.Option("--wait", metavar="SECONDS", min=1, help="So long for that job.")
    ] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a project and its cluster, and say what to do.

    Settings, folders, the store and its locks, the scheduler, the daemon. Nothing is changed, and
    no cluster is logged in to. It ends with 1 where something fails.
    """
    from penstock.service.doctor import Level, examine  # noqa: PLC0415  --help does without it

    opened = project(ctx)
    levels: Counter[str] = Counter()
    found = []
    for finding in _both(opened, examine(opened, job=job, wait_s=wait)):
        levels[finding.level] += 1
        found.append(finding)
        if not as_json:
            _tell(finding)
    if as_json:
        output.as_json({"checks": [vars(one) for one in found], "fails": levels[Level.FAIL]})
    else:
        bad = [f"{count(levels[one], one)}" for one in (Level.FAIL, Level.WARN) if levels[one]]
        output.note(", ".join(bad) or "all is well")
    if levels[Level.FAIL]:
        raise typer.Exit(1)


def _both(opened: "Project", examined: "Iterator[Finding]") -> "Iterator[Finding]":
    """Yield what was found of the daemon, and the rest."""
    from penstock.daemon import report  # noqa: PLC0415  --help does without it

    yield from examined
    yield from report.findings(opened)


def _tell(finding: "Finding") -> None:
    level = output.paint(finding.level.ljust(4), COLOURS[finding.level])
    output.data(f"{level}  {finding.what:<16}  {clean(finding.said)}")
    if finding.advice:
        output.data(f"{'':24}→ {clean(finding.advice)}")
    output.flush()
