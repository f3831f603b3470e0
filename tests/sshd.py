"""A real sshd for tests: on a loopback port, with keys and a configuration of its own."""

import contextlib
import os
import pwd
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

SSHD = "/usr/sbin/sshd"
NO_SSHD = "needs root and openssh-server (tests/run installs it)"
PATIENCE_S = 30
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized.%u
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
MaxStartups 100
LogLevel VERBOSE
{more}
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
        self.log = self.folder / "log"
        argv = [SSHD, "-D", "-f", str(self.folder / "config"), "-E", str(self.log)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env={"PATH": os.defpath})
        end = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        return self

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

    def children(self) -> list[int]:
        """Return the processes that serve connections."""
        found = subprocess.run(
            ["ps", "--ppid", str(self.process.pid), "-o", "pid="],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return [int(word) for word in found.split()]

    def cut(self) -> None:
        """Kill what serves connections, as a node that goes down does."""
        for pid in self.children():
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it, and all connections."""
        self.cut()
        self.process.terminate()
        self.process.wait(PATIENCE_S)


class Proxy:
    """A TCP proxy before a server: it counts, delays, and can drop all silently, or cut."""

    def __init__(self, to: int, *, delay_s: float = 0.0) -> None:
        self._to, self._delay_s = to, delay_s
        self.connections = 0
        self.is_silent = False
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
                    if not self.is_silent:
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

    def cut(self) -> None:
        """End all connections."""
        for one in self._pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pairs.clear()

    def close(self) -> None:
        """End all, and let nobody in any more."""
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
