"""``penstock status``."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.output import Column
from penstock.cli.text import clean, count
from penstock.model.state import State
from penstock.service import query
from penstock.service.belief import while_unanswered
from penstock.service.query import Silence, Standing
from penstock.service.reasons import Who, explain
from penstock.service.upkeep import freshen
from penstock.store.detail import Group
from penstock.store.resolutions import Sending

MOST = 20  # experiments that a person looks at


def status(
    ctx: typer.Context,
    experiment: Annotated[
        str, typer.Argument(metavar="[EXPERIMENT]", help="Only this one.", show_default=False)
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how many runs wait, run and have ended.

    A line for each experiment; then why those wait that wait, and why those failed that failed.
    """
    opened = project(ctx)
    for hindrance in freshen(opened):
        output.warn(hindrance)
    found = query.standings(opened, experiment)
    if as_json:
        output.as_json({"experiments": [as_data(one) for one in found]})
        return
    if not found:
        output.note("no runs yet: `penstock submit SPEC` makes some")
        return
    shown = found[-MOST:] if output.columns() else found
    for line in _table(shown):
        output.data(line)
    if len(shown) < len(found):
        output.note(
            f"{count(len(found) - len(shown), 'older experiment')} not shown; --json has all"
        )
    for line in [line for one in shown for line in (*waits(one), *failures(one))]:
        output.data(line)


def as_data(one: Standing) -> dict[str, Any]:
    """Return how an experiment stands, for JSON."""
    return {
        "experiment": one.experiment,
        "runs": one.total,
        "states": {state.value: one.states.get(state, 0) for state in State},
        "waiting": [
            {
                "state": group.state,
                "reason": group.why,
                "words": _reason(group),
                "runs": group.count,
            }
            for group in one.waiting
        ],
        "ended_badly": [
            {"state": group.state, "cause": group.why, "runs": group.count, "example": name(group)}
            for group in one.ended
        ],
        "unknown": unheard(one.unknown),
        "to_resolve": [
            {"token": array.token, "runs": array.size, "sent_at": array.sent_at}
            for array in one.asking
        ],
    }


def unheard(one: Silence | None) -> dict[str, Any] | None:
    """Return which runs nobody has heard of, for JSON."""
    if one is None:
        return None
    return {
        "runs": one.runs,
        "since": one.since,
        "lost_after": one.lost_at,
        "unanswered": one.unanswered or None,
        "example": one.example,
    }


def name(group: Group) -> str:
    """Return the name of one run of a group."""
    return f"{group.experiment}/{group.example}"


def _table(found: Sequence[Standing]) -> list[str]:
    states = [state for state in State if any(one.states.get(state) for one in found)]
    heads = [
        Column("experiment", is_fixed=True),
        Column("runs", is_right=True),
        *(
            Column(state, is_right=True, colour=lambda cell, state=state: _colour(cell, state))  # type: ignore[misc]
            for state in states
        ),
    ]
    rows = [
        [one.experiment, f"{one.total:,}", *(_cell(one.states.get(state, 0)) for state in states)]
        for one in found
    ]
    return output.table(heads, rows, wide=None)


def _cell(many: int) -> str:
    return f"{many:,}" if many else "-"


def _colour(cell: str, state: State) -> str:
    return "dim" if cell == "-" else output.state_colour(state)


def _reason(group: Group) -> str:
    return explain(group.why).words


def waits(one: Standing) -> list[str]:
    """Return why runs wait, a line for each reason."""
    lines = []
    ready = one.states.get(State.READY, 0)
    if ready:
        lines.append(
            f"{one.experiment}: {count(ready, 'run')} not sent yet: "
            "`penstock tick` or the daemon does that"
        )
    alike: dict[str, int] = {}  # several reasons may come to the same words
    for group in one.waiting:
        if group.state in (State.QUEUED, State.HELD):
            who = explain(group.why).who
            end = f"; {who}: cancel and change them" if who is Who.NEVER else ""
            why = f"{group.state}: {clean(_reason(group))}{end}"
            alike[why] = alike.get(why, 0) + group.count
    lines += [f"{one.experiment}: {count(many, 'run')} {why}" for why, many in alike.items()]
    lines += [_unheard(one.experiment, one.unknown)] if one.unknown else []
    return lines + [_asking(array) for array in one.asking]


def _unheard(experiment: str, one: Silence) -> str:
    since, lost = (at.astimezone() for at in (one.since, one.lost_at))
    return (
        f"{experiment}: {count(one.runs, 'run')} not heard of, the first since "
        f"{since:%b %d %H:%M}; called lost after {lost:%b %d %H:%M} if nobody hears of it"
        f"{while_unanswered(one.unanswered)}; `penstock show {one.example} --evidence`"
    )


def _asking(array: Sending) -> str:
    return (
        f"{array.experiment}: {count(array.size, 'run')} perhaps sent; {array.question}: look for "
        f"a job named {array.token}…, then `penstock resolve {array.token} --adopt JOB` or --resend"
    )


def failures(one: Standing) -> list[str]:
    """Return why runs failed, a line for each cause, with a run to look at."""
    return [
        f"{group.experiment}: {count(group.count, 'run')} {group.state}: {_cause(group)}; "
        f"`penstock show {name(group)}`"
        for group in one.ended
        if group.state is State.FAILED
    ]


def _cause(group: Group) -> str:
    from penstock.service.advice import sentence  # noqa: PLC0415  only where something failed

    return sentence(group.why)
