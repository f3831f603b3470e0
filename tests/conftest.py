"""What all tests share: without a real Slurm its tests are left out, and that is said loudly."""

import os
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from tests.own_slurm import OwnSlurm, own_slurm

# A busy machine is no failure: examples have no deadline, pytest's own time-out ends what hangs.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

# Where a shell's `&` started this, SIGINT is ignored, and whoever ignores it hands that on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
NO_CLUSTER = "needs the test cluster of containers (make test-cluster)"
NO_SLURM = "needs a real Slurm (deploy/local-slurm up)"


@cache
def is_slurm_here() -> bool:
    """Say whether the tests may use a Slurm, and if it is the local one, point them to it.

    One on PATH is not enough: nobody's cluster is tested on unless its user says so.
    """
    if os.environ.get("PENSTOCK_TEST_SLURM"):
        return True
    if local_slurm("status") is None:
        return False
    for line in (local_slurm("env") or "").splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = shlex.split(value)[0]
    return True


def local_slurm(verb: str) -> str | None:
    """Return what the command prints, or None where it fails."""
    argv = [str(ROOT / "deploy" / "local-slurm"), verb]
    try:
        return subprocess.run(argv, capture_output=True, timeout=30, check=True, text=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


@pytest.hookimpl(trylast=True)  # after -m: what nobody asked for is not left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("cluster") and not os.environ.get("PENSTOCK_TEST_CLUSTER"):
            item.add_marker(pytest.mark.skip(reason=NO_CLUSTER))
    on_slurm = [item for item in items if item.get_closest_marker("slurm")]
    if on_slurm and not is_slurm_here():
        for item in on_slurm:
            item.add_marker(pytest.mark.skip(reason=NO_SLURM))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = Counter(
        (reason_of(report), str(Path(report.nodeid.split("::")[0]).parent))
        for report in terminalreporter.stats.get("skipped", [])
    )
    if not left_out:
        return
    terminalreporter.section("LEFT OUT", sep="=", yellow=True, bold=True)
    for (reason, folder), count in sorted(left_out.items()):
        terminalreporter.line(f"{count:5} of {folder}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def parts() -> Iterator[OwnSlurm]:
    """A Slurm of these tests alone, whose parts they may stop."""
    if os.geteuid() != 0:
        pytest.skip("only root may start a Slurm")
    with own_slurm() as own:
        yield own


def reason_of(report: pytest.TestReport) -> str:
    where_and_why = report.longrepr
    reason = where_and_why[2] if isinstance(where_and_why, tuple) else where_and_why
    return str(reason).removeprefix("Skipped: ")
