"""``penstock show``."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.columns import took
from penstock.cli.output import Column, data, facts, paint, state_colour
from penstock.cli.text import ago, clean, count, duration, looked, number, size, value, when
from penstock.model.spec import Request
from penstock.model.state import FINAL, State
from penstock.planning.pace import Pace
from penstock.service import advice, belief, query
from penstock.service import logs as logs_service
from penstock.service.project import Project
from penstock.service.query import Detail
from penstock.service.reasons import explain
from penstock.service.upkeep import freshen, pace_of
from penstock.store.detail import AttemptRow
from penstock.wire import argv

SHORT = 12  # characters of a digest; --json has all


def show(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Such as digits/7, or a uid.")],
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Tell also what was believed, from whom and when.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show all that is known of a run.

    State and cause in words, attempts, where and when it ran, what it used, parameters, metrics,
    tags, results, its log and code; and what to do next if it failed.
    """
    opened = project(ctx)
    for hindrance in freshen(opened):
        output.warn(hindrance)
    whole = query.whole(opened, run)
    if as_json:
        output.as_json(_as_data(opened, whole, evidence=evidence))
        return
    for line in _lines(opened, whole, opened.clock.now(), evidence=evidence):
        data(line)


def _as_data(opened: Project, whole: Detail, *, evidence: bool) -> dict[str, Any]:
    found = query.as_data(opened, whole.run)
    found["attempts"] = [asdict(attempt) for attempt in whole.attempts]
    found["metric_summaries"] = [asdict(metric) for metric in whole.metrics]
    found["outputs"] = [asdict(one) for one in whole.outputs]
    found["submission"] = {
        name: one for name, one in asdict(whole.origin).items() if name != "stage"
    }
    found["command"] = list(whole.origin.stage.command)
    found["image"] = whole.origin.stage.environment.apptainer or None
    if evidence:
        found["evidence"] = [
            {**asdict(one), "why": belief.why(one.source, one.word)} for one in whole.evidence
        ]
        pace = _pace(opened, whole)
        found["queue_asked_at"], found["queue_answered_at"] = pace.at, pace.answered_at
    last = whole.last
    if last is not None and last.unknown_since and belief.is_unheard(last):
        settings, pace = opened.settings.at(whole.origin.cluster), _pace(opened, whole)
        found["unknown_since"] = since = last.unknown_since
        found["lost_after"] = belief.lost_at(settings, pace, since, last.heard_at)
        found["unanswered"] = pace.unanswered or None
    return found


def _lines(opened: Project, whole: Detail, now: datetime, *, evidence: bool) -> Iterator[str]:
    run = whole.run
    yield paint(run.name, "bold") + "  " + paint(run.state, state_colour(run.state))
    yield from _indented(facts(_standing(opened, whole, now)))
    for title, pairs in (
        ("params", [(name, value(one)) for name, one in run.params.items()]),
        ("tags", list(run.tags.items())),
    ):
        yield from _section(title, facts((clean(name), clean(one) or "''") for name, one in pairs))
    yield from _section("metrics", _metrics(whole))
    yield from _section("results", _results(whole))
    if len(whole.attempts) > 1:
        yield from _section("attempts", _attempts(whole, now))
    yield from _section("origin", facts(_origin(opened, whole, now)))
    if evidence:
        yield from _section("evidence", _evidence(opened, whole, now))


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield paint(title, "bold")
        yield from _indented(lines)


