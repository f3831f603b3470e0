"""The real sbatch reads our scripts as we mean them, and the real job gets what we mean."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.model.spec import Request
from penstock.scheduler import script
from penstock.scheduler.protocol import Submission
from penstock.testing.places import as_user

pytestmark = pytest.mark.slurm

USER = "alice"
FOLDER = 'o\'neil $(touch x) `id` #1 %j "q" é; hetjob & packjob'
RUNNER = """\
import os, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("folder", sys.argv[1])
print("ignored", *(n for n in range(1, 32) if int(status["SigIgn"], 16) >> (n - 1) & 1))
print("index", os.environ["SLURM_ARRAY_TASK_ID"], "of", os.environ["SLURM_ARRAY_TASK_COUNT"])
print("name", os.environ["SLURM_JOB_NAME"])
print("cpus", os.environ["SLURM_CPUS_PER_TASK"])
print("marker", os.environ.get("MARKER"), "home", os.environ["HOME"])
"""


def says(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm as an ordinary user, with a small environment as Penstock does."""
    whole = {"PATH": os.environ["PATH"], "HOME": f"/home/{USER}", "USER": USER, **env}
    if "SLURM_CONF" in os.environ:
        whole["SLURM_CONF"] = os.environ["SLURM_CONF"]
    return subprocess.run(
        argv,
        env=whole,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **(as_user(USER) if os.geteuid() == 0 else {}),
    )


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="penstock-script-"))
    if os.geteuid() == 0:
        shutil.chown(path, USER, USER)
    yield path
    shutil.rmtree(path)


def write(home: Path, **changes: Any) -> Path:
    folder = home / FOLDER
    folder.mkdir(exist_ok=True)
    (home / "runner it's.py").write_text(RUNNER)
    values: dict[str, Any] = {
        "token": "ps-test-script",
        "label": "hetjob.packjob",
        "size": 3,
        "throttle": 2,
        "request": Request(mem_mb=10, time_s=60),
        "folder": str(folder),
        "log": str(folder / "slurm.log"),
    }
    text = script.render(
        Submission(**{**values, **changes}),
        python="python3",
        runner=str(home / "runner it's.py"),
        templates=[],
    )
    path = folder / "script.sh"
    path.write_text(text)
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    return path


ACCEPTED = [
    Request(),
    Request(2, 0, 50, 61, "batch"),
    Request(partition="batch,urgent", mem_mb=10),
    Request(gpus=1, mem_mb=10),
    Request(options=("--constraint=plain", "--comment=a b #c 'd' \"e\" \\f hetjob", "--nice=5")),
    Request(options=("--signal=B:USR1@60", "--mail-type=NONE", "--exclusive")),
]


@pytest.mark.parametrize("request_", ACCEPTED, ids=str)
def test_script_is_accepted(home: Path, request_: Request) -> None:
    done = says("sbatch", "--test-only", str(write(home, request=request_)))
    assert done.returncode == 0, done.stderr


def test_option_does_not_become_two(home: Path) -> None:
    """Its value has what would be another option, were it not quoted: a partition that is not."""
    request = Request(options=("--comment=x --partition=nowhere",))
    done = says("sbatch", "--test-only", str(write(home, request=request)))
    assert done.returncode == 0, done.stderr


def test_job_is_as_the_script_says(home: Path) -> None:
    request = Request(2, mem_mb=10, time_s=60, options=("--comment=a b #c 'd' \"e\" \\f hetjob",))
    path = write(home, request=request)
    done = says("sbatch", "--parsable", "--hold", str(path))
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip().partition(";")[0]
    try:
        shown = says("scontrol", "show", "job", job).stdout
    finally:
        says("scancel", job)
    for piece in (
        "JobName=ps-test-script.hetjob.packjob",
        "ArrayTaskThrottle=2",
        "ArrayTaskId=0-2",
        "Requeue=1",
        "CPUs/Task=2",
        "TimeLimit=00:01:00",
        "Comment=a b #c 'd' \"e\" \\f hetjob",
    ):
        assert piece in shown
    assert "HetJob" not in shown


def test_job_runs_the_runner_with_its_words_and_its_signals_ignored(home: Path) -> None:
    path = write(home)
    done = says("sbatch", "--wait", str(path), MARKER="handed on")
    log = (path.parent / "slurm.log").read_text()
    assert done.returncode == 0, log
    lines = log.splitlines()
    assert lines.count(f"folder {path.parent}") == 3
    assert {f"index {index} of 3" for index in range(3)} <= set(lines)
    assert "name ps-test-script.hetjob.packjob" in lines
    assert f"marker handed on home /home/{USER}" in lines
    (ignored,) = {line for line in lines if line.startswith("ignored")}
    # HUP, INT, QUIT, USR1, USR2 and TERM; Python itself ignores two more.
    assert {1, 2, 3, 10, 12, 15} <= {int(number) for number in ignored.split()[1:]}
    assert not Path("/x").exists()  # $(touch x) of the folder's name
    assert not (path.parent / "x").exists()
