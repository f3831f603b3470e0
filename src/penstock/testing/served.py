"""The programs with their model in one process: they answer at once, a thousand times over.

    with served(folder, site=Site(...)) as programs: …      ``programs`` is a folder for PATH

Tasks' scripts really run. A task whose script was killed is FAILED, 0:9; where the file
``arms/lost/<job>_<index>.<restart>`` stands in the folder that it was submitted from, its node was
lost with it, and it is requeued. Of what was killed a file of that name tells, in ``arms/killed``.
"""

import marshal
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from penstock.testing import execution, life, programs
from penstock.testing.commands import PROGRAMS, answer
from penstock.testing.jobs import Process
from penstock.testing.model import Cluster
from penstock.testing.site import Site

# Started without site-packages and with few modules: ten milliseconds.
PROGRAM = """#!{python} -ISE
import _socket, marshal, sys
from posix import environ, getcwd
name = sys.argv[0].rpartition("/")[2]
stdin = sys.stdin.buffer.read() if name == "sbatch" and not sys.stdin.isatty() else b""
server = _socket.socket(_socket.AF_UNIX)
server.connect({socket!r})
server.sendall(marshal.dumps(([name, *sys.argv[1:]], stdin, dict(environ), getcwd())))
server.shutdown(1)
said = b""
while more := server.recv(1 << 16):
    said += more
code, out, err = marshal.loads(said)
sys.stdout.write(out)
sys.stderr.write(err)
sys.stdout.flush()
raise SystemExit(code)
"""
ALL_JOBS = "all-jobs"  # a word of the driver's own: every job that was ever taken
TICK_S = 0.02
PATIENCE_S = 10


@contextmanager
def served(folder: Path, *, site: Site | None = None, seed: int = 0) -> Iterator[Path]:
    """Start the model; end it, and all that runs in it."""
    at = folder / "programs"
    state = folder / "model"
    programs.install(at, state, site=site, execute=True, seed=seed)
    with tempfile.TemporaryDirectory(prefix="model-") as short:  # a socket's path is
        address = str(Path(short) / "socket")
        for name in (*PROGRAMS, ALL_JOBS):
            text = PROGRAM.format(python=sys.executable, socket=address)
            (at / name).write_text(text)
            (at / name).chmod(0o755)
        with listening(address, "penstock.testing.served", str(state)):
            yield at


@contextmanager
def listening(
    address: str, module: str, *words: str, python: str = sys.executable, **who: Any
) -> Iterator[None]:
    """Run a module that serves on a socket, which it is given as descriptor 0.

    ``python`` may be of another environment that has Penstock; ``who`` is for Popen.
    """
    env = {"PATH": os.environ.get("PATH", "")}
    if python == sys.executable:
        env["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(256)
        argv = [python, "-m", module, *words]
        process = subprocess.Popen(argv, stdin=server.fileno(), env=env, cwd="/", **who)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def received(client: socket.socket) -> Any:
    """Return what a client sent, or None where it was cut off."""
    client.settimeout(PATIENCE_S)
    parts = []
    try:
        while part := client.recv(1 << 16):
            parts.append(part)
        return marshal.loads(b"".join(parts))  # noqa: S302  of a test's own programs
    except (OSError, ValueError, EOFError, TypeError):
        return None


def main(state: Path) -> None:
    """Serve until SIGTERM, or until whoever started it has ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    cluster = cast("Cluster", pickle.loads((state / "cluster").read_bytes()))  # noqa: S301  our own
    taken: dict[int, str] = {}
    with socket.socket(fileno=0) as server:
        try:
            while os.getppid() == parent:
                if select.select([server], [], [], TICK_S)[0]:
                    _serve(cluster, state, server.accept()[0], taken)
                execution.collect(cluster, state, _ended)
                cluster.run_until(time.time())
        finally:
            for process in list(cluster.processes):
                cluster.on_signal(process, signal.SIGKILL)


def _serve(cluster: Cluster, state: Path, client: socket.socket, taken: dict[int, str]) -> None:
    with client:
        asked = received(client)
        if asked is None:
            return
        argv, stdin, environ, folder = asked
        env = {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}
        execution.collect(cluster, state, _ended)
        cluster.run_until(time.time())
        if argv[0] == ALL_JOBS:
            said = (0, "".join(f"{job} {name}\n" for job, name in taken.items()), "")
        else:
            user = programs.user()
            done = answer(cluster, argv, stdin=stdin, env=env, user=user, folder=folder)
            said = (done.code, done.out, done.err)
        if argv[0] == "sbatch":
            taken |= {job.group: job.name for job in cluster.jobs.values()}
        with suppress(OSError):  # whoever asked was killed: what was done is done
            client.sendall(marshal.dumps(said))


def _ended(cluster: Cluster, process: Process, status: int) -> None:
    job = process.job
    arms = Path(job.options.folder) / "arms"
    name = f"{job.group}_{job.index}.{process.restart}"
    if status != 128 + signal.SIGKILL:
        execution.end(cluster, process, status)
        return
    if (arms / "killed").is_dir():
        (arms / "killed" / name).touch()
    if (arms / "lost" / name).exists() and job.state == "RUNNING" and not job.flag:
        life.lose(cluster, job, is_cut_off=False)
    else:
        execution.end(cluster, process, status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
