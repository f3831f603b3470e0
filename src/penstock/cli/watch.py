"""``penstock watch``."""

import shutil
import sys
from dataclasses import dataclass
from typing import Annotated, Protocol

import typer

from penstock.cli import output
from penstock.cli.app import project
from penstock.cli.output import paint, state_colour
from penstock.cli.status import as_data, failures, waits
from penstock.cli.text import count, cut, duration, width
from penstock.model.state import State
from penstock.service.query import Standing
from penstock.service.watch import Progress
from penstock.service.watch import watch as progress_of

BAR = 24
FAILED = 1


def watch(
    ctx: typer.Context,
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="[EXPERIMENT]", show_default=False, help="Else all that are not over."
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON whenever something changes.")
    ] = False,
) -> None:
    """Watch runs until all have ended.

    On a terminal a few lines that change, else a line whenever something changes. Ctrl-C leaves
    the runs alone. The exit code is 1 if some run has not completed.
    """
    opened = project(ctx)
    view: View = Lines() if as_json else Live() if output.is_terminal(sys.stdout) else Plain()
    last: Progress | None = None
    try:
        for last in progress_of(opened, experiment):
            view.show(last)
    except KeyboardInterrupt:
        output.note("\nleft; the runs go on. `penstock watch` comes back to them")
        raise
    if last is None:
        output.note("no runs yet: `penstock submit SPEC` makes some")
        return
    for line in view.last_words(last):
        output.note(line)
    if any(one.states.get(State.COMPLETED, 0) < one.total for one in last.standings):
        raise typer.Exit(FAILED)


def _end(last: Progress) -> list[str]:
    return [
        f"all {count(one.total, 'run')} of {one.experiment} ended: `penstock runs {one.experiment}`"
        for one in last.standings
    ]


def summary(progress: Progress) -> str:
    """Return how all stand, on one line."""
    states: dict[State, int] = {}
    for one in progress.standings:
        for state, many in one.states.items():
            states[state] = states.get(state, 0) + many
    return ", ".join(f"{states[state]:,} {state}" for state in State if states.get(state))


def pace(progress: Progress) -> str:
    """Return rate and time left, if they are known."""
    if not progress.per_s or progress.left_s is None:
        return ""
    rate = progress.per_s
    said = f"{rate:.1f} a second" if rate >= 1 else f"{rate * 60:.1f} a minute"
    return f"{said}, about {duration(progress.left_s)} left"


class View(Protocol):
    """How progress is shown."""

    def show(self, progress: Progress) -> None:
        """Show how it stands now."""

    def last_words(self, last: Progress) -> list[str]:
        """Return what is said beside it when all is over."""


@dataclass
class Lines:
    """A line of JSON whenever something changes."""

    last: object = None

    def show(self, progress: Progress) -> None:
        """Write what is new."""
        stands = {
            "runs": progress.total,
            "ended": progress.over,
            "experiments": [as_data(one) for one in progress.standings],
            "hindrances": progress.hindrances,
        }
        if stands != self.last:
            how = {"at": progress.at, "per_s": progress.per_s, "left_s": progress.left_s}
            output.json_line({**how, **stands})
        self.last = stands

    def last_words(self, _last: Progress) -> list[str]:
        """Return nothing: it is all in the last line."""
        return []


@dataclass
class Plain:
    """A line whenever something changes."""

    last: str = ""
    told: tuple[str, ...] = ()

    def show(self, progress: Progress) -> None:
        """Write what is new."""
        if progress.hindrances and progress.hindrances != self.told:
            for words in progress.hindrances:
                output.warn(words)
        self.told = progress.hindrances
        words = f"{progress.over}/{progress.total} ended: {summary(progress)}"
        if words != self.last:
            at = progress.at.astimezone()
            output.data(f"{at:%H:%M:%S} {words}")
            output.flush()
        self.last = words

    def last_words(self, last: Progress) -> list[str]:
        """Return why runs failed, and where to look."""
        return [line for one in last.standings for line in failures(one)] + _end(last)


@dataclass
class Live:
    """A few lines that are written again and again over themselves."""

    lines: int = 0

    def show(self, progress: Progress) -> None:
        """Write the lines again."""
        columns, rows = shutil.get_terminal_size()
        lines = self._lines(progress, columns)[: max(3, rows - 2)]
        up = f"\033[{self.lines}A" if self.lines else ""
        body = "".join(f"{line}\033[K\n" for line in lines)
        sys.stdout.write(f"{up}\r{body}\033[J")
        sys.stdout.flush()
        self.lines = len(lines)

    def last_words(self, last: Progress) -> list[str]:
        """Return where to look; why runs failed is on the screen."""
        return _end(last)

    def _lines(self, progress: Progress, columns: int) -> list[str]:
        lines = [_head(one, columns) for one in progress.standings]
        said = [line for one in progress.standings for line in (*waits(one), *failures(one))]
        said += [f"warning: {words}" for words in progress.hindrances]
        said += [pace(progress)] if pace(progress) else []
        return lines + [cut("  " + line.replace("\n", " "), columns) for line in said]


def _head(one: Standing, columns: int) -> str:
    """Return an experiment's line; without colours where it has to be cut to fit."""
    parts = [(f"{many:,} {state}", state) for state in State if (many := one.states.get(state))]
    middle = f"  {bar(one.over / one.total)} {one.over:,}/{one.total:,}  "
    plain = one.experiment + middle + "  ".join(words for words, _ in parts)
    if width(plain) > columns:
        return cut(plain, columns)
    painted = (paint(words, state_colour(state)) for words, state in parts)
    return paint(one.experiment, "bold") + middle + "  ".join(painted)


def bar(share: float) -> str:
    """Return a bar that is so full."""
    full = int(share * BAR)
    head = ">" if 0 < share < 1 and full < BAR else ""
    return "[" + ("=" * full + head).ljust(BAR) + "]"
