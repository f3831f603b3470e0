"""Share a connection: a process that keeps it for all commands of a user, asked over a socket.

``python -m penstock.transport.link`` reads from stdin what to connect to. It logs in on the
terminal of who started it, says so on stdout, and goes to the background until nobody has used it
for a while. Its socket is named by the way to the host. Who asks finds it by a symbolic link, which
is named by settings: only with ~/.ssh/config, and paramiko, can be told which way these mean.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from penstock.errors import PenstockError, Unattended, Unreachable, Untrusted
from penstock.settings import Cluster
from penstock.transport import hop, peer
from penstock.transport.agent import Said
from penstock.transport.host import Host, resolve
from penstock.transport.session import Session, on_terminal
from penstock.transport.trunk import Trunk

LOOK_S = 1.0


class Link:
    """Answer requests of all who may open the socket, one at a time to each program there."""

    def __init__(self, trunk: Trunk, path: Path, *, keep_s: float = 0.0) -> None:
        self._trunk, self._path = trunk, path
        self._sessions: dict[tuple[object, ...], Session] = {}
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._used_at = time.monotonic()
        self._clients = 0
        self._is_over = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)

    def listen(self) -> None:
        """Let others ask."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of one that was killed: the caller holds the lock
        self._server.bind(str(self._path))
        self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino
        self._server.listen(64)
        self._server.settimeout(LOOK_S)

    def session(self, name: str, cluster: Cluster) -> Session:
        """Return the session of a cluster; of those that share it the most patient one keeps it."""
        key = (name, cluster.python, cluster.path, cluster.login_shell)
        with self._lock:
            self._keep_s = max(self._keep_s, cluster.keep_s)
            if key not in self._sessions:
                self._sessions[key] = Session(name, cluster, self._trunk)
            return self._sessions[key]

    def serve(self) -> None:
        """Answer until nobody asks any more, or the socket has been taken away."""
        try:
            while not self._is_over.is_set() and self._is_ours() and not self._is_idle():
                with contextlib.suppress(OSError):  # nobody came, or it is over
                    client, _ = self._server.accept()
                    client.settimeout(None)
                    threading.Thread(target=self._answer, args=(client,), daemon=True).start()
        finally:
            if self._is_ours():
                self._path.unlink(missing_ok=True)
            for session in self._sessions.values():
                session.close()
            self._trunk.close()

    def _is_ours(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _is_idle(self) -> bool:
        return not self._clients and time.monotonic() - self._used_at > self._keep_s

    def _answer(self, client: socket.socket) -> None:
        self._clients += 1
        try:
            with client, client.makefile("rb") as lines:
                begin = json.loads(lines.readline())
                if "through" in begin:
                    self._pass(client, lines, begin)
                    return
                session = self._of(begin) if begin else None
                client.sendall(b'{"size": 0}\n')
                while session and (line := lines.readline()):
                    asked = json.loads(line)
                    body = lines.read(asked.pop("size"))
                    said, data = self._one(session, asked, body)
                    head = json.dumps({**said, "size": len(data)}).encode()
                    client.sendall(head + b"\n" + data)
                    self._used_at = time.monotonic()
        except (OSError, ValueError, KeyError, TypeError):
            return  # who asked is gone, and with it the need for an answer
        finally:
            self._clients -= 1

    def _pass(self, client: socket.socket, lines: Any, begin: Said) -> None:
        """Be the way to a host behind this one."""
        try:
            hop.serve(self._trunk, client, lines, begin)
        except PenstockError as error:
            client.sendall(json.dumps(self._raised(error)).encode() + b"\n")
        finally:
            self._used_at = time.monotonic()

    def _of(self, begin: Said) -> Session:
        """Return the session that a client begins with."""
        return self.session(begin["name"], Cluster.of(begin["cluster"]))

    def _one(self, session: Session, asked: Said, body: bytes) -> tuple[Said, bytes]:
        said = asked["said"]
        if said["verb"] == "end":
            self._is_over.set()
            self._server.shutdown(socket.SHUT_RDWR)  # or it would wait for one more
            return {}, b""
        try:
            if said["verb"] == "hello":
                return session.hello(), b""
            if said["verb"] == "recall":
                return {"what": session.recall(said["key"])}, b""
            if said["verb"] == "remember":
                session.remember(said["key"], said["what"])
                return {}, b""
            how = {"timeout_s": asked["timeout_s"], "is_safe": asked["is_safe"]}
            return session.ask(said, body, **how)
        except PenstockError as error:
            return self._raised(error), b""

    def _raised(self, error: PenstockError) -> Said:
        """Return an error as it is told; whoever needs somebody ends: the next may find one."""
        if isinstance(error, Unattended | Untrusted):
            self._is_over.set()  # the next one is started on a terminal, maybe
        return told(error)


def told(error: PenstockError) -> Said:
    """Return an error for another process."""
    return {"raised": type(error).__name__, "what": error.what, "hint": error.hint}


def main() -> int:
    """Log in and serve, or show who does already."""
    begin = json.loads(sys.stdin.readline())
    try:
        link = _begun(begin)
    except PenstockError as error:
        sys.stdout.write(json.dumps(told(error)) + "\n")
        return 1
    with contextlib.suppress(BrokenPipeError):  # who started this may have gone
        sys.stdout.write(f"{json.dumps({'is_serving': link is not None})}\n")
        sys.stdout.flush()
    if link is not None:
        _detach()
        link.serve()
    return 0


def _begun(begin: dict[str, Any]) -> Link | None:
    """Return a link that has logged in; None where another process has the connection."""
    name, cluster, asked_at = begin["name"], Cluster.of(begin["cluster"]), Path(begin["path"])
    is_hop = "hop" in begin
    host = Host.of(begin["hop"]) if is_hop else resolve(cluster)
    path = hop.path_of(host, begin)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=peer.START_S):
            link = None
            if not (hop.is_up(path) if is_hop else peer.is_up(path, name, cluster)):
                ask = on_terminal() if begin["is_terminal"] else None
                way = hop.before(host, begin)
                trunk = Trunk(host, Path(begin["state"]), ask=ask, hop=way)
                link = Link(trunk, path, keep_s=hop.KEEP_S if is_hop else 0.0)
                if is_hop:
                    trunk.connection(cluster.connect_s)
                else:
                    link.session(name, cluster).hello()
                link.listen()
                trunk.leave_terminal()
            if not is_hop:
                _point(asked_at, path)
            return link
    except Timeout as error:
        raise Unreachable(
            f"another command has been connecting to {host} for {peer.START_S:.0f} s",
            hint="does it wait for something to be typed?",
        ) from error


def _point(link: Path, to: Path) -> None:
    """Make a symbolic link, or let it point to something else."""
    aside = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    aside.symlink_to(to.name)
    aside.replace(link)


def _detach() -> None:
    """Leave the terminal, the folder and the pipes of who started this."""
    with contextlib.suppress(PermissionError):  # of a process group's leader: it has none to leave
        os.setsid()
    os.chdir("/")
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)


if __name__ == "__main__":
    sys.exit(main())
