"""Where rounds of crashes are played: on the model of Slurm, the local scheduler, a real Slurm."""

import grp
import os
import pwd
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock.scheduler import keeper
from penstock.scheduler.ledger import Ledger
from penstock.testing.forked import Start, forked
from penstock.testing.served import ALL_JOBS, served
from penstock.testing.site import NodeKind, Site

PATH = "/usr/local/bin:/usr/bin:/bin"
# Arrays of three tasks at most, so that a submission is several; two tasks at most in one qos.
SITE = Site(
    nodes=tuple(NodeKind(f"n{number}", cpus=64, mem_mb=256_000) for number in range(4)),
    qos={"normal": None, "few": 2},
    max_array_size=3,
    min_job_age_s=2,
    kill_wait_s=1,
    requeue_wait_s=0.1,
    schedule_s=0.02,
    completing_s=0.02,
    accounting_lag_s=0.1,
)


class Child(Protocol):
    """A command that was started."""

    def kill(self) -> None:
        """Send SIGKILL to its process group."""

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return its exit code, below 0 for a signal; None: it still runs."""


class Place(Protocol):
    """A scheduler, and a user's way to start commands."""

    env: Mapping[str, str]

    def start(self, words: list[str], *, root: Path, env: Mapping[str, str], out: Path) -> Child:
        """Start a command of Penstock; its words go to ``<out>.out`` and ``<out>.err``."""

    def jobs(self, root: Path) -> dict[int, str]:
        """Return all jobs that the scheduler ever took, and their names."""

    def look(self, root: Path) -> bool:
        """Do what the cluster has to; return whether a part of the scheduler is dead."""

    def make(self, root: Path) -> None:
        """Make a new project of the user's."""

    def own(self, path: Path) -> None:
        """Let the user's commands and jobs change a file or folder."""


# --- forked commands: the model, and the local scheduler ---


@dataclass
class OnModel:
    """The model of Slurm, behind programs on PATH."""

    base: Path  # a project that is as new, to be copied
    commands: Start
    programs: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self, words: list[str], *, root: Path, env: Mapping[str, str], out: Path) -> Child:
        """Start a command as a fork of one that has loaded all."""
        return self.commands(words, env=env, folder=root, out=out)

    def jobs(self, root: Path) -> dict[int, str]:  # noqa: ARG002  one cluster serves all
        """Ask the model."""
        argv = [self.programs / ALL_JOBS]
        said = subprocess.run(argv, capture_output=True, check=True, text=True)
        lines = (line.partition(" ") for line in said.stdout.splitlines())
        return {int(job): name for job, _, name in lines}

    def look(self, root: Path) -> bool:  # noqa: ARG002
        """Do nothing: the model does."""
        return False

    def make(self, root: Path) -> None:
        """Copy a project that is as new."""
        shutil.copytree(self.base, root)

    def own(self, path: Path) -> None:
        """Do nothing: all is one user's."""


class OnLocal(OnModel):
    """The local scheduler. Its keeper is killed by the failpoint of the command that starts it."""

    def jobs(self, root: Path) -> dict[int, str]:
        """Read the ledger."""
        with closing(Ledger(str(root / ".penstock" / "local"))) as ledger:
            return {job.id: job.name for job in ledger.jobs().values()}

    def look(self, root: Path) -> bool:
        """Return whether there is something to keep, and no keeper."""
        folder = root / ".penstock" / "local"
        with closing(Ledger(str(folder))) as ledger:
            return ledger.unfinished() > 0 and not keeper.is_there(folder)


@contextmanager
def on_model(folder: Path, *, seed: int = 0) -> Iterator[OnModel]:
    """Start the model and the server of commands; end them."""
    with served(folder, site=SITE, seed=seed) as programs, forked() as commands:
        env = {"PENSTOCK_SCHEDULER": "slurm", "PATH": f"{programs}:{PATH}"}
        place = OnModel(folder / "base", commands, programs, env)
        _init(place, place.base, place.base.with_name("init"))
        yield place


