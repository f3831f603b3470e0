"""A jump host: one process has the connection to it, for all hosts that are reached through it.

It is a process as for a host that is a cluster's (``link``), and the same one where a cluster is
there too. Who goes through it opens its socket and says where to; from then on bytes pass.
"""

import contextlib
import json
import select
import socket
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError, Unreachable
from penstock.transport import peer
from penstock.transport.agent import Gone, Said
from penstock.transport.host import Host
from penstock.transport.trunk import BROKEN, Trunk

TRIES = 3
KEEP_S = 5.0  # a process that nobody goes through any more
LINE_BYTES = 1 << 16
PIECE_BYTES = 1 << 16


class Hop:
    """The way through the last jump host before a host."""

    def __init__(self, host: Host, begin: Said) -> None:
        """``begin``: what the process of who goes through it was begun with."""
        self.host = host
        self.path = path_of(host, begin)
        self._begin = {**begin, "hop": asdict(host), "path": str(self.path)}
        self._held: socket.socket | None = None  # keeps the process for as long as this one
        self._ready: socket.socket | None = None

    def leave_terminal(self) -> None:
        """Ask nobody any more: a process that is begun from now on has no terminal."""
        self._begin["is_terminal"] = False

    def login(self, timeout_s: float) -> None:
        """Let the jump host be logged in to, if it is not. Raises what its process raised."""
        self._close()
        self._ready = self._through(timeout_s)
        if self._held is None or _is_closed(self._held):
            self._held = self._through(timeout_s)

    def open(self, host: Host, timeout_s: float) -> socket.socket:
        """Return the way to a host, once the jump host is logged in to. Raises OSError."""
        stream, self._ready = self._ready, None
        assert stream is not None
        try:
            stream.settimeout(timeout_s * 2)
            said = {"to": [host.address, host.port], "timeout_s": timeout_s}
            stream.sendall(json.dumps(said).encode() + b"\n")
            answer = _line(stream)
        except (OSError, Gone, ValueError):
            stream.close()
            raise
        if "refused" in answer:
            stream.close()
            raise TimeoutError if answer["is_silent"] else OSError(answer["refused"])
        stream.settimeout(None)
        return stream

    def _through(self, timeout_s: float) -> socket.socket:
        """Return a stream to the process, which has the connection then."""
        for left in range(TRIES - 1, -1, -1):  # one that ends just now accepts, too
            stream = socket.socket(socket.AF_UNIX)
            try:
                stream.settimeout(peer.START_S)
                stream.connect(str(self.path))
                stream.sendall(json.dumps({"through": timeout_s}).encode() + b"\n")
                peer.checked(_line(stream))
            except PenstockError:
                stream.close()
                raise
            except (OSError, Gone, ValueError) as error:
                stream.close()
                if not left:
                    raise Unreachable(
                        f"the process that has the connection to {self.host} went away: {error}"
                    ) from error
                peer.finish(peer.spawn(self._begin), str(self.host))
            else:
                return stream
        raise AssertionError

    def _close(self) -> None:
        if self._ready is not None:
            self._ready.close()


def path_of(host: Host, begin: Said) -> Path:
    """Return the socket of the process that has the connection to a host."""
    name = f"{peer.digest(host.way, begin['version'])}.socket"
    return Path(begin["path"]).with_name(name)


def before(host: Host, begin: Said) -> Hop | None:
    """Return the jump host through which a host is reached; None: there is none."""
    hop = host.before
    return None if hop is None else Hop(hop, begin)


def is_up(path: Path) -> bool:
    """Return whether a process answers at a socket."""
    with socket.socket(socket.AF_UNIX) as stream:
        try:
            stream.settimeout(peer.UP_S)
            stream.connect(str(path))
            stream.sendall(b"{}\n")
            return not _line(stream)["size"]
        except (OSError, Gone, ValueError):
            return False


# --- the process that has the connection


def serve(trunk: Trunk, client: socket.socket, lines: Any, begin: Said) -> None:
    """Log in if that must be, then pass bytes to where a client says. Raises PenstockError."""
    trunk.connection(begin["through"])
    client.sendall(b'{"size": 0}\n')
    if not (line := lines.readline()):
        return
    asked = json.loads(line)
    try:
        channel = trunk.channel(tuple(asked["to"]), asked["timeout_s"])
    except (PenstockError, *BROKEN) as error:
        is_silent = isinstance(error, TimeoutError) or "Timeout" in str(error)
        words = str(error) or type(error).__name__
        client.sendall(json.dumps({"refused": words, "is_silent": is_silent}).encode() + b"\n")
        return
    client.sendall(b'{"size": 0}\n')
    back = threading.Thread(target=_pass, args=(channel, client, trunk), daemon=True)
    back.start()
    _pass(client, channel)
    channel.close()
    back.join()


def _pass(source: Any, target: Any, heard: Trunk | None = None) -> None:
    """Pass bytes on until one of the two ends, then end the other."""
    with contextlib.suppress(*BROKEN):
        while data := source.recv(PIECE_BYTES):
            if heard is not None:
                heard.hear()
            target.sendall(data)
    with contextlib.suppress(*BROKEN):
        target.shutdown(socket.SHUT_RDWR)


def _line(stream: socket.socket) -> Said:
    """Return an answer, and read nothing behind it: that may be another's bytes."""
    line = bytearray()
    while not line.endswith(b"\n"):
        more = stream.recv(1)
        if not more or len(line) > LINE_BYTES:
            raise Gone(bytes(line))
        line += more
    answer: Said = json.loads(line)
    return answer


def _is_closed(stream: socket.socket) -> bool:
    """Return whether the other end is closed: nothing is said on it otherwise."""
    return bool(select.select([stream], [], [], 0)[0])
