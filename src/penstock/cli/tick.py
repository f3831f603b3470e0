"""``penstock tick``."""

from typing import Annotated

import typer

from penstock.cli import output
from penstock.cli.app import project


def tick(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring everything up to date once.

    Reads what runs have told, asks the scheduler (no more often than its site allows, if it says
    how often), sends what is ready. For cron, and where no
    daemon runs; with a daemon it does no harm.
    """
    from penstock.service.upkeep import Upkeep, told  # noqa: PLC0415

    report = Upkeep(project(ctx)).step(force=True)
    if as_json:
        sent = [
            {"runs": one.array.size, "job": one.job, "error": one.error and one.error.what}
            for one in report.sent
        ]
        output.as_json(
            {
                "other": report.is_other or None,
                "sent": sent,
                "ended": report.ended,
                "too_soon": report.too_soon,
            }
        )
    elif report.is_other:
        output.data(f"{report.is_other} is at it; nothing done here")
    else:
        for words in (*told(report), *report.too_soon):
            output.data(words)
    for words in report.odd:
        output.warn(words)
