"""``penstock init``."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import data, note, warn


def init(
    ctx: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="The folder; else this one.")
    ] = None,
) -> None:
    """Make a folder a project.

    It gets a penstock.toml and a folder .penstock for Penstock's files. On a cluster choose a
    folder on project storage, which compute nodes see too. Doing it again harms nothing.
    """
    from penstock.service import init as service  # noqa: PLC0415  --help does without it

    created = service.init(folder or ctx.obj.project or Path())
    for words in created.notes:
        warn(words)
    root = created.settings.root
    data(f"{root} {'is now' if created.is_new else 'was already'} a project")
    note("next: write a spec, then `penstock submit SPEC` (--dry-run shows what it would do)")
