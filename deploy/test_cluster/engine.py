"""What runs containers here: Docker with its Compose, or Podman with podman-compose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Podman has systemd run health checks; where there is none they are run only when asked for.
WITHOUT_SYSTEMD = {} if Path("/run/systemd/private").exists() else {"DISABLE_HC_SYSTEMD": "true"}
CONTAINERS_CONF = ROOT / "deploy" / "cluster" / "containers.conf"
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "debootstrap")


class ClusterError(Exception):
    """What went wrong and what to do about it."""


class NoEngine(ClusterError):
    """Nothing here can run these containers."""


def say(text: str) -> None:
    print(f"test-cluster: {text}", file=sys.stderr, flush=True)


def run(
    *argv: str | Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; nothing is raised but where it takes too long."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            env={**os.environ, **(env or {})},
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"no answer in {timeout_s:.0f} s")
    out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(words, done.returncode, out, err)


@dataclass(frozen=True)
class Engine:
    """A program that runs containers, and the one that reads Compose files for it."""

    name: str
    compose: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, *words: str | Path, timeout_s: float = 60, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its commands."""
        return run(self.name, *words, env=self.env, timeout_s=timeout_s, stdin=stdin)

    def must(self, *words: str | Path, timeout_s: float = 60, stdin: bytes = b"") -> str:
        """Run one of its commands, which has to succeed; return what it printed."""
        done = self(*words, timeout_s=timeout_s, stdin=stdin)
        if done.returncode != 0:
            raise ClusterError(
                f"`{self.name} {' '.join(map(str, words))}`: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout

    def show(self, *words: str | Path, argv: Sequence[str] = ()) -> None:
        """Run a command whose output is for people to see; it has to succeed."""
        whole = [*(argv or [self.name]), *map(str, words)]
        # Our stdout is for what a command was asked: what engines tell on the way goes to stderr.
        done = subprocess.run(
            whole, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=2, check=False
        )
        if done.returncode != 0:
            raise ClusterError(f"`{' '.join(whole)}` failed ({done.returncode}), see above")


def is_installable() -> bool:
    """Say whether the packages may be installed: on Debian or Ubuntu, as root."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def engines() -> Iterator[Engine]:
    """Go through the engines that answer; where there is none, say what is missing."""
    why = []
    is_any = False
    if shutil.which("docker"):
        docker = Engine("docker", ("docker", "compose"))
        if docker("info").returncode == 0 and docker("compose", "version").returncode == 0:
            is_any = True
            yield docker
        else:
            why.append("docker is here, but its engine does not answer or has no `docker compose`")
    compose = podman_compose()
    if shutil.which("podman"):
        podman = Engine("podman", (str(compose),), WITHOUT_SYSTEMD)
        if podman("info").returncode == 0 and compose:
            is_any = True
            yield podman
        else:
            why.append(
                "podman is here, but `podman info` fails" if compose else "no podman-compose"
            )
    if not is_any:
        raise NoEngine("; ".join(why) or "neither docker nor podman is here")


def podman_compose() -> str | None:
    """Return where podman-compose is: that of .venv first."""
    own = ROOT / ".venv" / "bin" / "podman-compose"
    return str(own) if own.exists() else shutil.which("podman-compose")


def working(engine: Engine, image: str) -> Engine:
    """Return the engine as it starts a container of an image, or say why none starts.

    A privileged one, as nodes are: an engine may ask for more than it was itself given.
    """
    candidates = [engine]
    if engine.name == "podman" and shutil.which("runc"):
        conf = {**engine.env, "CONTAINERS_CONF": str(CONTAINERS_CONF)}
        candidates.append(Engine(engine.name, engine.compose, conf))
    said = ""
    for candidate in candidates:
        done = candidate("run", "--rm", "--privileged", "--network=none", image, "true")
        if done.returncode == 0:
            return candidate
        said = done.stderr.strip()
    raise NoEngine(f"{engine.name} starts no container here: {said}")


def install() -> None:
    """Install Podman from Debian's or Ubuntu's packages, unless an engine answers."""
    try:
        engine = next(engines())
    except NoEngine:
        pass
    else:
        if (
            engine.name == "docker"
            or not is_installable()
            or all(map(shutil.which, ("runc", "iptables", "debootstrap")))
        ):
            say(f"{engine.name} is here")
            return
    if shutil.which("apt-get") is None:
        raise NoEngine(f"only Debian and Ubuntu are known here; install: {' '.join(PACKAGES)}")
    if os.geteuid() != 0:
        raise NoEngine("installing needs root: run it with sudo or as root")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, env=env, stdout=2, check=False).returncode != 0:
        subprocess.run(["apt-get", "update"], stdout=2, check=True)
        subprocess.run(command, env=env, stdout=2, check=True)
