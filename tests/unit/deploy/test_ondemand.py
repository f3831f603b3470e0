"""The Open OnDemand app: its files, and that nothing that a user typed is read as a program."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from ruamel.yaml import YAML

ONDEMAND = Path(__file__).resolve().parents[3] / "deploy" / "ondemand"
SCRIPT, BEFORE = (ONDEMAND / "template" / name for name in ("script.sh.erb", "before.sh.erb"))
TAG = re.compile(r"<%-?=?(.*?)-?%>", re.DOTALL)


def filled(path: Path) -> str:
    """Return a template with each value as the word x, and without its code."""
    return TAG.sub(lambda tag: "x" if tag[0].startswith("<%=") else "", path.read_text())


def loaded(name: str) -> Any:
    return YAML(typ="safe").load(filled(ONDEMAND / name))


def test_app_is_described() -> None:
    about = loaded("manifest.yml")
    assert about["role"] == "batch_connect"
    assert about["name"] == "Penstock"
    assert about["description"]


def test_form_has_what_it_lists() -> None:
    form = loaded("form.yml")
    own = [name for name in form["form"] if not name.startswith("bc_")]
    assert set(own) == set(form["attributes"])
    assert form["cluster"]
    assert all(one["widget"] for one in form["attributes"].values())


def test_submit_asks_for_a_small_job_with_an_end() -> None:
    asked = loaded("submit.yml.erb")
    assert asked["batch_connect"]["template"] == "basic"
    assert set(asked["script"]) == {"wall_time", "accounting_id", "native"}
    assert all(re.fullmatch(r"--[a-z-]+=\S+", word) for word in asked["script"]["native"])


def test_card_is_made_of_what_the_job_gives() -> None:
    """OOD renders it with host, port, password and `conn_params`, which the job's shell exports."""
    given = loaded("submit.yml.erb")["batch_connect"]["conn_params"]
    assert re.findall(r"^export (\w+)=", BEFORE.read_text(), re.MULTILINE) == given
    code = " ".join(re.findall(r"<%[-=](.*?)-?%>", (ONDEMAND / "view.html.erb").read_text()))
    names = set(re.findall(r"(?<![.\"\w])[a-z]\w*", code))
    assert names <= {*given, "host", "port", "password", "require"}


def test_script_may_be_executed() -> None:
    """OOD keeps the mode of the template, and runs the script by its path."""
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("path", [SCRIPT, BEFORE], ids=lambda path: path.name)
def test_values_reach_the_shell_as_quoted_words_only(path: Path) -> None:
    subprocess.run(["bash", "-n"], input=filled(path), text=True, check=True)
    value = r"context\.\w+\.to_s"
    in_url = rf"ERB::Util\.url_encode\({value}\)\.gsub\(\"%2F\", \"/\"\)"
    for tag in re.findall(r"<%=(.*?)%>", path.read_text()):
        assert re.fullmatch(rf" Shellwords\.escape\(({value}|{in_url})\) ", tag), tag


