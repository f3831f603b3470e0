"""tests/run-cluster as it is, with a deploy/test-cluster and a python that do as a test says."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.program import calls, make_program

ROOT = Path(__file__).resolve().parents[3]
WELL = {
    "exec *": "exit 0",
    "install": "exit 0",
    "image *": "exit 0",
    "up *": "exit 0",
    "down *": "exit 0",
}
MACHINES = "-m pytest -m cluster *"
Checkout = Callable[..., Path]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Return what makes a checkout of this script alone, where all is well but what is said."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(
        cluster: Mapping[str, str] | None = None,
        python: str = "exit 0",
        user: int = 1000,
        has_apt: bool = True,
    ) -> Path:
        for folder in ("bin", "deploy", "tests"):
            (tmp_path / folder).mkdir()
        for name in ("bash", "env", "dirname", "mktemp", "rm", "cat", "sleep"):
            (tmp_path / "bin" / name).symlink_to(str(shutil.which(name, path="/usr/bin:/bin")))
        shutil.copy(ROOT / "tests" / "run-cluster", tmp_path / "tests")
        said = dict(cluster or {})  # first, as the first that fits counts
        make_program(tmp_path / "deploy", "test-cluster", said | {**WELL, **said})
        make_program(tmp_path / "bin", "python", {MACHINES: python})
        make_program(tmp_path / "bin", "id", {"-u": f"echo {user}"})
        if has_apt:
            make_program(tmp_path / "bin", "apt-get", {})
        return tmp_path

    return make


@contextmanager
def started(root: Path, *words: str) -> "Iterator[subprocess.Popen[str]]":
    """Start it in a process group of its own, of which nothing is left in the end."""
    with subprocess.Popen(
        [root / "tests" / "run-cluster", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def run(root: Path, *words: str) -> tuple[int, list[str]]:
    """Return how it ends, and its last lines: what each part came to."""
    with started(root, *words) as process:
        out, _ = process.communicate(timeout=60)
    assert "not expected" not in out, out
    lines = out.partition("== in all\n")[2].splitlines()
    return process.returncode, [line.partition(" (0 s)")[0] for line in lines]


def said(root: Path) -> list[str]:
    return calls(root / "deploy" / "test-cluster")


def ends(root: Path) -> list[str]:
    """Return what was brought up and down, in order; the two clusters are beside one another."""
    return [one for one in said(root) if one.split()[0] in ("up", "down")]


TRIXIE, BOOKWORM = (f"--debian {name}" for name in ("trixie", "bookworm"))
SUITES = [
    "passed    on a login node (Slurm of trixie)",
    "passed    of several machines (Slurm of trixie)",
    "passed    of several machines (Slurm of bookworm)",
    "passed    on a login node (Slurm of bookworm)",
]


def test_all_suites_run_on_both_clusters_which_are_taken_down(checkout: Checkout) -> None:
    root = checkout()
    code, lines = run(root, "-k", "laptop")
    assert (code, lines[:-1]) == (0, SUITES)
    assert lines[-1].startswith("took      ")
    assert sorted(ends(root)) == sorted(
        f"{verb} {debian}" for verb in ("up", "down") for debian in (TRIXIE, BOOKWORM)
    )
    images = [said(root).index(f"image {debian}") for debian in (TRIXIE, BOOKWORM)]
    assert max(images) < said(root).index(f"up {TRIXIE}"), "images are made before all is timed"
    assert all(line.endswith("tests/cluster -k laptop") for line in calls(root / "bin" / "python"))
    login = [line for line in said(root) if line.startswith("exec ")]
    assert all("PENSTOCK_TEST_SLURM=1" in line for line in login)
    assert ["test_slurm_programs.py" in line for line in sorted(login)] == [True, False]


# --- nothing runs containers


@pytest.mark.parametrize(
    "user, has_apt, code", [(0, True, 1), (1000, True, 0), (0, False, 0)], ids=str
)
@pytest.mark.parametrize("verb", ["install", "up *"])
def test_without_an_engine_it_is_left_out(
    checkout: Checkout, verb: str, user: int, has_apt: bool, code: int
) -> None:
    """That is a failure only where it could have been installed."""
    root = checkout({verb: "exit 3"}, user=user, has_apt=has_apt)
    ended, lines = run(root)
    assert ended == code
    assert lines[0].startswith("LEFT OUT  the cluster")
    assert lines[0].endswith("that is a failure") == (code == 1)
    assert not [line for line in lines if line.startswith(("passed", "FAILED"))]
    assert calls(root / "bin" / "python") == []
    assert ends(root) == ([] if verb == "install" else [f"up {TRIXIE}", f"down {TRIXIE}"])


# --- something fails


@pytest.mark.parametrize("debian", [TRIXIE, BOOKWORM])
def test_image_that_cannot_be_made_is_a_failure(checkout: Checkout, debian: str) -> None:
    root = checkout({f"image {debian}": "exit 1"})
    code, lines = run(root)
    assert (code, lines) == (1, [f"FAILED    making the image of {debian.split()[1]}"])
    assert ends(root) == []


def test_cluster_that_does_not_come_up_is_taken_down(checkout: Checkout) -> None:
    """Some of its machines may be there."""
    root = checkout({f"up {TRIXIE}": "exit 1"})
    code, lines = run(root)
    assert (code, lines[:-1]) == (1, ["FAILED    bringing up the cluster of trixie"])
    assert ends(root) == [f"up {TRIXIE}", f"down {TRIXIE}"]


def test_older_cluster_that_does_not_come_up_stops_only_itself(checkout: Checkout) -> None:
    root = checkout({f"up {BOOKWORM}": "exit 1"})
    code, lines = run(root)
    assert code == 1
    assert lines[:-1] == [*SUITES[:2], "FAILED    bringing up the cluster of bookworm"]
    assert [one for one in ends(root) if BOOKWORM in one] == [f"up {BOOKWORM}", f"down {BOOKWORM}"]


@pytest.mark.parametrize("debian", ["trixie", "bookworm"])
@pytest.mark.parametrize("status, word", [(1, "FAILED   "), (5, "empty    "), (124, "FAILED   ")])
def test_suite_is_judged_by_how_it_ends(
    checkout: Checkout, debian: str, status: int, word: str
) -> None:
    """The other suites run all the same."""
    root = checkout(python=f'[ "$PENSTOCK_TEST_CLUSTER" != {debian} ] || exit {status}')
    code, lines = run(root)
    failed = f"of several machines (Slurm of {debian})"
    assert code == (0 if word.startswith("empty") else 1)
    assert next(line for line in lines if failed in line).startswith(word)
    assert len([line for line in lines if line in SUITES]) == len(SUITES) - 1


def test_suite_on_a_login_node_that_fails_is_a_failure(checkout: Checkout) -> None:
    root = checkout({f"exec {BOOKWORM} *": "exit 2"})
    code, lines = run(root)
    assert (code, lines[3]) == (1, "FAILED    on a login node (Slurm of bookworm)")


@pytest.mark.parametrize("debian", [TRIXIE, BOOKWORM])
def test_cluster_that_is_not_taken_down_is_a_failure(checkout: Checkout, debian: str) -> None:
    """What is left would be in the way of the next one."""
    root = checkout({f"down {debian}": "exit 1"})
    code, lines = run(root)
    assert (code, lines[:-1]) == (1, SUITES)


# --- it is told to end


WAITS = "case $PENSTOCK_TEST_CLUSTER in bookworm) echo began >>began; exec sleep 55;; esac"


@pytest.mark.parametrize("how, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_takes_both_clusters_down(
    checkout: Checkout, how: signal.Signals, code: int
) -> None:
    """A terminal tells all in its foreground: that is all but the older cluster's suites."""
    root = checkout({f"exec {TRIXIE} *": "echo began >>began; exec sleep 55"}, python=WAITS)
    with started(root) as process:
        until_written(root / "began", "began\n" * 2)
        began = time.monotonic()
        os.killpg(process.pid, how)
        process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - began < 20
    for debian in (TRIXIE, BOOKWORM):
        assert [one for one in ends(root) if debian in one] == [f"up {debian}", f"down {debian}"]


def test_ctrl_c_while_a_cluster_comes_up_takes_it_down(checkout: Checkout) -> None:
    root = checkout({f"up {TRIXIE}": "echo began >>began; exec sleep 55"})
    with started(root) as process:
        until_written(root / "began", "began\n")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert ends(root) == [f"up {TRIXIE}", f"down {TRIXIE}"]
    assert calls(root / "bin" / "python") == []


def test_another_ctrl_c_does_not_stop_the_taking_down(checkout: Checkout) -> None:
    takes = "echo down >>began; sleep 1; echo gone >>ended"
    root = checkout({"up *": "echo up >>began; exec sleep 55", "down *": takes})
    with started(root) as process:
        for begun in ("up\n", "up\ndown\n"):
            until_written(root / "began", begun)
            os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert (root / "ended").read_text() == "gone\n"


def until_written(path: Path, text: str) -> None:
    end = time.monotonic() + 30
    while not (path.exists() and path.read_text() == text):
        assert time.monotonic() < end
        time.sleep(0.05)
