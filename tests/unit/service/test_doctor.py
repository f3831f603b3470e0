"""What the doctor finds of a project that is well, and of one that is not."""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.runner import probe as program
from penstock.service import doctor, init, probe
from penstock.service.doctor import Finding, Level
from penstock.service.probe import Locks, Report
from penstock.service.project import Project
from penstock.settings.files import origins
from penstock.testing import programs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on the local scheduler."""
    monkeypatch.setenv("PENSTOCK_SCHEDULER", "local")
    return Project(init.init(tmp_path / "project").settings, SystemClock())


def found(project: Project) -> dict[str, Finding]:
    """Return what is found; of several findings of one thing the worst."""
    worst = [Level.OK, Level.WARN, Level.FAIL]
    findings = sorted(doctor.examine(project), key=lambda one: worst.index(one.level))
    return {one.what: one for one in findings}


def test_all_is_well_in_a_new_project(project: Project) -> None:
    seen = found(project)
    assert {one.level for one in seen.values()} == {Level.OK}, seen
    assert seen["scheduler"].said == "local: `scheduler` is set to local"
    assert seen["setting"].said == "scheduler = local, from $PENSTOCK_SCHEDULER"
    assert "SQLite" in seen["store"].said
    assert "journal delete" in seen["store"].said
    assert not list(project.settings.home.glob(".doctor*")), "nothing is left behind"


def test_store_that_is_no_store_keeps_back_no_other_check(project: Project) -> None:
    (project.settings.home / "penstock.db").write_bytes(b"x" * 4096)
    seen = found(project)
    assert seen["store"].level is Level.FAIL
    assert seen["store"].advice
    assert seen["locks"].level is seen["scheduler"].level is Level.OK


def test_home_that_is_gone_is_told(project: Project) -> None:
    away = replace(project, settings=replace(project.settings, home=Path("/proc/x")))
    seen = found(away)
    assert seen["home"].level is seen["locks"].level is seen["clock"].level is Level.FAIL


def test_locks_that_do_not_work_between_hosts_are_a_failure(project: Project) -> None:
    known = {"hosts": {"node7": {"proven": False, "at": "2026-11-26T08:00:00+00:00"}}}
    (project.settings.home / "locks.json").write_text(json.dumps(known))
    seen = found(project)["locks"]
    assert (seen.level, "seen from node7" in seen.said) == (Level.FAIL, True)
    assert "PostgreSQL" in seen.advice


def test_scheduler_that_is_not_there_is_told_with_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = replace(project.settings, scheduler="slurm")
    seen = found(replace(project, settings=settings))
    assert seen["slurm"].level is Level.FAIL
    assert "no program named sbatch" in seen["slurm"].said
    assert "Slurm module" in seen["slurm"].advice


@pytest.fixture
def pyslurm(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm, and the file of a pyslurm of its version."""
    programs.install(tmp_path / "bin", tmp_path / "state")
    (tmp_path / "site" / "pyslurm-22.5.1.dist-info").mkdir(parents=True)
    about = "Metadata-Version: 2.1\nName: pyslurm\nVersion: 22.5.1\n"
    (tmp_path / "site" / "pyslurm-22.5.1.dist-info" / "METADATA").write_text(about)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "pyslurm", raising=False)
    return tmp_path / "site" / "pyslurm.py"


BROKEN = "raise ImportError('libslurmfull.so: not found')"


@pytest.mark.parametrize(
    "module, name, level, said",
    [
        ("__version__ = '22.5.1'", "auto", Level.OK, "pyslurm: sbatch is on PATH, and pyslurm is"),
        (BROKEN, "auto", Level.WARN,
         "slurm: pyslurm cannot be loaded: libslurmfull.so: not found; Slurm's commands are used"),
        (BROKEN, "pyslurm", Level.FAIL, "pyslurm: pyslurm cannot be loaded: libslurmfull.so"),
        ("raise SystemExit('fatal: no configuration')", "auto", Level.FAIL, "fatal: no config"),
    ],
)  # fmt: skip
def test_pyslurm_that_cannot_be_loaded_is_a_failure_only_where_it_is_needed(
    project: Project, pyslurm: Path, module: str, name: Any, level: Level, said: str
) -> None:
    pyslurm.write_text(module)
    asked = replace(project, settings=replace(project.settings, scheduler=name))
    findings = list(doctor._scheduler(doctor.Visit(asked)))
    assert findings[0].level is level
    assert said in findings[0].said
    assert ("build it anew" in findings[0].advice) is (level is not Level.OK)
    assert [one.said for one in findings[1:]] == ([] if level is not Level.OK else ["22.5.1"])


