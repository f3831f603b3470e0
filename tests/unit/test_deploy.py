"""What stands in deploy/ for sites: the same as the program writes, and whole."""

import html
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from penstock.clock import SystemClock
from penstock.daemon import install
from penstock.daemon.process import STOP_S
from penstock.scheduler.slurm import SUBMIT_TIMEOUT_S
from penstock.service.project import Project
from penstock.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ONDEMAND = DEPLOY / "ondemand"
SCRIPT, BEFORE = (ONDEMAND / "template" / name for name in ("script.sh.erb", "before.sh.erb"))
TAG = re.compile(r"<%-?=?(.*?)-?%>", re.DOTALL)


# --- the daemon


@pytest.mark.parametrize(
    "name, kind", [("penstock.service", "systemd"), ("crontab", "cron"), ("scrontab", "scrontab")]
)
def test_file_for_the_daemon_is_what_install_writes(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/opt/slurm/bin:/usr/bin:/bin")
    for one in [one for one in os.environ if one.upper().startswith(("PENSTOCK_", "SLURM_CONF"))]:
        monkeypatch.delenv(one)
    monkeypatch.setattr(sys, "executable", "/opt/penstock/bin/python")
    root = Path("/project/digits")
    project = Project(Settings(root=root, home=root / ".penstock"), SystemClock())
    written = install.unit(project) if kind == "systemd" else install.block(project, kind)
    assert (DEPLOY / "daemon" / name).read_text() == written


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (DEPLOY / "daemon" / "penstock.service").read_text()
    unit = tmp_path / "penstock.service"
    unit.write_text(text.replace("/opt/penstock/bin/python", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not [line for line in done.stderr.splitlines() if "penstock.service" in line]
    broken = tmp_path / "broken.service"
    broken.write_text(text.replace("ExecStart=", "ExecStat="))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(broken)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "broken.service" in done.stderr, "the check would not find a mistake"


# --- the image


def definition() -> tuple[dict[str, str], dict[str, str]]:
    """Return the header and the sections of the definition."""
    header: dict[str, str] = {}
    sections: dict[str, str] = {}
    name = ""
    for line in (DEPLOY / "penstock.def").read_text().splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            assert name not in sections, name
            sections[name] = ""
        elif name:
            sections[name] += line + "\n"
        elif line.strip() and not line.startswith("#"):
            key, _, value = line.partition(":")
            header[key] = value.strip()
    return header, sections


def test_definition_has_sections_that_apptainer_knows() -> None:
    header, sections = definition()
    assert header == {"Bootstrap": "{{ bootstrap }}", "From": "{{ from }}"}
    known = {
        "arguments", "files", "post", "environment", "runscript", "test", "labels", "help",
    }  # fmt: skip
    assert set(sections) == known


def test_definition_uses_arguments_that_have_a_default() -> None:
    text = (DEPLOY / "penstock.def").read_text()
    _, sections = definition()
    given = dict(line.strip().split("=", 1) for line in sections["arguments"].split("\n") if line)
    assert set(re.findall(r"\{\{ (\w+) \}\}", text)) == set(given)
    assert (ROOT / given["requirements"]).is_file()


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_scripts_of_the_definition_are_a_shells(section: str) -> None:
    _, sections = definition()
    script = re.sub(r"\{\{ \w+ \}\}", "x", sections[section])
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


# --- Open OnDemand


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


def test_every_end_of_a_daemon_leaves_time_for_the_step_in_hand() -> None:
    """A kill in the middle of sbatch does no harm, but its array has to be looked up then."""
    unit = (DEPLOY / "daemon" / "penstock.service").read_text()
    (by_systemd,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    (by_slurm,) = re.findall(r"--signal=B:TERM@(\d+)", (ONDEMAND / "submit.yml.erb").read_text())
    assert SUBMIT_TIMEOUT_S < STOP_S < int(by_systemd)
    assert int(by_slurm) >= STOP_S


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


@pytest.mark.skipif(shutil.which("ruby") is None, reason="needs ruby, which renders such templates")
def test_app_rendered_by_ruby_runs_nothing_of_what_was_typed(tmp_path: Path) -> None:
    nasty = "/p/it's $(touch never) `touch never`: # <script>\\t\n; touch never"
    context = f"context = OpenStruct.new(project: {ruby(nasty)}, penstock: 'echo')"
    script = rendered(SCRIPT, context)
    lines = [line for line in script.splitlines() if "exec" not in line and "doctor" not in line]
    # As OOD's shell writes connection.yml.
    told = 'echo -e "host: n1\nproject: $project" > connection.yml'
    for program in ("\n".join(lines), f"{rendered(BEFORE, context)}\n{told}"):
        subprocess.run(
            ["bash", "-c", program],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
        )
    assert not (tmp_path / "never").exists()
    connection = YAML(typ="safe").load(tmp_path / "connection.yml")
    assert set(connection) == {"host", "project"}
    given = ", ".join(f"{name}: {ruby(value)}" for name, value in connection.items())
    page = rendered(ONDEMAND / "view.html.erb", f"given = OpenStruct.new({given})", "given")
    assert "<script>" not in page
    assert nasty in html.unescape(page)
    asked = YAML(typ="safe").load(
        rendered(ONDEMAND / "submit.yml.erb", "num_hours = '8'; account = \"x: [y\"")
    )
    assert asked["script"]["wall_time"] == 8 * 3600
    assert asked["script"]["accounting_id"] == "x: [y"


def ruby(text: str) -> str:
    """Return a text as one of Ruby's."""
    return f"[{text.encode().hex()!r}].pack('H*').force_encoding('UTF-8')"


def rendered(path: Path, values: str, within: str = "self") -> str:
    """Return a template as Ruby makes it, in the binding of an object."""
    program = (
        "require 'erb'; require 'ostruct'; require 'json'\n"
        f"{values}\nputs ERB.new(File.read(ARGV[0]), trim_mode: '-')"
        f".result({within}.instance_eval {{ binding }})"
    )
    done = subprocess.run(
        ["ruby", "-e", program, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout
