"""Ask the process that has the connection to a host, and start it where there is none."""

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from penstock import errors
from penstock.errors import Lost, SettingsError, TransportError, Unreachable
from penstock.settings import Cluster
from penstock.transport import agent as agents
from penstock.transport.agent import Agent, Gone
from penstock.transport.ssh import Said

UP_S = 30.0
START_S = 300.0  # somebody may have to find a telephone first
# What says which host, and as whom. Clusters that differ in other things share its connection.
REACHED_BY = ("host", "user", "port", "key", "agent", "proxy_jump", "known_hosts")
LOCAL_S = 10.0  # for what that process answers by itself
RECONNECT_S = 240.0  # beyond a request's own time: the connection may have to be made anew


def peer(name: str, cluster: Cluster) -> "Shared":
    """Return who answers for a cluster. Raises SettingsError."""
    if importlib.util.find_spec("paramiko") is None:
        raise SettingsError(
            f"{name} is reached by SSH, and paramiko is not installed",
            hint="pip install 'penstock[ssh]'",
        )
    return Shared(name, cluster, state_folder())


def state_folder() -> Path:
    """Return the folder of this machine that all projects of the user share."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "penstock" / "ssh"


class Shared:
    """A connection that a process of its own keeps, for this command and for others."""

    def __init__(self, name: str, cluster: Cluster, state: Path) -> None:
        self._name, self._cluster, self._state = name, cluster, state
        self._version = digest(str(state), agents.boot("", {}))
        said = [getattr(cluster, each) for each in REACHED_BY]
        self.path = _runtime_folder() / f"{digest(self._version, *said)}.socket"
        self._stream: socket.socket | None = None
        self._begun: subprocess.Popen[bytes] | None = None
        self._lock = FileLock(self.path.with_suffix(".lock"))

    def begin(self) -> None:
        """Start the process, if there is none, and do not wait: whoever asks does."""
        if self.path.exists():
            return
        with contextlib.suppress(Timeout):
            self._lock.acquire(timeout=0)
            if self.path.exists():
                self._lock.release()
            else:
                self._begun = spawn(self._begin())

    def abandon(self) -> None:
        """End a process that was begun and that nobody has asked: it might ask for a code."""
        if self._begun is not None:
            self._begun.kill()
            self._begun.communicate()
            self._begun = None
            self._lock.release()

    def hello(self) -> Said:
        """Return what the remote said of itself."""
        return self.ask({"verb": "hello"}, timeout_s=60, is_safe=True)[0]

    def ask(
        self, said: Said, body: bytes = b"", *, timeout_s: float, is_safe: bool
    ) -> tuple[Said, bytes]:
        """Return the answer. Raises Unreachable or Lost."""
        asked = {"said": said, "timeout_s": timeout_s, "is_safe": is_safe}
        for is_last in (not is_safe, True):
            stream = self._stream or self._open()
            try:
                answer, data = Agent(stream).ask(asked, body, timeout_s * 2 + RECONNECT_S)
            except (OSError, Gone, ValueError) as error:
                self.close()
                if is_last:
                    raise Lost(
                        f"the process that has the connection to {self._name} ended: {error}",
                        hint="it may have been done or not; that is looked up the next time",
                    ) from error
            else:
                self._stream = stream
                return checked(answer), data
        raise AssertionError

    def recall(self, key: str) -> str:
        """Return what a process remembered that shares the connection; empty: nothing."""
        said = {"verb": "recall", "key": key}
        what: str = self.ask(said, timeout_s=LOCAL_S, is_safe=True)[0]["what"]
        return what

    def remember(self, key: str, what: str) -> None:
        """Remember something for those that share the connection, if there is one now."""
        said = {"verb": "remember", "key": key, "what": what}
        if self._stream is not None:
            with contextlib.suppress(TransportError):
                self.ask(said, timeout_s=LOCAL_S, is_safe=False)

    def close(self) -> None:
        """Leave the process, which goes on for others."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def end(self) -> bool:
        """End the process, and the connection; return whether there was one."""
        self.close()
        try:
            stream = self._connect()
        except OSError:
            return False
        with stream, contextlib.suppress(OSError, Gone, ValueError):
            Agent(stream).ask({"said": {"verb": "end"}}, b"", 10)
            stream.settimeout(10)
            stream.recv(1)  # closed by its end
        return True

    def is_up(self) -> bool:
        """Return whether there is a process that has the connection."""
        return is_up(self.path, self._name, self._cluster)

    def _connect(self) -> socket.socket:
        return _connected(self.path, self._name, self._cluster)

    def _open(self) -> socket.socket:
        try:
            if self._begun is not None:
                begun, self._begun = self._begun, None
                try:
                    finish(begun, self._name)
                    return self._connect()
                finally:
                    self._lock.release()
            with contextlib.suppress(OSError):
                return self._connect()
            with self._lock.acquire(timeout=START_S):
                with contextlib.suppress(OSError):
                    return self._connect()  # another has started it meanwhile
                finish(spawn(self._begin()), self._name)
                return self._connect()
        except Timeout as error:
            raise Unreachable(
                f"another command has been connecting to {self._name} for {START_S:.0f} s",
                hint="does it wait for something to be typed?",
            ) from error
        except OSError as error:
            raise Unreachable(f"the connection to {self._name} went away: {error}") from error

    def _begin(self) -> Said:
        """Return what a process is told that is to connect."""
        return {
            "name": self._name,
            "cluster": asdict(self._cluster),
            "state": str(self._state),
            "path": str(self.path),
            "version": self._version,
            "is_terminal": sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty(),
        }


def spawn(begin: Said) -> "subprocess.Popen[bytes]":
    """Start a process that has a connection."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "penstock.transport.link"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if begin["is_terminal"] else subprocess.DEVNULL,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(begin, default=str).encode() + b"\n")
        process.stdin.close()
    return process


def finish(process: "subprocess.Popen[bytes]", name: str) -> None:
    """Wait until a process has logged in. Raises what it raised."""
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    answer = json.loads(line) if line else {}
    if answer.get("is_serving"):
        process.returncode = 0  # it lives on, and is not ours
        return
    code = process.wait()
    if not line:
        raise Unreachable(
            f"the process that connects to {name} ended with {code}",
            hint="this is a bug in Penstock: please report it",
        )
    checked(answer)


def is_up(path: Path, name: str, cluster: Cluster) -> bool:
    """Return whether a process answers at a socket."""
    try:
        _connected(path, name, cluster).close()
    except OSError:
        return False
    return True


def _connected(path: Path, name: str, cluster: Cluster) -> socket.socket:
    """Return a stream to a process, which knows then for which cluster it is asked."""
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.connect(str(path))
        # One that ends accepts, too.
        Agent(stream).ask({"name": name, "cluster": asdict(cluster)}, b"", UP_S)
    except (OSError, Gone, ValueError) as error:
        stream.close()
        raise ConnectionError(str(error)) from error
    return stream


def digest(*what: object) -> str:
    """Return a short name for values."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def checked(answer: Said) -> Said:
    """Raise what was raised at the other end."""
    if "raised" in answer:
        kind: Any = getattr(errors, answer["raised"], TransportError)
        raise kind(answer["what"], hint=answer["hint"])
    return answer


def _runtime_folder() -> Path:
    """Return a folder that nobody else may look into; paths of sockets are short."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(base) / "penstock" if base and Path(base).is_dir() else None
    if folder is None or len(str(folder)) > 80:
        folder = Path(tempfile.gettempdir()) / f"penstock-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SettingsError(
            f"{folder} is not a folder of yours alone", hint="remove it, or ask who made it"
        )
    return folder
