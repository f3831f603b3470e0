"""One cluster of containers: up, asked, and down with all that it made."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

from deploy.test_cluster import image
from deploy.test_cluster.engine import (
    ROOT,
    ClusterError,
    Engine,
    NoEngine,
    engines,
    run,
    say,
    working,
)

COMPOSE_FILE = ROOT / "docker-compose.test.yml"
# Each machine, and the part that it is.
MACHINES = {
    "controller": "controller",
    "database": "database",
    "n1": "node",
    "n2": "node",
    "n3": "node",
    "login1": "login",
    "login2": "login",
    "postgres": "postgres",
    "laptop": "laptop",
}
# Where Penstock is installed, and where its tests are as well.
USERS = ("login1", "login2", "laptop")
TESTERS = ("login1",)
PATIENCE_S = 180.0
ROUTES = Path("/proc/net/route")


def free_network(name: str, routes: Path = ROUTES) -> str:
    """Return how the addresses of a cluster begin, of a network that this host does not know."""
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:  # no Linux: the engine has a machine of its own
        lines = []
    known = [_network(*line.split()[1:8:6]) for line in lines]
    first = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    # An institute's own network often has all that begins with 10.
    for where in (f"10.{213 + first // 256 % 16}", "192.168", "172.31"):
        for number in range(first, first + 256):
            begin = f"{where}.{number % 256}"
            mine = ip_network(f"{begin}.0/24")
            if not any(mine.overlaps(other) for other in known if other.prefixlen):
                return begin
    raise ClusterError("no network is free for the cluster: see `ip route`")


def _network(address: str, mask: str) -> IPv4Network:
    """Return a network as /proc/net/route writes it: in hexadecimal, the last number first."""
    numbers = (IPv4Address(bytes.fromhex(word)[::-1]) for word in (address, mask))
    return IPv4Network("/".join(map(str, numbers)))


@dataclass(frozen=True)
class Cluster:
    """The test cluster of this checkout, with the Slurm of one release of Debian."""

    debian: str = "trixie"

    @property
    def project(self) -> str:
        """Return its name, which no other checkout's has: all that it makes begins with it."""
        checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
        return f"penstock-test-{checkout}-{self.debian}"

    @cached_property
    def engine(self) -> Engine:
        """Return what runs containers here: the first that starts one, and as it does."""
        why = []
        for engine in engines():
            try:
                image.bring_base(engine, self.debian)
                return working(engine, image.base(self.debian))
            except NoEngine as error:
                why.append(str(error))
        raise NoEngine("; ".join(why))

    def container(self, machine: str) -> str:
        return f"{self.project}-{machine}"

    def compose(self, *words: str) -> None:
        """Run the engine's Compose on this cluster."""
        names = {
            "PENSTOCK_CLUSTER": self.project,
            "PENSTOCK_CLUSTER_DEBIAN": self.debian,
            "PENSTOCK_CLUSTER_IMAGE": image.name(self.debian),
            "PENSTOCK_CLUSTER_NETWORK": free_network(self.project),
        }
        argv = [*self.engine.compose, "-p", self.project, "-f", str(COMPOSE_FILE), *words]
        done = run(*argv, env={**self.engine.env, **names}, timeout_s=300)
        if done.returncode != 0:
            raise ClusterError(f"`{' '.join(argv)}`: {(done.stdout + done.stderr)[-3000:]}")

    def argv(
        self, machine: str, *words: str, user: str = "root", env: Sequence[str] = ()
    ) -> list[str]:
        """Return the command line that runs something on a machine, for who has the engine."""
        variables = [f"--env={one}" for one in env]
        where = self.container(machine)
        return [self.engine.name, "exec", "-i", f"--user={user}", *variables, where, *words]

    def run(
        self,
        machine: str,
        *words: str,
        user: str = "root",
        timeout_s: float = 60,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a machine."""
        argv = self.argv(machine, *words, user=user)
        return run(*argv, env=self.engine.env, timeout_s=timeout_s, stdin=stdin)

    def must(self, machine: str, *words: str, stdin: bytes = b"", timeout_s: float = 120) -> str:
        """Run a command on a machine as root, which has to succeed; return what it printed."""
        done = self.run(machine, *words, stdin=stdin, timeout_s=timeout_s)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise ClusterError(f"{machine}: `{' '.join(words)}` ({done.returncode}): {said}")
        return done.stdout

    # --- up and down

    def up(self) -> None:
        """Make the image if need be, start all machines, and wait until all are healthy."""
        began = time.monotonic()
        engine = self.engine
        image.make(engine, self.debian)
        self.down()
        self.compose("up", "-d", "--no-build")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.bring_penstock, USERS))
        self.wait()
        # An image and three installations are some gigabytes: Slurm, which writes its state safely
        # at each step, would wait for the disk and give up launches.
        os.sync()
        say(f"{self.project} is up, after {time.monotonic() - began:.0f} s")

    def bring_penstock(self, machine: str) -> None:
        """Install the wheel of this checkout, as a user would, and bring the tests."""
        with tempfile.TemporaryDirectory() as folder:
            build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
            subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
            (wheel,) = Path(folder).glob("*.whl")
            self.must(machine, "tee", f"/tmp/{wheel.name}", stdin=wheel.read_bytes())
        pip = ("/opt/tests/bin/uv", "--quiet", "pip", "install")
        venv = ("/opt/tests/bin/uv", "--quiet", "venv", "--python=/usr/bin/python3")
        self.must(machine, *venv, "/opt/penstock")
        # Its own metadata say what it needs; of each package the image has only the locked version.
        what = f"penstock[ssh,postgres] @ file:///tmp/{wheel.name}"
        self.must(machine, *pip, "--python=/opt/penstock/bin/python", what)
        if machine in TESTERS:
            into = "--python=/opt/tests/bin/python"
            self.must(machine, *pip, into, "--no-deps", f"/tmp/{wheel.name}")
            files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            listed = subprocess.run(files, cwd=ROOT, check=True, capture_output=True).stdout
            tar = ["tar", "-c", "--null", "--ignore-failed-read", "--files-from=-"]
            packed = subprocess.run(tar, cwd=ROOT, input=listed, check=True, capture_output=True)
            # Where nodes see it too: a job begins in the folder that it was sent from.
            self.must(machine, "mkdir", "-p", "/shared/checkout")
            unpack = ("tar", "-x", "--no-same-owner", "-C", "/shared/checkout")
            self.must(machine, *unpack, stdin=packed.stdout)

    def wait(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until all machines are healthy."""
        deadline = time.monotonic() + patience_s
        while sick := self.unhealthy():
            if time.monotonic() > deadline:
                tails = "\n".join(f"{name}: {self.tail(name)}" for name in sick)
                raise ClusterError(
                    f"after {patience_s:.0f} s not healthy: {', '.join(sick)}\n{tails}"
                )
            time.sleep(0.5)

    def unhealthy(self) -> list[str]:
        """Return the machines that do not do what they are there for."""

        def is_healthy(machine: str) -> bool:
            argv = ("/opt/cluster/healthy", MACHINES[machine])
            return self.run(machine, *argv, timeout_s=20).returncode == 0

        with ThreadPoolExecutor(4) as pool:
            healthy = dict(zip(MACHINES, pool.map(is_healthy, MACHINES), strict=True))
        return [machine for machine, is_well in healthy.items() if not is_well]

    def tail(self, machine: str) -> str:
        done = self.engine("logs", "--tail=15", self.container(machine))
        return (done.stdout + done.stderr).strip()

    def left(self) -> list[list[str]]:
        """Return the commands that remove what there is of this cluster."""
        engine, mine = self.engine, f"{self.project}"
        listed = {
            ("rm", "--force", "--volumes"): engine.must("ps", "-a", "--format", "{{.Names}}"),
            ("volume", "rm", "--force"): engine.must("volume", "ls", "--format", "{{.Name}}"),
            ("network", "rm"): engine.must("network", "ls", "--format", "{{.Name}}"),
        }
        return [
            [*verb, *names]
            for verb, text in listed.items()
            if (
                names := [
                    name for name in text.split() if name.startswith((f"{mine}-", f"{mine}_"))
                ]
            )
        ]

    def down(self) -> None:
        """Remove its containers, volumes and network, in whatever state they are."""
        for words in self.left():
            if words[0] == "rm":  # a paused one cannot be ended
                for container in words[3:]:
                    self.engine("unpause", container)
            self.engine.must(*words, timeout_s=120)
        if left := self.left():
            raise ClusterError(f"still there: {left}")