@contextmanager
def on_local(folder: Path) -> Iterator[OnLocal]:
    """Start the server of commands; end it."""
    with forked() as commands:
        env = {"PENSTOCK_SCHEDULER": "local", "PENSTOCK_LOCAL_CPUS": "2", "PATH": PATH}
        place = OnLocal(folder / "base", commands, folder, env)
        _init(place, place.base, place.base.with_name("init"))
        yield place


def _init(place: Place, root: Path, out: Path) -> None:
    root.mkdir(parents=True)
    place.own(root)
    env = {**place.env, "HOME": str(root)}
    if (code := place.start(["init"], root=root, env=env, out=out).wait()) != 0:
        raise RuntimeError(f"penstock init ended with {code}: see {out}.err")


# --- a real Slurm ---


@dataclass
class OnSlurm:
    """A real Slurm, and the command as one of its users has it.

    A task that was killed is FAILED there. Where its node should be lost with it, it is requeued by
    ``scontrol`` as soon as that is seen: with the grace for records here, before it is believed.
    """

    penstock: Path
    user: str
    conf: Path
    env: Mapping[str, str] = field(init=False)
    _jobs: dict[int, str] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.env = {
            "PATH": f"{self.penstock.parent}:{PATH}",
            "LANG": "C.UTF-8",
            "SLURM_CONF": str(self.conf),
            "PENSTOCK_SCHEDULER": "slurm",
            "PENSTOCK_RECORD_GRACE_S": "5",
            "PENSTOCK_ACCOUNTING_LAG_S": "10",
        }

    def start(self, words: list[str], *, root: Path, env: Mapping[str, str], out: Path) -> Child:
        """Start the command, as the user."""
        with open(f"{out}.out", "w") as said, open(f"{out}.err", "w") as told:  # noqa: PTH123
            return Process(
                subprocess.Popen(
                    [self.penstock, *words],
                    cwd=root,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=told,
                    start_new_session=True,
                    **as_user(self.user),
                )
            )

    def jobs(self, root: Path) -> dict[int, str]:
        """Return all that were ever seen: a job stays in the queue for longer than a look takes."""
        self.look(root)
        asked = ["sacct", "-nPX", "-j", ",".join(map(str, self._jobs)), "-o", "JobID,State"]
        for line in self._ask(*asked).splitlines() if self._jobs else ():
            task, word = line.split("|")
            if word == "FAILED":  # while nobody looked, on a machine that is busy
                _note_killed(root, task)
        return dict(self._jobs)

    def look(self, root: Path) -> bool:
        """Tell of tasks that were killed; requeue those that were lost with their node."""
        for job, index, word, name in self._queue():
            self._jobs[int(job)] = name
            task = f"{job}_{index}"
            if word == "FAILED" and _note_killed(root, task):
                self._ask("scontrol", "requeue", task)
        return False

    def _queue(self) -> list[list[str]]:
        said = self._ask("squeue", "-h", "-r", "-t", "all", "--me", "-o", "%F|%K|%T|%j")
        return [line.split("|", 3) for line in said.splitlines()]

    def _ask(self, *argv: str) -> str:
        with self._lock:
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                check=True,
                env=dict(self.env),
                **as_user(self.user),
            )
        return str(done.stdout)

    def make(self, root: Path) -> None:
        """Make a new project, as the user does."""
        _init(self, root, root.with_name(f"{root.name}.init"))

    def own(self, path: Path) -> None:
        """Give a file to the user."""
        shutil.chown(path, self.user)


def as_user(name: str) -> dict[str, Any]:
    """Return what makes subprocess start a program as a user, with the user's groups."""
    found = pwd.getpwnam(name)
    if os.getuid() == found.pw_uid:
        return {}
    groups = [one.gr_gid for one in grp.getgrall() if name in one.gr_mem]
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}


def _note_killed(root: Path, task: str) -> bool:
    """Tell of the last start of a task that it was killed; return whether to requeue it."""
    arms = root / "arms"
    restarts = [int(path.suffix[1:]) for path in (arms / "started").glob(f"{task}.*")]
    if not restarts:
        return False
    name = f"{task}.{max(restarts)}"
    is_new = not (arms / "killed" / name).exists()
    (arms / "killed" / name).touch()
    return is_new and (arms / "lost" / name).exists()


@dataclass
class Process:
    """A process of our own as a child that was started."""

    popen: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """Kill its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return how it ended."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
