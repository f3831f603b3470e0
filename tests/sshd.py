"""A real sshd for tests: on a loopback port, with keys and a configuration of its own."""

import contextlib
import os
import pwd
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.settings import Cluster

SSHD = "/usr/sbin/sshd"
NO_SSHD = "needs root and openssh-server (tests/run installs it)"
PATIENCE_S = 30
# Of what is said twice, sshd takes the first: what a test says goes before the rest.
CONFIG = """\
{more}
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized.%u
StrictModes no
UsePAM yes
PasswordAuthentication no
PerSourceMaxStartups none
KbdInteractiveAuthentication no
PermitRootLogin no
MaxStartups 100
LogLevel VERBOSE
"""
# A key is not enough: PAM asks for the password, as it does for a second factor.
CODE = "open sesame"
WITH_CODE = """\
KbdInteractiveAuthentication yes
AuthenticationMethods publickey,keyboard-interactive
"""


def is_here() -> bool:
    """Say whether an sshd can be started that lets others in."""
    return os.geteuid() == 0 and Path(SSHD).exists()


def keygen(path: Path, kind: str = "ed25519", *words: str) -> Path:
    """Make a key."""
    path.unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path), *words]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class Sshd:
    """A server that was started; the key ``id`` of its folder opens it for a user."""

    folder: Path
    more: str = ""  # lines of its configuration
    users: tuple[str, ...] = ("alice",)
    port: int = field(default_factory=free_port)

    def start(self) -> "Sshd":
        """Start it, with keys that are made where they are missing."""
        self.folder.mkdir(exist_ok=True, parents=True)
        self.folder.chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
        for name in ("host_key", "id"):
            if not (self.folder / name).exists():
                keygen(self.folder / name)
        for user in self.users:
            shutil.copy(self.folder / "id.pub", self.folder / f"authorized.{user}")
        text = CONFIG.format(port=self.port, folder=self.folder, more=self.more)
        (self.folder / "config").write_text(text)
        self.restart()
        return self

    def restart(self) -> None:
        """Start it with the configuration that is there."""
        self.log = self.folder / "log"
        argv = [SSHD, "-D", "-f", str(self.folder / "config"), "-E", str(self.log)]
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
        )
        end = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def known_hosts(self, port: int | None = None, *, key: str = "host_key") -> str:
        """Return the line that makes it known."""
        kind, text = (self.folder / f"{key}.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{port or self.port} {kind} {text}\n"

    @property
    def connections(self) -> int:
        """Return how many logins it has accepted."""
        return self.log.read_text().count("Accepted publickey")

    def cut(self) -> None:
        """Kill what serves connections, as a node that goes down does."""
        for pid in _below(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it, and all connections."""
        self.cut()
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def cluster(self, **more: Any) -> Cluster:
        """Return settings that reach it; its key is in the file ``known``."""
        (self.folder / "known").write_text(self.known_hosts(more.get("port")))
        said: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.users[0],
            "key": str(self.folder / "id"),
            "known_hosts": (str(self.folder / "known"),),
        }
        return Cluster(**{**said, **more})


@contextlib.contextmanager
def running(*, users: tuple[str, ...] = ("alice",), more: str = "") -> Iterator[Sshd]:
    """Start one in a folder that all may look into; or skip, where that can't be."""
    if not is_here():
        import pytest  # a benchmark does without it

        pytest.skip(NO_SSHD)
    for user in users:
        make_user(user, "/bin/bash")
    with tempfile.TemporaryDirectory(prefix="penstock-sshd-") as name:
        server = Sshd(Path(name), more=more, users=users).start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def coded() -> Iterator[Sshd]:
    """Start one that asks ``penstock-loud`` for a code, too: the password of the system."""
    with running(users=("penstock-loud",), more=WITH_CODE) as server:
        said = f"penstock-loud:{CODE}\n".encode()
        subprocess.run(["chpasswd"], input=said, check=True)
        yield server


def _below(pid: int) -> list[int]:
    """Return the processes that serve connections, in two layers, but not what they run."""
    found: list[int] = []
    for line in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found.append(int(line))
        with contextlib.suppress(OSError):
            found += _below_sshd(int(line))
    return found


def _below_sshd(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children if Path(f"/proc/{one}/comm").read_text() == "sshd\n"]


class Proxy:
    """A TCP proxy before a server: it counts, delays, and can drop all silently, or cut."""

    def __init__(self, to: int, *, delay_s: float = 0.0) -> None:
        self._to, self._delay_s = to, delay_s
        self.connections = 0
        self.is_silent = False
        self._forgotten: set[socket.socket] = set()
        self._pairs: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            there = socket.create_connection(("127.0.0.1", self._to))
            for one in (here, there):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs += [here, there]
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def deliver() -> None:
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    if not self.is_silent and target not in self._forgotten:
                        target.sendall(data)
                except OSError:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self._delay_s, data))
            if not data:
                return

    def forget(self) -> None:
        """Drop silently what comes on the connections of now, as a firewall that was restarted."""
        self._forgotten.update(self._pairs)

    def cut(self) -> None:
        """End all connections."""
        for one in self._pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pairs.clear()

    def close(self) -> None:
        """End all, and let nobody in any more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # or an accept that waits takes one more
        self._server.close()
        self.cut()


def make_user(name: str, shell: str) -> pwd.struct_passwd:
    """Make an ordinary user of the machine with a login shell, if there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        argv = ["useradd", "--create-home", "--shell", shell, name]
        subprocess.run(argv, check=True)
        return pwd.getpwnam(name)
