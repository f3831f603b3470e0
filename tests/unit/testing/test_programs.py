"""The model behind programs on PATH."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.testing import programs
from penstock.testing.accept import install_accept

SCRIPT = """#!/bin/sh
#SBATCH --job-name=token.label
#SBATCH --array=0-3
#SBATCH --output={folder}/out.log
#SBATCH --open-mode=append
case "$SLURM_ARRAY_TASK_ID" in
  1) exit 3;;
  2) exec sleep 100;;
esac
echo "task $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_JOB_ID"
"""


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_BITSTR_LEN": "0"}

    def __call__(self, *argv: str, code: int = 0) -> str:
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, check=False, cwd=self.folder
        )
        assert done.returncode == code, done.stderr
        return done.stdout or done.stderr


def wait(is_true: Callable[[], bool], at_most_s: float = 20) -> None:
    end = time.monotonic() + at_most_s
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_scripts_run_and_end_by_themselves(shell: Shell, tmp_path: Path) -> None:
    programs.install(tmp_path / "bin", tmp_path / "state", execute=True)
    script = tmp_path / "script.sh"
    script.write_text(SCRIPT.format(folder=tmp_path))
    job = shell("sbatch", "--parsable", str(script)).strip()

    def states() -> dict[str, str]:
        lines = shell("sacct", "-nPX", "-j", job, "-o", "JobID,State,ExitCode").splitlines()
        return dict(line.split("|", 1) for line in lines)

    wait(lambda: len(states()) == 4 and "PENDING|0:0" not in states().values())
    wait(lambda: list(states().values()).count("RUNNING|0:0") == 1)
    shell("scancel", f"{job}_2")
    wait(lambda: "RUNNING|0:0" not in states().values())
    ends = states()
    assert ends[f"{job}_0"] == ends[f"{job}_3"] == "COMPLETED|0:0"
    assert ends[f"{job}_1"] == "FAILED|3:0"
    assert ends[f"{job}_2"] == f"CANCELLED by {os.getuid()}|0:0"
    text = (tmp_path / "out.log").read_text()
    assert sorted(text.splitlines()) == [f"task 0 of {job}", f"task 3 of {job}"]


def test_requeued_script_knows_its_restart(shell: Shell, tmp_path: Path) -> None:
    programs.install(tmp_path / "bin", tmp_path / "state", execute=True)
    script = tmp_path / "script.sh"
    script.write_text(
        f'#!/bin/sh\necho "${{SLURM_RESTART_COUNT:-0}}" >> {tmp_path}/starts\n'
        '[ -n "$SLURM_RESTART_COUNT" ] || exec sleep 100\n'
    )
    job = shell("sbatch", "--parsable", "-o", "/dev/null", str(script)).strip()
    starts = tmp_path / "starts"
    wait(lambda: starts.exists() and starts.read_text() == "0\n")
    shell("scontrol", "requeue", job)
    wait(lambda: starts.read_text() == "0\n1\n")


def test_missing_folder_for_output_is_a_launch_failure(shell: Shell, tmp_path: Path) -> None:
    programs.install(tmp_path / "bin", tmp_path / "state", execute=True)
    job = shell("sbatch", "--parsable", "-o", "/nonexistent/x", "--wrap", "true").strip()
    query = ("sacct", "-nPX", "-j", job, "-o", "State,ExitCode")
    wait(lambda: shell(*query) == "FAILED|0:53\n")


def test_model_alone_runs_nothing(shell: Shell, tmp_path: Path) -> None:
    programs.install(tmp_path / "bin", tmp_path / "state")
    shell("sbatch", "--wrap", f"touch {tmp_path}/ran")
    wait(lambda: "COMPLETED" in shell("squeue", "-h", "-t", "all", "-o", "%T"))
    assert not (tmp_path / "ran").exists()


def test_accepting_programs_list_what_was_submitted(shell: Shell, tmp_path: Path) -> None:
    install_accept(tmp_path / "bin", tmp_path / "state")
    script = tmp_path / "script.sh"
    script.write_text(SCRIPT.format(folder=tmp_path))
    assert shell("sbatch", "--parsable", str(script)) == "1\n"
    assert shell("sbatch", str(script)) == "Submitted batch job 2\n"
    listed = shell("squeue", "--me", "--noheader", "--states=all", "--format=%i|%F|%T|%j")
    assert listed.splitlines() == [
        "1_[0-3]|1|PENDING|token.label",
        "2_[0-3]|2|PENDING|token.label",
    ]
    shell("scancel", "1", "2_3")
    listed = shell("squeue", "--me", "--noheader", "--format=%i|%T")
    assert listed.splitlines() == ["1_[0-3]|CANCELLED", "2_[0-3]|PENDING"]
    assert "MaxArraySize" in shell("scontrol", "show", "config")
    assert shell("sacct", "-P", "-o", "JobID,State") == "JobID|State\n"
