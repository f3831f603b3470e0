"""``penstock clusters``."""

from typing import Annotated

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.output import Column
from penstock.cli.text import duration


def clusters(
    ctx: typer.Context,
    connect: Annotated[
        str,
        typer.Option("--connect", metavar="NAME", help="Log in now, whatever was tried before."),
    ] = "",
    disconnect: Annotated[
        str, typer.Option("--disconnect", metavar="NAME", help="End the connection.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which clusters are connected.

    Those of the settings that are reached by SSH; nothing is asked of them. One that could not be
    reached is not tried again for a while: it says for how long, and why.
    """
    from penstock.service import clusters as service  # noqa: PLC0415  an extra

    opened = project(ctx)
    if connect:
        service.connect(opened, connect)
        output.note(f"connected to {connect}")
        return
    if disconnect:
        was_up = service.disconnect(opened, disconnect)
        output.note(
            f"{'disconnected from' if was_up else 'there was no connection to'} {disconnect}"
        )
        return
    found = service.standings(opened)
    if as_json:
        output.as_json({"clusters": [vars(one) for one in found]})
        return
    if not found:
        output.note("no clusters in the settings: those of this machine need none")
        return
    names = ("cluster", "host", "connection")
    rows = [
        [
            one.name,
            one.host,
            "up"
            if one.is_connected
            else f"not before {duration(one.wait_s)}"
            if one.wait_s
            else "none",
        ]
        for one in found
    ]
    for line in output.table([Column(name, is_fixed=True) for name in names], rows, wide=None):
        output.data(line)
    for one in found:
        if one.why:
            output.note(f"{one.name}: {one.why}")