def test_signal_to_the_jobs_shell_reaches_the_daemon(tmp_path: Path) -> None:
    """Slurm sends `B:TERM` to that shell alone, which begins and ends as OOD's does."""
    daemon = tmp_path / "script.sh"
    daemon.write_text(
        "#!/bin/bash\ntrap 'sleep 0.2; echo ended; exit' TERM\necho began\nsleep 60 & wait $!\n"
    )
    daemon.chmod(0o755)
    (tmp_path / "before.sh").write_text(filled(BEFORE))
    wrapper = 'source before.sh; ./script.sh & SCRIPT_PID=$!; wait "$SCRIPT_PID" || exit 1'
    with subprocess.Popen(
        ["bash", "-c", wrapper], cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        try:
            assert shell.stdout.readline() == b"began\n"
            shell.terminate()
            assert shell.stdout.readline() == b"ended\n"
            assert shell.wait(10) == 0
        finally:
            os.killpg(shell.pid, signal.SIGKILL)  # the sleep, which nobody ended


# --- rendered as Open OnDemand does, by Ruby itself


with_ruby = pytest.mark.skipif(
    shutil.which("ruby") is None, reason="needs ruby, which renders such templates"
)
# What somebody may type, or call a folder. `never` is a file that no program may make.
TYPED = [
    "it's",
    'say "x"',
    "$(touch never)",
    "`touch never`",
    "x; touch never",
    "x && touch never #",
    "x\ntouch never\n",
    "'; touch never; '",
    '"; touch never; "',
    "| touch never",
    "> never",
    "$HOME ~ * ? [a]",
    "\\$(touch never)\\n\\",
    "<%= File.write('never', '') %>",
    "#{File.write('never', '')}",
    "</code><script>x</script>",
    'x"><script>x</script>',
    "%2F%0A%27 +&=",
    "a: [b, {c: !ruby/object:Object d",
    "--uid=0",
    "é 🜁",
]


def ruby(text: str) -> str:
    """Return a text as one of Ruby's."""
    return f"[{text.encode().hex()!r}].pack('H*').force_encoding('UTF-8')"


def rendered(path: Path, values: str, folder: Path, within: str = "self", then: str = "") -> str:
    """Return a template as Ruby makes it in a folder, in the binding of an object."""
    program = (
        "require 'erb'; require 'ostruct'; require 'json'; require 'yaml'\n"
        f"{values}\nmade = ERB.new(File.read(ARGV[0]), trim_mode: '-')"
        f".result({within}.instance_eval {{ binding }})\nputs {then or 'made'}"
    )
    done = subprocess.run(
        ["ruby", "-Eutf-8", "-e", program, str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def source(folder: Path, *programs: str) -> None:
    """Have the shell of a job run programs in a folder, one after another."""
    for number, program in enumerate(programs):
        (folder / f"program{number}").write_text(program)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "SLURM_JOB_ID": "7", "host": "n1"}
    script = "; ".join(f"source ./program{number}" for number in range(len(programs)))
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@with_ruby
@pytest.mark.parametrize("typed", TYPED)
def test_script_runs_the_daemon_in_the_folder_that_was_typed(tmp_path: Path, typed: str) -> None:
    """The whole script, with folders and a program of that very name."""
    name = typed.replace("/", "_")
    project, programs = tmp_path / "projects" / name, tmp_path / "programs"
    project.mkdir(parents=True)
    programs.mkdir()
    told = tmp_path / "told"
    penstock = programs / name
    told_to = shlex.quote(str(told))
    penstock.write_text(
        f'#!/bin/sh\n{{ echo "$*"; echo "${{SLURM_JOB_ID-none}}"; pwd; }} >>{told_to}\n'
    )
    penstock.chmod(0o755)
    values = f"project: {ruby(str(project))}, penstock: {ruby(str(penstock))}"
    source(tmp_path, rendered(SCRIPT, f"context = OpenStruct.new({values})", tmp_path))
    assert told.read_text() == f"doctor\nnone\n{project}\ndaemon run\nnone\n{project}\n"
    assert not list(tmp_path.rglob("never"))


@with_ruby
def test_script_runs_nothing_where_the_folder_is_gone(tmp_path: Path) -> None:
    values = f"project: {ruby(str(tmp_path / 'gone'))}, penstock: '/bin/echo'"
    script = rendered(SCRIPT, f"context = OpenStruct.new({values})", tmp_path)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


class Page(HTMLParser):
    """The tags of a page, the addresses that it links to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


@with_ruby
@pytest.mark.parametrize("typed", TYPED)
def test_card_shows_the_folder_that_was_typed(tmp_path: Path, typed: str) -> None:
    """By way of the job's shell, which writes it into YAML with `echo -e`."""
    project = f"/p/{typed}"
    context = f"context = OpenStruct.new(project: {ruby(project)})"
    told = 'echo -e "host: $host\nproject: $project" >connection.yml'
    source(tmp_path, rendered(BEFORE, context, tmp_path), told)
    assert not (tmp_path / "never").exists()
    connection = YAML(typ="safe").load(tmp_path / "connection.yml")
    assert connection.keys() == {"host", "project"}
    given = ", ".join(f"{name}: {ruby(value)}" for name, value in connection.items())
    values = f"given = OpenStruct.new({given})"
    page = Page(rendered(ONDEMAND / "view.html.erb", values, tmp_path, "given"))
    assert page.tags == ["p", "code", "a", "code", "a"]
    assert f"The daemon keeps {project} up to date." in html.unescape(page.text)
    before = ("/pun/sys/shell/ssh/default", "/pun/sys/dashboard/files/fs")
    assert [unquote(link) for link in page.links] == [f"{one}{project}" for one in before]
    assert not (tmp_path / "never").exists()


def asked(folder: Path, num_hours: str, account: str) -> Any:
    """Return what the app asks of Slurm, as Ruby reads its YAML."""
    values = f"num_hours = {ruby(num_hours)}; account = {ruby(account)}"
    then = "YAML.safe_load(made).to_json"
    return json.loads(rendered(ONDEMAND / "submit.yml.erb", values, folder, then=then))


@with_ruby
@pytest.mark.parametrize("typed", TYPED)
def test_account_is_one_word_and_adds_nothing_to_what_is_asked_for(
    tmp_path: Path, typed: str
) -> None:
    usual = asked(tmp_path, "8", " ")
    assert "accounting_id" not in usual["script"]
    usual["script"]["accounting_id"] = typed.strip(" \n")  # as Ruby does
    assert asked(tmp_path, "8", typed) == usual
    assert not (tmp_path / "never").exists()


@with_ruby
@pytest.mark.parametrize(
    "typed, hours",
    [
        ("8", 8), ("8; touch never", 8), ("3\naccounting_id: root", 3), ("$(touch never)", 1),
        ("", 1), ("0", 1), ("-2", 1),
    ],
)  # fmt: skip
def test_job_has_an_end_whatever_was_typed(tmp_path: Path, typed: str, hours: int) -> None:
    """A time of zero is none at all to Slurm."""
    script = asked(tmp_path, typed, "")["script"]
    assert script["wall_time"] == hours * 3600
    assert "accounting_id" not in script
