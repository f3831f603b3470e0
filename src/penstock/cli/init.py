"""``penstock init``."""

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli import output


def init(
    ctx: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="The folder; else this one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a folder a project.

    It gets a penstock.toml and a folder .penstock for Penstock's files. On a cluster choose a
    folder on project storage, which compute nodes see too. Doing it again harms nothing.
    """
    from penstock.service import init as service  # noqa: PLC0415  --help does without it

    created = service.init(folder or ctx.obj.project or Path())
    for words in created.notes:
        output.warn(words)
    root = created.settings.root
    if as_json:
        home = created.settings.home
        output.as_json({"root": root, "is_new": created.is_new, "home": home})
        return
    output.data(f"{root} {'is now' if created.is_new else 'was already'} a project")
    output.note(
        "next: write a spec; `penstock submit SPEC` sends it, --dry-run shows what it would"
    )