def _indented(lines: list[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _standing(opened: Project, whole: Detail, now: datetime) -> Iterator[tuple[str, str]]:
    run, last = whole.run, whole.last
    if run.state in FINAL:
        yield "cause", advice.sentence(run.cause, clean(last.detail) if last else "")
        yield "next", advice.next_step(run)
    elif run.state not in (State.RUNNING, State.ENDING):
        yield "waits", logs_service.why_waiting(whole)
    if last is None:
        return
    if last.unknown_since and belief.is_unheard(last):
        settings, pace = opened.settings.at(whole.origin.cluster), _pace(opened, whole)
        lost_at = belief.lost_at(settings, pace, last.unknown_since, last.heard_at)
        since, unless = ago(last.unknown_since, now), belief.while_unanswered(pace.unanswered)
        yield "unknown", f"not heard of since {since}; its state is the last known"
        yield "lost", f"called so after {when(lost_at, now)}, if nobody hears of it{unless}"
        yield "next", belief.unknown_next(last)
    yield "ended with", advice.how_it_ended(last)
    yield "attempt", _ordinal(last)
    yield "job", last.job
    yield "node", clean(last.node)
    yield "started", ago(last.started_at, now)
    yield "ended", ago(last.ended_at, now)
    yield "took", duration(took(run, now))
    yield "memory", _of(size(last.peak_bytes), last.request)
    yield "cpu time", _cpu(last, took(run, now))
    if last.bad_lines:
        yield "damaged", f"{last.bad_lines} lines of its record could not be read, and do not count"


def _pace(opened: Project, whole: Detail) -> Pace:
    return pace_of(opened, whole.origin.cluster, whole.origin.owner)


def _ordinal(last: AttemptRow) -> str:
    if last.number == 1 and not last.restart:
        return ""
    return f"{last.number}" + (f", requeued {_times(last.restart)}" if last.restart else "")


def _times(many: int) -> str:
    return "once" if many == 1 else f"{many} times"


def _of(peak: str, request: Request) -> str:
    if not peak:
        return ""
    return f"{peak} at most" + (
        f", of {size(request.mem_mb * 2**20)}" if request.mem_mb is not None else ""
    )


def _cpu(last: AttemptRow, wall_s: float | None) -> str:
    if last.cpu_s is None:
        return ""
    if not wall_s:
        return duration(last.cpu_s)
    cpus = last.request.cpus
    share = 100 * last.cpu_s / (wall_s * cpus)
    return f"{duration(last.cpu_s)}, {share:.0f} % of {count(cpus, 'cpu')}"


def _metrics(whole: Detail) -> list[str]:
    if not whole.metrics:
        return []
    heads = [
        Column(name, is_fixed=True, is_right=name != "name")
        for name in ("name", "last", "step", "min", "max", "count")
    ]
    rows = [
        [
            one.name,
            "nan" if one.last is None else number(one.last),
            "" if one.step is None else str(one.step),
            number(one.min),
            number(one.max),
            str(one.count),
        ]
        for one in whole.metrics
    ]
    return output.table(heads, rows, wide=None)


def _results(whole: Detail) -> list[str]:
    if not whole.outputs:
        return []
    heads = [Column("file", is_fixed=True), Column("size", is_right=True), Column("digest")]
    rows = [[one.path, size(one.bytes), one.digest[:SHORT]] for one in whole.outputs]
    return [f"in {clean(str(whole.folder))}", *output.table(heads, rows, wide=None)]


def _attempts(whole: Detail, now: datetime) -> list[str]:
    names = ("attempt", "state", "job", "node", "started", "ended", "end")
    rows = [
        [
            str(one.number),
            one.state + (f" ({one.cause})" if one.cause else ""),
            one.job,
            one.node,
            when(one.started_at, now),
            when(one.ended_at, now),
            advice.how_it_ended(one),
        ]
        for one in whole.attempts
    ]
    return output.table([Column(name, is_fixed=True) for name in names], rows, wide=None)


def _origin(opened: Project, whole: Detail, now: datetime) -> Iterator[tuple[str, str]]:
    origin = whole.origin
    yield "command", " ".join(clean(word) or "''" for word in _command(whole))
    yield "image", clean(origin.stage.environment.apptainer)
    yield "stage", whole.run.stage
    yield "spec", clean(origin.file)
    yield "code", f"{origin.code[:SHORT]} of {clean(origin.folder)}" if origin.code else "none"
    yield "submitted", f"{ago(origin.created_at, now)} by {origin.owner} to {origin.cluster}"
    yield "uid", whole.run.uid
    if whole.last is not None:
        if far := opened.settings.clusters.get(origin.cluster):
            yield "array", f"{origin.cluster}:{far.home}/arrays/{whole.last.token}"
            yield "log", f"`penstock logs {whole.run.name}` fetches it"
        else:
            yield "log", _log(opened, whole.last)
            yield "array", str(opened.settings.home / "arrays" / whole.last.token)


def _command(whole: Detail) -> list[str]:
    """Return the command with its parameters in it."""
    template = list(whole.origin.stage.command)
    try:
        return argv.render(template, dict(whole.run.params))
    except KeyError:
        return template


def _log(opened: Project, last: AttemptRow) -> str:
    found = logs_service.logs(opened, last)
    if not found:
        return ""
    path: Path = found[-1].path
    return str(path if path.exists() else found[-1].folder / "logs.zip")


def _evidence(opened: Project, whole: Detail, now: datetime) -> list[str]:
    names = ("attempt", "when", "source", "said", "so", "why")
    rows = [
        [
            str(one.attempt),
            when(one.at, now),
            one.source,
            one.word,
            one.detail,
            belief.why(one.source, one.word),
        ]
        for one in whole.evidence
    ]
    lines = output.table([Column(name, is_fixed=True) for name in names], rows, wide=None)
    if whole.last and whole.last.reason:
        reason, words = whole.last.reason, explain(whole.last.reason).words
        lines.append(clean(words if reason in words else f"{reason}: {words}"))
    heard = ago(whole.last.heard_at, now) if whole.last else ""
    pace = _pace(opened, whole)
    look = looked(pace.at, pace.answered_at, now)
    return [
        *(lines if rows else ["nothing yet"]),
        *([f"its runner was heard of last at {heard}"] if heard else []),
        *([f"the queue was looked at last: {look}"] if look else []),
    ]
