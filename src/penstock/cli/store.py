"""``penstock store``."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli import app as command
from penstock.cli import output
from penstock.cli.text import count, size
from penstock.errors import EXIT_CODES, StoreError, UsageError
from penstock.service import backup as service
from penstock.service import move
from penstock.service.upkeep import Upkeep

app = typer.Typer(
    help="Check the store, copy it, put a copy back, move it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
SHOWN = 5


@app.callback()
def _store() -> None:
    """Check the store, copy it, put a copy back, move it."""


@app.command()
def check(ctx: typer.Context) -> None:
    """Look whether the store is whole and agrees with itself and with the files of runs.

    Reads all of it, and changes nothing. The exit code is 6 where something is wrong.
    """
    problems = service.check(command.project(ctx))
    for line in problems:
        output.data(line)
    if problems:
        output.note(
            "keep a copy (`penstock store backup` takes a whole one only), then put a backup back: "
            "`penstock store restore FILE`; what runs told since is read again"
        )
        raise typer.Exit(EXIT_CODES[StoreError])
    output.note("the store is whole, and agrees with itself and with the files of runs")


@app.command()
def backup(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", show_default=False, help="Else one with the time, in the home."
        ),
    ] = None,
) -> None:
    """Copy the store into a file, while all goes on.

    The copy is one state of the store, and whole. Code, logs and results are files beside the
    store: they are not in it.
    """
    target, many, how = service.back_up(command.project(ctx), file)
    output.data(str(target))
    output.note(f"{size(many)}, {how}; `penstock store restore {target}` puts it back")


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A store: its URL, or its file.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty one, or a new file.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even while a reconciler is at work.")
    ] = False,
) -> None:
    """Copy a store into another database: from SQLite to PostgreSQL, or back.

    All tables, with their ids. It counts only if the copy gives back the same rows. Passwords
    belong into ~/.pgpass: who lists processes sees what stands here.
    """
    done = move.copy(source, target, force=force)
    for table, rows in done.rows.items():
        output.data(f"{table:12} {rows}")
    output.note(
        f"{done.target} has all that {done.source} has: each table was read back and compared.\n"
        "Name it as `store` in penstock.toml (or PENSTOCK_STORE), and use the old one no more"
    )


@app.command()
def migrate(ctx: typer.Context) -> None:
    """Bring the store of an older Penstock up to date, after a backup."""
    opened = command.project(ctx)
    done = move.migrate(opened.settings, opened.clock)
    if done is None:
        output.note("the store is of this version: there is nothing to do")
    else:
        output.data(str(done.backup))
        output.note("the store is up to date; as it was before it lies in that file")


@app.command()
def restore(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", show_default=False, help="A backup; else what has its place already."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even while a reconciler is at work.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Put a backup in the place of the store.

    The store of now is kept beside it. What runs told since the backup is read again from their
    files, once; what was submitted or asked since is not on record any more. Without FILE the
    backup has the store's place already, by `cp` or by a database's own programs.
    """
    opened = command.project(ctx)
    asked = f"put {file} in the place of the store?" if file else "look up what was sent since?"
    if not yes and not output.ask(asked):
        raise UsageError("nothing was changed", hint="--yes restores unasked")
    if file:
        done = service.restore(opened, file, force=force)
    else:
        done = service.take_up(opened, force=force)
    output.data(f"restored {file or opened.store.name}")
    if done.kept:
        output.note(f"the store of before is {done.kept}")
    if done.taken_up:
        output.note(f"{count(done.taken_up, 'array')} sent since the backup: looked up again")
    if done.unknown:
        some = ", ".join(done.unknown[:SHOWN]) + (" …" if len(done.unknown) > SHOWN else "")
        output.warn(
            f"the backup does not know the runs of {count(len(done.unknown), 'array')}: {some}\n"
            "  their jobs may be in the queue (their names begin so): cancel them, or let them end"
        )
    for words in service.search_elsewhere(opened):
        output.warn(f"{words}\n  it is searched for what was sent since, before anything is sent")
    Upkeep(opened).hurry()  # its looks may have failed for long
    output.note("`penstock tick` brings it up to date")
