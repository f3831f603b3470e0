"""A real Slurm for one test session alone: its parts may be stopped, killed and starved."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PORT_BASE = 17_600  # others: 17000 is the shared one, 17300 tests/cluster, 17400 benchmarks
# Quick to notice a lost node, to give up on a controller, and to forget a job.
USUAL = (
    "--defaults",
    f"--port-base={PORT_BASE}",
    "--slurmd-timeout=5",
    "--message-timeout=3",
    "--min-job-age=2",
)


@dataclass(frozen=True)
class OwnSlurm:
    """deploy/local-slurm in a folder and on ports of its own."""

    home: Path

    @property
    def conf(self) -> str:
        """Return what SLURM_CONF has to be."""
        return str(self.home / "slurm.conf")

    def __call__(self, *words: str) -> None:
        """Run ``deploy/local-slurm`` for it."""
        done = subprocess.run(
            [ROOT / "deploy" / "local-slurm", *words],
            env={**os.environ, "LOCAL_SLURM_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def heal(self) -> None:
        """Start what is missing, and cancel what is left of the jobs of an earlier test."""
        self("up", *USUAL)
        subprocess.run(
            ["scancel", "--quiet", "--full", "--user=alice"],
            env={**os.environ, "SLURM_CONF": self.conf},
            timeout=60,
            check=True,
        )

    def signal(self, part: str, number: signal.Signals) -> None:
        """Send a signal to a part."""
        pid = (self.home / "run" / f"{part}.pid").read_text().split()[0]
        os.kill(int(pid), number)

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """Do something while a part is stopped."""
        self("stop", part)
        try:
            yield
        finally:
            self("start", part)

    @contextmanager
    def frozen(self, part: str) -> Iterator[None]:
        """Do something while a part has its connections open and answers nothing."""
        self.signal(part, signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(part, signal.SIGCONT)


@contextmanager
def own_slurm() -> Iterator[OwnSlurm]:
    """Start one, for root; end it with all that it started."""
    with tempfile.TemporaryDirectory(prefix="penstock-own-slurm-") as name:
        Path(name).chmod(0o755)
        own = OwnSlurm(Path(name) / "slurm")
        try:
            own("up", *USUAL)
            yield own
        finally:
            own("down")
