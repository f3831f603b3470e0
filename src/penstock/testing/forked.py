"""Commands as forks of one process that has loaded them: real processes, which start at once.

with forked() as start:
    child = start(["tick"], env=…, folder=…, out=…)     its words go to <out>.out and <out>.err
    child.kill(); child.wait()
"""

import gc
import importlib
import marshal
import os
import pkgutil
import select
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import penstock
from penstock.errors import PenstockError
from penstock.testing.served import listening, received

LOOK_S = 5  # whether it is still wanted
NUMBER = struct.Struct("!i")
UNLOADED = ("penstock.testing", "penstock.store.migrations", "penstock.cli.__main__")


@dataclass
class Forked:
    """A command that runs, or ran. Its parent is the server, which tells how it ended."""

    pid: int
    _server: socket.socket

    def kill(self) -> None:
        """Kill it, and all of its process group, which it may not have made yet."""
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return its exit code, below 0 for a signal; None: it still runs."""
        if not select.select([self._server], [], [], timeout_s)[0]:
            return None
        with self._server:
            return _number(self._server)


Start = Callable[..., Forked]


@contextmanager
def forked(python: str = sys.executable, **who: Any) -> Iterator[Start]:
    """Start the server, which loads all of Penstock; end it. See ``served.listening``."""
    with tempfile.TemporaryDirectory(prefix="forked-") as short:  # a socket's path is
        address = str(Path(short) / "socket")

        def start(
            words: Sequence[str], *, env: Mapping[str, str], folder: Path, out: Path
        ) -> Forked:
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(address)
                server.sendall(marshal.dumps((list(words), dict(env), str(folder), str(out))))
                server.shutdown(socket.SHUT_WR)
                return Forked(_number(server), server)
            except BaseException:
                server.close()
                raise

        with listening(address, "penstock.testing.forked", python=python, **who):
            yield start


def _number(server: socket.socket) -> int:
    data = server.recv(NUMBER.size, socket.MSG_WAITALL)
    if len(data) < NUMBER.size:
        raise RuntimeError("the server of forked commands has ended")
    number: int = NUMBER.unpack(data)[0]
    return number


# --- the server ---


def load() -> None:
    """Load all that a command may load."""
    for module in pkgutil.walk_packages(penstock.__path__, "penstock."):
        if not module.name.startswith(UNLOADED) and not module.name.endswith("__main__"):
            with suppress(ImportError, PenstockError):  # an extra that is not there
                importlib.import_module(module.name)


def main() -> None:
    """Serve until SIGTERM, or until whoever started it has ended."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    parent = os.getppid()
    load()
    gc.freeze()
    clients: dict[int, socket.socket] = {}  # by pidfd of the command
    with socket.socket(fileno=os.dup(0)) as server:
        while os.getppid() == parent:
            for ready in select.select([server.fileno(), *clients], [], [], LOOK_S)[0]:
                if ready == server.fileno():
                    _fork(server, clients)
                else:
                    _tell(ready, clients.pop(ready))


def _fork(server: socket.socket, clients: dict[int, socket.socket]) -> None:
    client, _ = server.accept()
    asked = received(client)
    if asked is None:
        client.close()
        return
    pid = os.fork()
    if pid == 0:
        _become(*asked)
    clients[os.pidfd_open(pid)] = client
    with suppress(OSError):
        client.sendall(NUMBER.pack(pid))


def _tell(descriptor: int, client: socket.socket) -> None:
    ended = os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
    assert ended is not None
    os.close(descriptor)
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with client, suppress(OSError):
        client.sendall(NUMBER.pack(code))


def _become(words: list[str], env: dict[str, str], folder: str, out: str) -> None:
    """Be the command: nothing of the server is left but what is loaded."""
    from penstock import failpoint  # noqa: PLC0415  after all else
    from penstock.cli import app  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(f"{out}.{name}", flags, 0o644) for name in ("out", "err")]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 1 << 10)
    sys.argv = ["penstock", *words]
    importlib.reload(failpoint)
    code: Any = 0
    try:
        app.main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  as Python itself would
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
