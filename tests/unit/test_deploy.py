"""What stands in deploy/ for sites: the same as the program writes, and whole."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.daemon import install
from penstock.daemon.process import STOP_S
from penstock.scheduler.slurm import SUBMIT_TIMEOUT_S
from penstock.service.project import Project
from penstock.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


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


def test_every_end_of_a_daemon_leaves_time_for_the_step_in_hand() -> None:
    """A kill in the middle of sbatch does no harm, but its array has to be looked up then."""
    unit = (DEPLOY / "daemon" / "penstock.service").read_text()
    (by_systemd,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    (by_slurm,) = re.findall(
        r"--signal=B:TERM@(\d+)", (DEPLOY / "ondemand" / "submit.yml.erb").read_text()
    )
    assert SUBMIT_TIMEOUT_S < STOP_S < int(by_systemd)
    assert int(by_slurm) >= STOP_S


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
