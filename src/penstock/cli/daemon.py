"""``penstock daemon``."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import app as command
from penstock.cli import output
from penstock.cli.text import ago, clean, count, duration, looked, when
from penstock.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from penstock.daemon.report import Report
    from penstock.service.project import Project

app = typer.Typer(
    help="Keep everything up to date.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def _daemon() -> None:
    """Keep everything up to date."""


@app.command()
def run(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Do one step and end.")] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Write to the daemon's log, not to stderr.")
    ] = False,
) -> None:
    """Keep the project up to date until SIGTERM or Ctrl-C.

    No daemon is needed for anything to be right: it makes what `status` shows fresh, and sends
    runs that wait for room. It asks the scheduler every poll_s seconds (settings) while things
    change, ever less often up to poll_max_s when they do not.
    """
    from penstock.daemon import life, process  # noqa: PLC0415
    from penstock.daemon.log import Log  # noqa: PLC0415
    from penstock.daemon.loop import Loop  # noqa: PLC0415  apscheduler

    opened = command.project(ctx)
    opened.store.close()  # say at once where there is none
    say = Log(process.log_of(opened)) if log else _say
    path = process.life_of(opened)
    loop = Loop(lambda: command.project(ctx), say, None if once else path)
    if once:
        loop.step()
        return
    mine = life.claim(path, opened.clock.now())
    say("started", project=opened.settings.root, pid=mine.pid, host=mine.host)
    if not log:
        output.note(f"keeping {opened.settings.root} up to date; Ctrl-C ends")
    try:
        loop.run()
    finally:
        life.give_up(path)


def _say(what: str, level: str = "info", **fields: object) -> None:
    from penstock.daemon.log import line  # noqa: PLC0415

    output.note(line(datetime.now(UTC), level, what, fields))


@app.command()
def start(ctx: typer.Context) -> None:
    """Start a daemon in the background of this host.

    It goes on when you log out, where the host lets it. One for each project is enough: a second
    one is refused.
    """
    from penstock.daemon import process  # noqa: PLC0415

    opened = command.project(ctx)
    opened.store.close()
    found = process.start(opened)
    output.data(f"started: process {found.pid} on {found.host}")


@app.command()
def stop(ctx: typer.Context) -> None:
    """End the daemon of this host; the step in hand is ended first.

    Runs that wait or run are left alone.
    """
    from penstock.daemon import process  # noqa: PLC0415

    found = process.stop(command.project(ctx))
    output.data(f"stopped: process {found.pid}" if found else "no daemon runs")


@app.command()
def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show whether a daemon lives, how it fares, what it asks of the scheduler, and what waits."""
    from penstock.daemon.report import report  # noqa: PLC0415

    opened = command.project(ctx)
    told = report(opened)
    if as_json:
        output.as_json(_as_data(told))
        return
    for line in output.facts(_facts(told, opened.clock.now())):
        output.data(line)
    for line in _waits(opened, told):
        output.data(line)


def _as_data(told: "Report") -> dict[str, Any]:
    from penstock.cli.status import unheard  # noqa: PLC0415

    life = told.life
    return {
        "running": life is not None,
        "host": life.host if life else None,
        "pid": life.pid if life else None,
        "since": life.since if life else None,
        "acting": list(told.leases),
        "pulse": asdict(told.pulse),
        "last_look": told.last_look,
        "last_answer": told.last_answer,
        "next_look": told.next_look,
        "load": asdict(told.load),
        "waiting": [asdict(one) for one in told.waiting],
        "unknown": unheard(told.unknown),
        "log": told.log,
    }


def _facts(told: "Report", now: datetime) -> Iterator[tuple[str, str]]:
    from penstock.daemon.report import last_cycle  # noqa: PLC0415

    life, pulse, load = told.life, told.pulse, told.load
    yield (
        "daemon",
        f"process {life.pid} on {life.host}, since {ago(life.since, now)}" if life else "none runs",
    )
    yield "acting now", clean(", ".join(told.leases)) or "nobody (between two cycles)"
    if life:
        times = f"{duration(pulse.mean_s)} on average, {duration(pulse.longest_s)} at most"
        last = ago(last_cycle(pulse), now)
        yield "cycles", f"{count(pulse.cycles, 'cycle')}, the last {last}; {times}"
        yield "trouble", clean(pulse.trouble)
    yield "last look", looked(told.last_look, told.last_answer, now)
    yield "next look", when(told.next_look, now)
    asked = ", ".join(f"{many} {verb}" for verb, many in sorted(load.questions.items()))
    yield "scheduler", f"{count(load.rpcs, 'RPC')} in the last hour ({asked or 'nothing asked'})"
    if load.per_run is not None:
        yield "a run", f"{load.per_run:.2g} RPCs, since {ago(load.since, now)}"
    yield "log", told.log


def _waits(opened: "Project", told: "Report") -> Iterator[str]:
    now = opened.clock.now()
    for one in told.waiting:
        at = when(one.at, now)
        yield {
            "room": f"{count(one.runs, 'run')} wait for room; sent again after {at}: "
            f"{clean(one.detail)}",
            "unsent": f"{count(one.runs, 'run')} wait to be sent by the next cycle",
            "sending": f"{count(one.runs, 'run')} were perhaps sent at {at}, and are looked up; "
            "`penstock resolve` tells more",
            "ending": f"{count(one.runs, 'run')} have ended, and their record is waited for",
        }[one.what]
    if told.unknown:
        from penstock.service.belief import while_unanswered  # noqa: PLC0415

        silent = told.unknown
        since, lost = when(silent.since, now), when(silent.lost_at, now)
        yield (
            f"{count(silent.runs, 'run')} not heard of, the first since {since}; called lost after "
            f"{lost} if nobody hears of it{while_unanswered(silent.unanswered)}"
        )


@app.command()
def logs(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many, the last.")] = 50,
) -> None:
    """Print the daemon's log: a line a record, with time, level, what, and key=value."""
    from penstock.daemon import log, process  # noqa: PLC0415

    path = process.log_of(command.project(ctx))
    if not path.exists():
        raise NotFoundError(
            f"there is no log {path}", hint="`penstock daemon start` begins one, `run` uses stderr"
        )
    for line in log.tail(path, lines):
        output.data(line)
    if follow:
        with suppress(KeyboardInterrupt):
            for line in log.follow(path):
                output.data(line)
                output.flush()


@app.command()
def install(
    ctx: typer.Context,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="KIND",
            show_default=False,
            help="systemd, cron or scrontab; else chosen.",
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write it; else only print it.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take it away.")] = False,
) -> None:
    """Let the system keep the project up to date, also after a reboot.

    A systemd user unit runs the daemon; a line of crontab or scrontab brings everything up to date
    every five minutes. What would be written is printed; --yes writes it.
    """
    from penstock.daemon import install as service  # noqa: PLC0415

    opened = command.project(ctx)
    kind = kind or service.choose()
    if kind not in service.KINDS:
        raise UsageError(f"there is no kind {kind!r}", hint=f"one of {', '.join(service.KINDS)}")
    if uninstall:
        gone = service.uninstall(opened, kind)
        output.data(f"{kind}: taken away" if gone else f"{kind}: nothing was installed")
        return
    plan = service.plan(opened, kind)
    output.data(plan.text.rstrip("\n"))
    for note in plan.notes:
        output.warn(note)
    if not yes:
        output.note(f"nothing is written; with --yes this goes to {plan.where}")
        return
    service.install(opened, kind)
    output.note(f"written to {plan.where}; --uninstall --kind {kind} takes it away")
