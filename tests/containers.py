"""Users on the machines of the test cluster, and what can happen to a machine."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from deploy.test_cluster.cluster import Cluster

PATIENCE_S = 120
NODES = ("n1", "n2", "n3")
STEADY = "n3"  # which no test takes away, so that others may use it meanwhile
GOOD = ("completed", None, 1)  # how a run ended: state, cause, and in which attempt
ENDED = ("completed", "failed", "cancelled")
QUICK = {
    "PENSTOCK_POLL_S": "1",
    "PENSTOCK_POLL_MAX_S": "2",
    "PENSTOCK_BEAT_S": "1",
    "PENSTOCK_ACCOUNTING_LAG_S": "2",
    "PENSTOCK_RECORD_GRACE_S": "2",
}


@dataclass
class Seat:
    """A user at a machine, in a project's folder."""

    cluster: Cluster
    root: str
    machine: str = "login1"
    user: str = "alice"
    env: dict[str, str] = field(default_factory=dict)
    umask: str = "022"

    def at(self, machine: str, user: str = "", **env: str) -> "Seat":
        """Return a seat elsewhere, in the same project."""
        return Seat(
            self.cluster, self.root, machine, user or self.user, {**self.env, **env}, self.umask
        )

    def shell(self, script: str, *words: object, code: int = 0) -> str:
        """Run a shell script there, which must end with this code; return what it printed."""
        done = self.run("sh", "-c", script, "sh", *map(str, words))
        assert done.returncode == code, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *argv: str, timeout_s: float = PATIENCE_S) -> "subprocess.CompletedProcess[str]":
        """Run a command as the user, in the project's folder."""
        home = f"HOME=/shared/home/{self.user}"
        env = [f"{name}={value}" for name, value in {**QUICK, **self.env}.items()]
        go = ("sh", "-c", 'umask "$1"; cd "$2" && shift 2 && exec "$@"', "sh", self.umask)
        where = ("env", home, f"USER={self.user}", *env, *go, self.root)
        return self.cluster.run(self.machine, *where, *argv, user=self.user, timeout_s=timeout_s)

    def __call__(self, *words: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run the command; it must end with this exit code, and with no traceback."""
        done = self.run("penstock", *map(str, words))
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: object) -> Any:
        """Return what the command prints with --json."""
        return json.loads(self(*words, "--json").stdout)

    def write(self, name: str, text: str) -> None:
        """Write a file in the project's folder, as the user."""
        self.shell('printf %s "$2" > "$1"', name, text)

    def read(self, name: str) -> list[str]:
        """Return the lines of a file in the project's folder; none where there is none."""
        return self.run("cat", name).stdout.splitlines()

    def submit(self, experiment: str, script: str, *words: object, **more: Any) -> None:
        """Submit runs of a shell script; to the node that stays, if nothing else is said."""
        usual = {"mem": "50M", "time": "5m", "options": [f"--nodelist={STEADY}"]}
        request = {**usual, **more.pop("request", {})}
        command = more.pop("command", ["sh", "-c", script])
        spec = {"experiment": experiment, "command": command, "request": request, **more}
        self.write(f"{experiment}.yaml", json.dumps(spec))
        self("submit", *words, f"{experiment}.yaml")

    def states(self, experiment: str) -> list[tuple[str, str | None, int]]:
        """Return state, cause and attempt of its runs, when all have ended."""
        found: list[dict[str, Any]] = []

        def is_over() -> bool:
            found[:] = self.json("runs", f"experiment = {experiment}")
            return bool(found) and all(run["state"] in ENDED for run in found)

        self.until(is_over, f"the end of {experiment}")
        return [(run["state"], run["cause"], run["attempt"]) for run in found]

    def last(self, run: str) -> dict[str, Any]:
        """Return the last attempt of a run."""
        attempt: dict[str, Any] = self.json("show", run)["attempts"][-1]
        return attempt

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end, f"waited too long for {what}\n{self('status').stdout}"
            time.sleep(0.3)


def project(cluster: Cluster, user: str = "alice", machine: str = "login1", **env: str) -> Seat:
    """Make a new project in a user's home, which nobody else may look into."""
    seat = Seat(cluster, f"/shared/home/{user}", machine, user, env)
    name = f"p{uuid4().hex[:8]}"
    seat("init", name)
    return Seat(cluster, f"{seat.root}/{name}", machine, user, env)


# --- what can happen to a compute node


def standing(cluster: Cluster, node: str) -> str:
    """Return all words of Slurm on a node; none where it answers too late to say.

    Of these sinfo shows one, which is "completing" while jobs end.
    """
    said = cluster.run("controller", "scontrol", "show", "node", node).stdout
    found = re.search(r"\bState=(\S+)", said)
    return found[1] if found else ""


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.5)


def wait_until_down(cluster: Cluster, node: str) -> None:
    wait_until(lambda: "DOWN" in standing(cluster, node), f"Slurm to give {node} up")


def mend(cluster: Cluster, node: str) -> None:
    """Have Slurm use a node again."""
    if "DRAIN" in standing(cluster, node):
        cluster.must("controller", "scontrol", "update", f"NodeName={node}", "State=RESUME")
    # It would register by itself some time; an administrator would not wait for that, either.
    cluster.must(node, "sh", "-c", 'kill -HUP "$(cat /run/slurmd.pid)" || true')
    up = re.compile(r"(IDLE|MIXED|ALLOCATED|COMPLETING)(\+COMPLETING)?")  # and it responds
    wait_until(lambda: up.fullmatch(standing(cluster, node)) is not None, f"{node} to come back")


@contextmanager
def paused(cluster: Cluster, node: str) -> Iterator[None]:
    """Do something while a node stands still: no process of it runs."""
    cluster.engine.must("pause", cluster.container(node))
    try:
        yield
    finally:
        cluster.engine.must("unpause", cluster.container(node))


@contextmanager
def killed(cluster: Cluster, node: str) -> Iterator[None]:
    """Do something while a node is off, as after a power cut."""
    cluster.engine.must("kill", cluster.container(node))
    try:
        yield
    finally:
        cluster.engine.must("start", cluster.container(node))


@contextmanager
def cut_off(cluster: Cluster, node: str) -> Iterator[None]:
    """Do something while a node has no network; its processes go on, and see the shared folder."""
    cluster.must(node, "ip", "link", "set", "eth0", "down")
    try:
        yield
    finally:
        cluster.must(node, "ip", "link", "set", "eth0", "up")
