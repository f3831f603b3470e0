"""The script of an array: what is in it, what never is, and how it is quoted."""

import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import SettingsError, UsageError
from penstock.model.spec import Request
from penstock.runner import signals
from penstock.scheduler import script
from penstock.scheduler.protocol import Submission

NASTY = '/home/o\'neil/a b/$(touch x)/`id`/#1/%j "q"/é; rm -rf hetjob & |'


def make_submission(**changes: Any) -> Submission:
    values: dict[str, Any] = {
        "token": "ps-01ab",
        "label": "digits.train",
        "size": 10,
        "throttle": None,
        "request": Request(),
        "folder": "/p/.penstock/arrays/ps-01ab",
        "log": "/p/.penstock/arrays/ps-01ab/slurm.log",
    }
    return Submission(**{**values, **changes})


def render(
    python: str = "python3", runner: str = "/p/runner.zip", templates: Any = (), **changes: Any
) -> str:
    submission = make_submission(**changes)
    return script.render(submission, python=python, runner=runner, templates=templates)


def options(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH ")]
    return [sbatch_reads(line.removeprefix("#SBATCH ")) for line in lines]


def sbatch_reads(line: str) -> str:
    """Return the one word that sbatch makes of the rest of a line: _get_argument of its opt.c."""
    assert not script._HET_JOB.search(line), "sbatch would begin another component"
    out, quote, at = "", "", 0
    while at < len(line):
        char = line[at]
        if char == "\\":
            at += 1
            out += line[at]
        elif quote:
            out, quote = (out, "") if char == quote else (out + char, quote)
        elif char in "'\"":
            quote = char
        else:
            assert not char.isspace()
            assert char != "#"
            out += char
        at += 1
    assert not quote
    return out


def assert_is_bash(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_script_says_what_slurm_must_know() -> None:
    request = Request(4, 2, 4096, 93784, "short,long", "acc", "q", ("--constraint=a100&ib",))
    text = render(throttle=3, request=request)
    assert options(text) == [
        "--job-name=ps-01ab.digits.train",
        "--array=0-9%3",
        "--output=/p/.penstock/arrays/ps-01ab/slurm.log",
        "--open-mode=append",
        "--requeue",
        "--export=ALL",
        "--cpus-per-task=4",
        "--gres=gpu:2",
        "--mem=4096M",
        "--time=1-02:03:04",
        "--partition=short,long",
        "--account=acc",
        "--qos=q",
        "--constraint=a100&ib",
    ]
    assert_is_bash(text)


def test_script_leaves_the_rest_to_the_cluster() -> None:
    text = render(size=1)
    assert options(text)[1] == "--array=0-0"
    for name in ("gres", "mem", "time", "partition", "account", "qos"):
        assert f"--{name}" not in text


def test_script_ends_with_one_exec_of_the_runner() -> None:
    *_, trap, last = render().splitlines()
    assert trap == "trap '' TERM USR1 USR2 INT HUP QUIT"
    assert last == "exec python3 /p/runner.zip /p/.penstock/arrays/ps-01ab"
    assert "srun" not in render()


def test_script_ignores_only_what_the_runner_hears() -> None:
    """An ignored signal is inherited: the command would never hear one that the runner forgets."""
    ignored = {signal.Signals[f"SIG{name}"] for name in script.SIGNALS.split()}
    assert ignored == {*signals.FORWARDED, signals.TERM}


def test_runner_gets_its_words_whole_and_is_not_killed_by_a_signal(tmp_path: Path) -> None:
    runner = tmp_path / "the 'runner' $(x).py"
    runner.write_text(
        "import os, signal, sys\n"
        "for name in ('TERM', 'USR1', 'USR2', 'INT', 'HUP', 'QUIT'):\n"
        "    os.kill(os.getpid(), getattr(signal, 'SIG' + name))\n"
        "sys.stdout.write(sys.argv[1])\n"
    )
    text = render(runner=str(runner), folder=NASTY, log=NASTY + "/slurm.log")
    assert_is_bash(text)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == NASTY


def test_nasty_folder_is_one_word_for_sbatch() -> None:
    text = render(folder=NASTY, log=NASTY + "/slurm.log")
    (output,) = (word for word in options(text) if word.startswith("--output="))
    assert output == "--output=" + NASTY.replace("%", "%%") + "/slurm.log"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_quote_is_read_back_by_sbatch(text: str) -> None:
    assert sbatch_reads(script.quote(text)) == text


@pytest.mark.parametrize("word", ["hetjob", "HetJob", "packjob", "xhetjobhetjob"])
def test_quote_hides_the_word_that_begins_a_component(word: str) -> None:
    assert sbatch_reads(script.quote(word)) == word


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
def test_option_stays_one_option(value: str) -> None:
    option = f"--comment={value}"
    if option.isprintable():
        assert options(render(request=Request(options=(option,))))[-1] == option


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "a b"},
        {"token": "x" * 65},
        {"token": "A"},
        {"label": "a\nb"},
        {"label": "$(x)"},
        {"label": ""},
        {"size": 0},
        {"throttle": 0},
        {"folder": "relative"},
        {"folder": "/a\nb"},
        {"folder": "/a\\b"},
        {"log": "/a\x1b[0m"},
        {"log": "/a\\b"},
        {"python": ""},
        {"python": "python3\nrm -rf /"},
        {"runner": "/a\rb"},
        {"request": Request(partition="a\nb")},
        {"request": Request(account="a\nb")},
        {"request": Request(options=("--comment=a\n#SBATCH --array=1",))},
    ],
)
def test_what_a_script_cannot_hold_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        render(**changes)


# --- templates


def test_template_of_a_site_goes_before_ours_and_the_first_before_the_second(
    tmp_path: Path,
) -> None:
    for name in ("user", "site"):
        (tmp_path / name).mkdir()
        template = f"#!/bin/bash\n# {name}'s\nexec {{{{ runner | shell }}}} {{{{ size }}}}\n"
        (tmp_path / name / "array.sh.j2").write_text(template)
    missing = tmp_path / "missing"
    text = render(templates=[missing, tmp_path / "user", tmp_path / "site"], runner="/a b")
    assert text == "#!/bin/bash\n# user's\nexec '/a b' 10\n"


def test_template_may_extend_what_we_have(tmp_path: Path) -> None:
    """A site that only wants a line more need not copy the rest."""
    template = """{% extends "penstock/array.sh.j2" %}
        {% block before %}\nmodule load python\n{% endblock %}\n"""
    (tmp_path / "array.sh.j2").write_text(template)
    text = render(templates=[tmp_path])
    assert "\nmodule load python\n" in text
    assert text.replace("module load python\n", "") == render()


@pytest.mark.parametrize(
    "template,what",
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("line\n{% if %}", "array.sh.j2:2: "),
        ("{{ size | nofilter }}", "nofilter"),
        ('{% include "gone" %}', "there is no template gone"),
    ],
)
def test_template_that_fails_is_named(tmp_path: Path, template: str, what: str) -> None:
    (tmp_path / "array.sh.j2").write_text(template)
    with pytest.raises(SettingsError) as error:
        render(templates=[tmp_path])
    assert what in error.value.what
    assert str(tmp_path) in error.value.hint


def test_exec_line_is_what_shlex_reads() -> None:
    text = render(python="/opt/py 3/bin/python", runner="/r's.zip", folder="/a b", log="/a b/l")
    assert shlex.split(text.splitlines()[-1]) == [
        "exec",
        "/opt/py 3/bin/python",
        "/r's.zip",
        "/a b",
    ]
