"""``penstock submit``."""

import gc
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import output
from penstock.cli.app import INTERRUPTED, project
from penstock.cli.text import clean, count, cut
from penstock.errors import PenstockError, Refused, exit_code
from penstock.model.run import Limits
from penstock.model.spec import Params, Spec
from penstock.service.project import Project
from penstock.store import detail
from penstock.store.submissions import Submitted
from penstock.wire import argv

if TYPE_CHECKING:
    from penstock.service.submit import Preview

SHOWN = 20  # runs that --dry-run shows to people; --json has all
WIDE = 60  # columns of a parameter that --dry-run shows
WIDEST = 500  # … and of a run


def submit(  # noqa: PLR0913, PLR0917  each is an option
    ctx: typer.Context,
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A YAML file.", show_default=False)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and the scripts; submit nothing.")
    ] = False,
    name: Annotated[
        str,
        typer.Option("--name", metavar="EXPERIMENT", help="In place of the one that the spec has."),
    ] = "",
    cluster: Annotated[
        str,
        typer.Option("--cluster", metavar="NAME", help="On this cluster of your settings, by SSH."),
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch them until all have ended.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Submit the runs of a spec.

    All are stored or none; then they are sent as array jobs. What cannot be sent now, because a
    limit is reached or Ctrl-C came, is sent by `penstock tick`, the daemon, or the next command.
    """
    near = project(ctx)
    with near.reaching(cluster):
        from penstock.service import submit as service  # noqa: PLC0415  a YAML library

        wanted = service.read_spec(spec, experiment=name or None)
    opened = near.on(cluster)
    if dry_run:
        _preview(service.preview(opened, wanted, show=None if as_json else SHOWN), as_json)
        return
    gc.freeze()  # what is loaded stays: it is not looked through again for each thousand runs
    stored, limits = _store(opened, wanted)
    _say(stored, as_json)
    output.flush()  # it is stored: that is known, whatever happens to us
    _send(opened, stored, limits)
    if follow:
        from penstock.cli.watch import watch  # noqa: PLC0415

        watch(ctx, stored.experiment)
    else:
        output.note(f"follow: penstock watch {stored.experiment}")


def runs_of(stored: Submitted) -> str:
    """Return ``12 runs: digits/1 to digits/12``."""
    many = stored.last - stored.first + 1
    first, last = (f"{stored.experiment}/{one}" for one in (stored.first, stored.last))
    return f"{count(many, 'run')}: {first}" + (f" to {last}" if many > 1 else "")


def _store(opened: Project, wanted: Spec) -> tuple[Submitted, Limits | None]:
    from penstock.service import submit as service  # noqa: PLC0415

    began = opened.clock.now()
    try:
        limits = service.limits_of(opened)
        return service.submit(opened, wanted, limits), limits
    except KeyboardInterrupt:  # before the commit or after it: the store knows
        with opened.store.read() as view:
            stored = detail.submitted_since(view, opened.user, began)
        if stored is None:
            output.note("\nnothing was submitted")
            raise
        output.note(f"\n{_later(stored)}")
        raise typer.Exit(INTERRUPTED) from None


def _later(stored: Submitted) -> str:
    return f"stored, and not lost: {runs_of(stored)}; `penstock tick` or the daemon sends the rest"


def _preview(preview: "Preview", as_json: bool) -> None:
    if as_json:
        output.as_json(
            {
                "experiment": preview.spec.experiment,
                "stages": preview.sizes,
                "runs": [
                    {"stage": stage, "params": params, "command": command}
                    for stage, params, command in preview.runs
                ],
                "scripts": [{"label": label, "script": text} for label, text in preview.scripts],
                "waiting": preview.waiting,
            }
        )
        return
    total = sum(preview.sizes.values())
    output.data(f"{preview.spec.experiment}: {count(total, 'run')}")
    for _, params, command in preview.runs:
        output.data("  " + cut(_shown(params, command), WIDEST))
    if total > len(preview.runs):
        output.data(f"  … and {total - len(preview.runs):,} more")
    if preview.waiting:
        output.data(f"{count(preview.waiting, 'run')} would wait here until the cluster has room")
    for label, text in preview.scripts:
        output.data(f"\n--- script of an array: {label} ---\n{text.rstrip()}")
    output.note("\nnothing was submitted (--dry-run)")


def _shown(params: Params, command: list[str]) -> str:
    """Return a run on one line: ``lr=0.1 size=3:  python train.py``, its words quoted as a shell's.

    What steers a terminal is written out, so not every word can be pasted.
    """
    named = " ".join(
        f"{clean(name)}={cut(_word(argv.text(one)), WIDE)}" for name, one in params.items()
    )
    return (f"{named}:  " if named else "") + " ".join(_word(word) for word in command)


def _word(word: str) -> str:
    shown = clean(word)
    if "'" in shown and not any(char in shown for char in '"$`\\!'):
        return f'"{shown}"'  # easier to read than what shlex makes of it
    return shlex.quote(shown)


def _say(stored: Submitted, as_json: bool) -> None:
    if as_json:
        output.as_json(
            {
                "submission": stored.uid,
                "experiment": stored.experiment,
                "runs": stored.last - stored.first + 1,
                "first": stored.first,
                "last": stored.last,
            }
        )
    else:
        output.data(f"submitted {runs_of(stored)} (submission {stored.uid})")


def _send(opened: Project, stored: Submitted, limits: Limits | None) -> None:
    """Send what is stored; whatever happens here, it is stored."""
    from penstock.service import submit as service  # noqa: PLC0415
    from penstock.service.upkeep import Upkeep, told  # noqa: PLC0415

    later = _later(stored)
    try:
        report = service.send(opened, limits)
        Upkeep(opened).quicken(opened.settings.poll_s)
    except KeyboardInterrupt:
        output.note(f"\n{later}")
        raise typer.Exit(INTERRUPTED) from None
    except PenstockError as error:
        output.warn(f"{error}\n  {later}")
        return
    for line in told(report):
        output.note(line)
    for words in report.odd:
        output.warn(f"{words}\n  {later}")
    if report.is_other:
        output.note(f"{report.is_other} sends them")
    elif not (report.sent or report.odd):
        output.note(later)  # an earlier array waits for a limit, and these wait behind it
    for sent in report.sent:
        if isinstance(sent.error, Refused):
            output.warn(str(sent.error))
            raise typer.Exit(exit_code(sent.error))
