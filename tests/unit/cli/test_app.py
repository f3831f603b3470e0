"""The command line as a whole: lazy, and honest in its exit codes."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from penstock.cli import app as module
from penstock.errors import EXIT_CODES, NotFoundError, PenstockError

SLOW = ("sqlmodel", "sqlalchemy", "alembic", "jinja2", "ruamel", "apscheduler", "rich", "pydantic")


@pytest.mark.parametrize("name", module.COMMANDS)
def test_help_of_a_command_is_its_docstring(name: str) -> None:
    """The table says at once what else would cost an import."""
    loaded = import_module(f"penstock.cli.{name}")
    words = inspect.getdoc(
        getattr(loaded, f"_{name}") if hasattr(loaded, "app") else getattr(loaded, name)
    )
    assert words is not None
    assert words.splitlines()[0] == module.COMMANDS[name]


def test_help_loads_no_command() -> None:
    code = (
        "import sys; from penstock.cli.app import main; sys.argv = ['penstock', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert not loaded & {*SLOW, *(f"penstock.cli.{name}" for name in module.COMMANDS)}


@pytest.mark.parametrize(
    "given, becomes",
    [
        (["runs", "--debug"], ["--debug", "runs"]),
        (["runs", "--project", "x", "-n", "3"], ["--project", "x", "runs", "-n", "3"]),
        (["runs", "--project=x"], ["--project=x", "runs"]),
        (["runs", "--", "--debug"], ["runs", "--", "--debug"]),
        (["runs", "--project"], ["--project", "runs"]),
    ],
)
def test_hoist_takes_global_options_from_anywhere(given: list[str], becomes: list[str]) -> None:
    assert module.hoist(given) == becomes


def test_told_maps_errors_to_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for kind, code in EXIT_CODES.items():
        assert module.told(kind("what", hint="do this"), False) == code
    assert module.told(ValueError("odd"), False) == module.BUG
    assert module.told(KeyboardInterrupt(), False) == module.INTERRUPTED
    shown = capsys.readouterr()
    assert not shown.out
    assert "do this" in shown.err
    assert "Traceback" not in shown.err


def test_told_shows_the_trace_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    module.told(NotFoundError("gone"), True)
    assert "NotFoundError" in capsys.readouterr().err


def test_help_names_every_exit_code() -> None:
    words = str(module.app.info.epilog)
    for kind, code in EXIT_CODES.items():
        assert f"{code} " in words, f"{kind.__name__} ends with {code}"
    assert issubclass(NotFoundError, PenstockError)
