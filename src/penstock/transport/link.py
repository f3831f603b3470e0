"""Share a connection: a process that keeps it for all commands of a user, asked over a socket.

``python -m penstock.transport.link`` reads from stdin what to connect to. It logs in on the
terminal of who started it, says so on stdout, and goes to the background until nobody has used it
for a while.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, Unattended, Untrusted
from penstock.settings import Cluster
from penstock.transport.session import Session, on_terminal

LOOK_S = 1.0


class Link:
    """Answer requests of all who may open the socket, one at a time to the remote."""

    def __init__(self, session: Session, path: Path, keep_s: float) -> None:
        self._session, self._path, self._keep_s = session, path, keep_s
        self._used_at = time.monotonic()
        self._clients = 0
        self._is_over = threading.Event()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of one that was killed: the caller holds the lock
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        path.chmod(0o600)
        self._inode = path.stat().st_ino
        self._server.listen(64)
        self._server.settimeout(LOOK_S)

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
            self._session.close()

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
                while line := lines.readline():
                    asked = json.loads(line)
                    body = lines.read(asked.pop("size"))
                    said, data = self._one(asked, body)
                    head = json.dumps({**said, "size": len(data)}).encode()
                    client.sendall(head + b"\n" + data)
                    self._used_at = time.monotonic()
        except (OSError, ValueError, KeyError):
            return  # who asked is gone, and with it the need for an answer
        finally:
            self._clients -= 1

    def _one(self, asked: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        said = asked["said"]
        if said["verb"] == "end":
            self._is_over.set()
            self._server.shutdown(socket.SHUT_RDWR)  # or it would wait for one more
        if said["verb"] in ("end", "up"):
            return {}, b""
        try:
            if said["verb"] == "hello":
                return self._session.hello(), b""
            how = {"timeout_s": asked["timeout_s"], "is_safe": asked["is_safe"]}
            return self._session.ask(said, body, **how)
        except PenstockError as error:
            # The next one is started on a terminal, maybe.
            if isinstance(error, Unattended | Untrusted):
                self._is_over.set()
            return {"raised": type(error).__name__, "what": error.what, "hint": error.hint}, b""


def main() -> int:
    """Log in, and serve."""
    begin = json.loads(sys.stdin.readline())
    try:
        session = Session(
            begin["name"],
            Cluster.of(begin["cluster"]),
            Path(begin["state"]),
            ask=on_terminal() if begin["is_terminal"] else None,
        )
        session.hello()
        link = Link(session, Path(begin["path"]), begin["cluster"]["keep_s"])
    except PenstockError as error:
        said = {"raised": type(error).__name__, "what": error.what, "hint": error.hint}
        sys.stdout.write(json.dumps(said) + "\n")
        return 1
    session.leave_terminal()
    with contextlib.suppress(BrokenPipeError):  # who started this may have gone
        sys.stdout.write("{}\n")
        sys.stdout.flush()
    _detach()
    link.serve()
    return 0


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
