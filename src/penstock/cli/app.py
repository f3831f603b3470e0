"""The command ``penstock``: a table of commands, each loaded only when it is called."""

import os
import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

import penstock
from penstock.errors import PenstockError, exit_code

if TYPE_CHECKING:
    from penstock.service.project import Project

# Each command's module is penstock.cli.<command>; a test compares the words with its docstring.
COMMANDS: dict[str, str] = {
    "init": "Make a folder a project.",
    "submit": "Submit the runs of a spec.",
    "status": "Show how many runs wait, run and have ended.",
    "runs": "List runs, filtered and sorted.",
    "show": "Show all that is known of a run.",
    "logs": "Print what a run wrote.",
    "fetch": "Bring the results of a run here.",
    "watch": "Watch runs until all have ended.",
    "cancel": "Cancel runs.",
    "resolve": "Say what became of an array that was perhaps sent.",
    "tick": "Bring everything up to date once.",
    "daemon": "Keep everything up to date.",
    "clusters": "Show which clusters are connected.",
    "doctor": "Check a project and its cluster, and say what to do.",
    "store": "Check the store, copy it, put a copy back, move it.",
}
BUG = 70  # sysexits.h, EX_SOFTWARE
INTERRUPTED = 130
CLOSED_PIPE = 141
ISSUES = "the project's issue tracker"


@dataclass
class Called:
    """What was said before the command."""

    project: Path | None = None
    debug: bool = False


def project(ctx: typer.Context) -> "Project":
    """Open the project that a command is about."""
    from penstock.service.project import open_project  # noqa: PLC0415  --help does without it

    return open_project(ctx.obj.project)


def load(name: str) -> Any:
    """Return the command of a name, from its module."""
    module = import_module(f"penstock.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command(name)(getattr(module, name))
    command = typer.main.get_command(app)
    command.name = name
    return command


class Lazy(typer.core.TyperGroup):
    """A group whose commands are only names until one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Load the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in COMMANDS else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and turn what goes wrong into words and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except BaseException as error:
            if hasattr(error, "exit_code"):  # the parser's own
                raise
            raise typer.Exit(told(error, isinstance(ctx.obj, Called) and ctx.obj.debug)) from error
        return result


def told(error: BaseException, debug: bool) -> int:
    """Say what went wrong; return the exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the flush at the end would fail again
        return CLOSED_PIPE
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    if isinstance(error, PenstockError):
        print(f"penstock: {_clean(error)}", file=sys.stderr)  # noqa: T201
        return exit_code(error)
    if isinstance(error, Exception):
        print(  # noqa: T201
            f"penstock: unexpected {type(error).__name__}: {_clean(error)}\n"
            "  this is a bug in Penstock: run the same with --debug, and report what it prints",
            file=sys.stderr,
        )
        return BUG
    raise error


def _clean(error: Exception) -> str:
    from penstock.cli.text import clean_lines  # noqa: PLC0415

    return clean_lines(str(error))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"penstock {penstock.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Lazy,
    name="penstock",
    help="Submit sweeps to Slurm, watch them, and find their results again.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 spec, 4 settings, 5 not found, 6 store, "
    "7 scheduler, 8 files or commands, 9 code or results, 70 bug, 130 Ctrl-C, 141 closed pipe.",
)


@app.callback()
def _options(
    ctx: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Work in the project of this folder, not of this one."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    ctx.obj = Called(project, debug)


def _stub(name: str, words: str) -> None:
    def command() -> None:
        raise AssertionError(f"{name} is loaded before it is called")

    app.command(name, help=words)(command)


for _name, _words in COMMANDS.items():
    _stub(_name, _words)


def hoist(argv: list[str]) -> list[str]:
    """Return the arguments with ``--debug`` and ``--project`` in front, wherever they were."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--debug" or word.startswith("--project="):
            front.append(word)
        elif word == "--project":
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            rest.append(word)
    return front + rest


def main() -> None:
    """Run the command line; the program's entry."""
    command = typer.main.get_command(app)
    try:
        command.main(hoist(sys.argv[1:]), prog_name="penstock")
    except (KeyboardInterrupt, BrokenPipeError) as error:
        sys.exit(told(error, "--debug" in sys.argv))
