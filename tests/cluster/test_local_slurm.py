"""The local Slurm keeps its promises: other tests stand on it."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing.places import as_user

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["munge", "mariadb", "slurmdbd", "slurmctld", "n1", "n2", "n3", "n4"]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="only root may start a Slurm and act as its users"
    ),
]


def local_slurm(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ROOT / "deploy" / "local-slurm"), *args]
    full = {**os.environ, **env}
    return subprocess.run(argv, env=full, capture_output=True, text=True, timeout=110, check=False)


def pids(**env: str) -> dict[str, str]:
    return dict(line.split()[:2] for line in local_slurm("status", **env).stdout.splitlines())


def says(user: str, *argv: str) -> subprocess.CompletedProcess[str]:
    conf = local_slurm("env").stdout.strip().partition("=")[2]
    return subprocess.run(
        argv,
        env={"PATH": "/usr/bin:/bin", "SLURM_CONF": conf},
        cwd="/",
        **as_user(user),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may write to, as pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_status_is_green() -> None:
    done = local_slurm("status")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == PARTS


def test_a_job_of_an_ordinary_user_runs_as_that_user(shared: Path) -> None:
    answer = shared / "answer"
    command = f"--wrap=id -un > {answer}.part && mv {answer}.part {answer}"
    done = says("alice", "sbatch", "--mem=20", "-o/dev/null", command)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 60
    while not answer.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.read_text() == "alice\n"


def test_bobs_submit_limit_bites() -> None:
    argv = ["sbatch", "--mem=20", "-o/dev/null", "--array=0-20", "--wrap=true"]
    done = says("bob", *argv)
    assert done.returncode == 1
    assert "AssocMaxSubmitJobLimit" in done.stderr


@pytest.mark.parametrize(
    "option, words",
    [
        ("--partition=closed", "User's group not permitted to use this partition"),
        ("--account=closed", "Invalid account or account/partition combination specified"),
    ],
)
def test_what_is_not_for_alice_is_refused(option: str, words: str) -> None:
    done = says("alice", "sbatch", option, "-o/dev/null", "--wrap=true")
    assert done.returncode == 1
    assert words in done.stderr


def test_up_again_keeps_what_runs() -> None:
    before = pids()
    done = local_slurm("up")
    assert done.returncode == 0, done.stderr
    assert pids() == before


def test_a_user_is_told_that_root_is_needed() -> None:
    done = says("alice", str(ROOT / "deploy" / "local-slurm"), "up")
    if "Permission denied" in done.stderr:
        pytest.skip("the checkout is where alice may not look")
    assert done.returncode == 1
    assert "run it with sudo or as root" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_parts_are_stopped_mended_and_all_ended() -> None:
    with tempfile.TemporaryDirectory(prefix="local-slurm-") as name:
        Path(name).chmod(0o755)
        home = {"LOCAL_SLURM_HOME": f"{name}/home"}
        up = local_slurm("up", "--port-base=17300", "--max-array-size=50", **home)
        try:
            assert up.returncode == 0, up.stderr
            first = pids(**home)
            assert local_slurm("stop", "n2", **home).returncode == 0
            os.kill(int(first["slurmctld"]), signal.SIGKILL)
            broken = local_slurm("status", **home)
            assert broken.returncode == 1
            down = {line.split()[0] for line in broken.stdout.splitlines() if " down" in line}
            assert down == {"n2", "slurmctld"}
            assert local_slurm("up", **home).returncode == 0
            mended = pids(**home)
            assert {part for part in PARTS if mended[part] != first[part]} == down
            assert "MaxArraySize=50\n" in Path(home["LOCAL_SLURM_HOME"], "slurm.conf").read_text()
        finally:
            ended = [local_slurm("down", **home) for _ in range(2)]
        assert [done.returncode for done in ended] == [0, 0]
        assert set(pids(**home).values()) == {"-"}
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if name in cmdline(path)]
        assert left == []


def cmdline(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
