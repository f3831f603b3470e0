"""``penstock resolve``."""

from dataclasses import asdict
from typing import Annotated

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.cancel import carry_out
from penstock.cli.text import clean, count, when
from penstock.errors import UsageError
from penstock.service import resolve as service
from penstock.service.project import Project


def resolve(
    ctx: typer.Context,
    token: Annotated[
        str,
        typer.Argument(
            metavar="[TOKEN]", show_default=False, help="Of the array; else list those that wait."
        ),
    ] = "",
    adopt: Annotated[
        int | None,
        typer.Option("--adopt", metavar="JOB", min=1, help="It arrived, and is this job."),
    ] = None,
    resend: Annotated[
        bool, typer.Option("--resend", help="It never arrived: send it again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """Say what became of an array that was perhaps sent.

    Where the answer of sbatch was lost, the queue has no such job, and there is no accounting to
    ask, only you can know. Look for jobs whose name begins with the token.
    """
    opened = project(ctx)
    if not token:
        if adopt is not None or resend:
            raise UsageError("resolve which?", hint="`penstock resolve` lists the tokens")
        _list(opened, as_json=as_json)
        return
    if (adopt is not None) == resend:
        raise UsageError(
            "say either --adopt JOB or --resend",
            hint=f"`squeue --me -t all --format='%A %j' | grep {clean(token)}` finds its job, "
            "one that has ended too, for as long as MinJobAge",
        )
    array = service.resolve(opened, token, job=adopt)
    what = "to be sent again" if resend else f"to be adopted as job {adopt}"
    output.data(f"{array.token} ({count(array.size, 'run')} of {array.experiment}) is {what}")
    carry_out(opened)


def _list(opened: Project, *, as_json: bool) -> None:
    found = service.sending(opened)
    if as_json:
        output.as_json({"to_resolve": [asdict(one) for one in found]})
        return
    if not found:
        output.note("nothing to resolve: all that was sent is known to have arrived")
        return
    now = opened.clock.now()
    heads = [
        output.Column(name, is_fixed=True) for name in ("token", "experiment", "runs", "sent", "is")
    ]
    rows = [
        [
            one.token,
            one.experiment,
            f"{one.size:,}",
            when(one.sent_at, now),
            "answered" if one.is_answered else one.question or "being looked up",
        ]
        for one in found
    ]
    for line in output.table(heads, rows, wide=None):
        output.data(line)
