"""A real Slurm for one test session alone: its parts may be stopped, killed and starved."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Others have 17000 (the shared one), 17300 (tests/cluster) and 17400 (benchmarks).
PORT_BASES = range(17_600, 18_600, 10)
PORTS = 6
# Quick to notice a lost node, to give up on a controller, and to forget a job.
USUAL = (
    "--defaults",
    "--slurmd-timeout=5",
    "--message-timeout=3",
    "--min-job-age=2",
)


@dataclass(frozen=True)
class OwnSlurm:
    """deploy/local-slurm in a folder and on ports of its own."""

    home: Path
    port_base: int

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
        self("up", *USUAL, f"--port-base={self.port_base}")
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


def free_ports() -> int:
    """Return the first of some ports in a row that nobody listens at; other sessions try others."""
    first = os.getpid() % len(PORT_BASES)
    bases: list[int] = [*PORT_BASES[first:], *PORT_BASES[:first]]
    for base in bases:
        if not any(is_taken(base + offset) for offset in range(PORTS)):
            return base
    raise AssertionError(f"no {PORTS} free ports in a row in {PORT_BASES}")


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def own_slurm() -> Iterator[OwnSlurm]:
    """Have one, for root, which ``heal`` starts; end it with all that it started."""
    with tempfile.TemporaryDirectory(prefix="penstock-own-slurm-") as name:
        Path(name).chmod(0o755)
        own = OwnSlurm(Path(name) / "slurm", free_ports())
        try:
            yield own
        finally:
            own("down")
