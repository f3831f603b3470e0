"""``penstock cancel``."""

from typing import Annotated

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.text import count
from penstock.errors import PenstockError, UsageError
from penstock.service import control
from penstock.service.project import Project

SHOWN = 5


def cancel(
    ctx: typer.Context,
    target: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN|EXPERIMENT]...", help="Such as digits/7, or digits."),
    ] = None,
    submission: Annotated[
        str, typer.Option("--submission", metavar="UID", help="All runs of this submission.")
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before more than one.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Cancel runs.

    Those that wait here are cancelled at once, those with the scheduler by asking it; what has
    ended stays as it is. Results and logs of a run that had begun are kept.
    """
    if not (target or submission):
        raise UsageError("cancel what?", hint="name a run, an experiment, or --submission UID")
    opened = project(ctx)
    chosen = control.choose(opened, target or [], submission)
    if len(chosen.ids) > 1 and not yes:
        _ask(chosen)
    if chosen.ids:
        control.cancel(opened, chosen)
    if as_json:
        output.as_json({"asked": chosen.names, "ended_before": chosen.over})
    elif chosen.ids:
        output.data(f"asked to cancel {count(len(chosen.ids), 'run')}")
    else:
        output.note(f"nothing to cancel: {count(chosen.over, 'run')} ended before")
    if chosen.ids:
        carry_out(opened)


def _ask(chosen: control.Chosen) -> None:
    some = ", ".join(chosen.names[:SHOWN])
    more = len(chosen.names) - SHOWN
    words = some + (f" and {more:,} more" if more > 0 else "")
    if not output.ask(f"cancel {words}?"):
        raise UsageError("nothing was cancelled", hint="--yes cancels more than one run unasked")


def carry_out(opened: Project) -> None:
    """Run a cycle; what it cannot do now, the next one does."""
    from penstock.service.upkeep import Upkeep  # noqa: PLC0415

    upkeep = Upkeep(opened)
    try:
        report = upkeep.step(act=True)
        upkeep.quicken(0)
    except PenstockError as error:
        output.warn(f"{error}\n  the wish is stored: `penstock tick` or the daemon carries it out")
        return
    for words in report.odd:
        output.warn(words)
