"""Programs named sbatch, squeue … on PATH, with the model behind them; real time drives its time.

    install(folder, state)                  the model alone: tasks take a second of real time
    install(folder, state, execute=True)    tasks' scripts really run, as detached processes
    install_accept(folder, state)           accept.py: accept at once, run nothing, for benchmarks

The model is in ``state/cluster``, changed under a lock. With ``execute`` a ticker process lives as
long as anything is unfinished, so that tasks start and end though nobody asks.
"""

import fcntl
import os
import pickle
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from penstock.testing import execution
from penstock.testing.commands import PROGRAMS, answer
from penstock.testing.model import Cluster
from penstock.testing.site import NodeKind, Site, User
from penstock.transport.protocol import Finished

PROGRAM = """#!{python}
import sys
sys.path[:0] = {path!r}
from penstock.testing.programs import main
main({state!r})
"""
TICK_S = 0.05


def here(site: Site | None = None) -> Site:
    """Return a site where the caller is an ordinary user, root too; all goes quickly there."""
    site = site or Site(schedule_s=0, completing_s=0, accounting_lag_s=0, requeue_wait_s=1)
    me = User(user(), os.getuid(), ("lab",), qos=tuple(site.qos))
    others = tuple(user for user in site.users if user.name != me.name)
    return replace(site, users=(*others, me))


def small(cpus: int) -> Site:
    """Return a site of one node: so many tasks at once."""
    site = Site(schedule_s=0, completing_s=0, accounting_lag_s=0, requeue_wait_s=1)
    return replace(site, nodes=(NodeKind("n1", cpus=cpus, mem_mb=100_000),))


def user() -> str:
    """Return who calls the programs."""
    return pwd.getpwuid(os.getuid()).pw_name


def install(
    folder: Path, state: Path, *, site: Site | None = None, execute: bool = False, seed: int = 0
) -> None:
    """Write the programs into a folder, and a new cluster into ``state``."""
    folder.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(here(site), seed=seed, start=time.time())
    if execute:
        execution.attach(cluster, state)
    _save(state, cluster)
    path = [str(Path(__file__).resolve().parents[2])]
    path += [entry for entry in sys.path if entry.endswith("site-packages")]
    text = PROGRAM.format(python=sys.executable, path=path, state=str(state))
    for name in PROGRAMS:
        program = folder / name
        program.write_text(text)
        program.chmod(0o755)


def main(state: str) -> None:
    """Be the program by whose name this was started."""
    argv = [Path(sys.argv[0]).name, *sys.argv[1:]]
    stdin = b""
    if argv[0] == "sbatch" and not sys.stdin.isatty():
        stdin = sys.stdin.buffer.read()
    done = call(Path(state), argv, stdin=stdin, env=dict(os.environ), folder=str(Path.cwd()))
    sys.stdout.write(done.out)
    sys.stderr.write(done.err)
    sys.stdout.flush()
    raise SystemExit(done.code)


def call(
    state: Path,
    argv: list[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    folder: str = "/",
) -> Finished:
    """Answer one call on the cluster in ``state``."""
    with opened(state) as cluster:
        done = answer(cluster, argv, stdin=stdin, env=env, user=user(), folder=folder)
        cluster.run_until(time.time())
        is_busy = cluster.unfinished > 0
    if is_busy and (state / execution.MARK).exists():
        _start_ticker(state)
    return done


@contextmanager
def opened(state: Path) -> Iterator[Cluster]:
    """Hold the cluster of ``state``, brought up to now; what is done to it is kept."""
    with (state / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = cast("Cluster", pickle.loads((state / "cluster").read_bytes()))  # noqa: S301  our own
        execution.collect(cluster, state)
        cluster.run_until(time.time())
        yield cluster
        _save(state, cluster)


def change(state: Path, do: Callable[[Cluster], None]) -> None:
    """Do something to the cluster in ``state``: fail a node, preempt, hold by root."""
    with opened(state) as cluster:
        do(cluster)
        cluster.run_until(time.time())


def _save(state: Path, cluster: Cluster) -> None:
    aside = state / "cluster.new"
    aside.write_bytes(pickle.dumps(cluster))
    aside.replace(state / "cluster")
    following = cluster.next_at()
    (state / "next").write_text("" if following is None else repr(following))


# --- the ticker ---


def _start_ticker(state: Path) -> None:
    with (state / "ticker").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # one lives
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.Popen(
        [sys.executable, "-m", "penstock.testing.programs", str(state)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(state / "ticker.log").open("a"),
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": path},
        cwd="/",
    )


def tick(state: Path) -> None:
    """Drive the cluster while anything is unfinished."""
    with (state / "ticker").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        while _tick(state):
            time.sleep(TICK_S)


def _tick(state: Path) -> bool:
    """Do what is due; return whether anything is still to come."""
    if not state.exists():
        return False
    text = (state / "next").read_text()
    is_due = bool(text) and float(text) <= time.time()
    if not is_due and not execution.has_news(state):
        return True
    with opened(state) as cluster:
        return cluster.unfinished > 0


if __name__ == "__main__":
    tick(Path(sys.argv[1]))
