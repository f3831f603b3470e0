"""``penstock tick``."""

import typer

from penstock.cli.app import project
from penstock.cli.output import data, warn


def tick(ctx: typer.Context) -> None:
    """Bring everything up to date once.

    Reads what runs have told, asks the scheduler, sends what is ready. For cron, and where no
    daemon runs; with a daemon it does no harm.
    """
    from penstock.service.upkeep import Upkeep, told  # noqa: PLC0415

    report = Upkeep(project(ctx)).step(force=True)
    if report.is_other:
        data(f"{report.is_other} is at it; nothing done here")
        return
    for words in told(report):
        data(words)
    for words in report.odd:
        warn(words)