def test_pyslurm_that_is_done_without_lets_the_doctor_end_well(
    project: Project, pyslurm: Path
) -> None:
    pyslurm.write_text(BROKEN)
    seen = found(replace(project, settings=replace(project.settings, scheduler="auto")))
    assert Level.FAIL not in {one.level for one in seen.values()}, seen
    assert seen["slurm"].said.startswith("22.5.8 answers")


def test_room_that_is_little_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._room("home", tmp_path).level is Level.OK
    monkeypatch.setattr(doctor, "LITTLE_BYTES", 1 << 60)
    assert doctor._room("home", tmp_path).level is Level.WARN


@pytest.mark.parametrize("ahead_s, level", [(0, Level.OK), (-4, Level.OK), (60, Level.WARN)])
def test_clocks_that_differ_are_told(ahead_s: float, level: Level) -> None:
    assert doctor._clocks("x", ahead_s).level is level


def test_origins_name_the_file_or_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site.toml"
    site.write_text('scratch = "/scratch"\npoll_s = 30\n')
    (tmp_path / "penstock.toml").write_text("poll_s = 40\n")
    monkeypatch.setenv("PENSTOCK_SITE", str(site))
    monkeypatch.setenv("PENSTOCK_PYTHON", "python3.9")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    told = origins(tmp_path)
    assert told["scratch"] == str(site)
    assert told["poll_s"] == str(tmp_path / "penstock.toml")
    assert told["python"] == "$PENSTOCK_PYTHON"


# --- locks ---------------------------------------------------------------------------------------


def test_a_held_lock_is_refused_and_a_free_one_given(tmp_path: Path) -> None:
    assert probe.between_processes(tmp_path) == Locks("refused", "given")
    assert not list(tmp_path.iterdir())


def test_a_lock_that_nobody_holds_proves_nothing(tmp_path: Path) -> None:
    said = program.look(str(tmp_path))
    locks = Locks(str(said["held"]), str(said["free"]))
    assert not locks.work
    assert "given to another" in locks.why_not


@pytest.mark.parametrize(
    "held, free, work",
    [("refused", "given", True), ("given", "given", False), ("refused", "refused", False),
     ("No locks available", "No locks available", False)],
)  # fmt: skip
def test_locks_work_only_where_one_is_refused_and_the_other_given(
    held: str, free: str, work: bool
) -> None:
    assert Locks(held, free).work is work


def report(host: str, held: str = "refused") -> Report:
    return Report(host, host, 7, 0.0, "3.9.2", Locks(held, "given"), "")


def test_what_was_found_of_locks_is_kept_by_host(tmp_path: Path) -> None:
    assert probe.remembered(tmp_path) == {}
    probe.remember(tmp_path, report("node1"), "2026-11-26T08:00:00+00:00")
    probe.remember(tmp_path, report("node2", held="given"), "2026-11-26T09:00:00+00:00")
    assert json.loads((tmp_path / "locks.json").read_text()) == {
        "hosts": {
            "node1": {"proven": True, "at": "2026-11-26T08:00:00+00:00"},
            "node2": {"proven": False, "at": "2026-11-26T09:00:00+00:00"},
        }
    }
    probe.remember(tmp_path, report("node2"), "2026-11-26T10:00:00+00:00")
    assert probe.remembered(tmp_path)["node2"]["proven"] is True


@pytest.mark.parametrize("text", ["", "[]", "{", '{"hosts": 3}'])
def test_a_file_that_is_not_understood_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "locks.json").write_text(text)
    assert probe.remembered(tmp_path) == {}


def test_a_job_of_this_host_is_not_elsewhere() -> None:
    assert report("node1").is_elsewhere
    assert not report(socket.gethostname()).is_elsewhere
    assert os.uname().nodename == socket.gethostname(), "the probe asks for the first"
