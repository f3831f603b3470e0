"""``penstock logs``."""

import sys
from typing import Annotated

import typer

from penstock.cli.app import project
from penstock.cli.output import note, warn
from penstock.errors import NotFoundError
from penstock.model.state import State
from penstock.service import logs as service
from penstock.service import query
from penstock.service.project import Project
from penstock.service.upkeep import freshen


def logs(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Such as digits/7.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", help="Of this attempt; else the last.")
    ] = None,
) -> None:
    """Print what a run wrote.

    Its stdout and stderr go to stdout as they are. Where it was requeued, what each restart wrote
    follows what the one before wrote.
    """
    opened = project(ctx)
    if follow:
        _follow(opened, run, attempt)
        return
    for hindrance in freshen(opened):
        warn(hindrance)
    whole = query.whole(opened, run)
    found = service.logs(opened, service.chosen(whole, attempt), whole.origin.cluster)
    written = [(log, log.read()) for log in found]
    if not any(data for _, data in written):
        if whole.run.state is State.COMPLETED:
            note(f"{whole.run.name} completed, and wrote nothing")
            return
        raise NotFoundError(
            f"{whole.run.name} wrote nothing: {service.why_waiting(whole)}",
            hint=f"`penstock show {whole.run.name}` tells all that is known",
        )
    for log, data in written:
        if len(written) > 1:
            note(f"-- restart {log.restart} --")
        _write(data)


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _follow(opened: Project, run: str, attempt: int | None) -> None:
    told, place = "", (0, 0)
    try:
        for words in service.follow(opened, run, attempt):
            if words.data:
                if place not in ((0, 0), (words.attempt, words.restart)):
                    note(f"-- attempt {words.attempt}, restart {words.restart} --")
                place = (words.attempt, words.restart)
                _write(words.data)
            elif place == (0, 0):
                why = service.why_waiting(query.whole(opened, run))
                if why != told:
                    note(f"{run}: {why}")
                told = why
    except KeyboardInterrupt:
        note(f"\nleft; {run} goes on")
        raise
    note(_end(query.whole(opened, run)))


def _end(whole: query.Detail) -> str:
    cause = f" ({whole.run.cause})" if whole.run.cause else ""
    return f"-- {whole.run.name} {whole.run.state}{cause} --"
