"""``penstock fetch``."""

from typing import Annotated

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.text import count


def fetch(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Such as digits/7.")],
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="A file or folder of its results; else all.")
    ] = "",
) -> None:
    """Bring the results of a run here.

    For runs on a cluster that is reached by SSH. Each file is checked by its digest; what is here
    already is not fetched again.
    """
    from penstock.service.fetch import fetch as bring  # noqa: PLC0415

    new, had = 0, 0
    for one in bring(project(ctx), run, path):
        output.data(str(one.path))
        had += one.was_here
        new += not one.was_here
    output.note(f"{count(new, 'file')} fetched" + (f", {had} here already" if had else ""))
