"""The command as its users have it, on the local scheduler and on the real Slurm.

What runs to its end is a fork of a process that has loaded all of Penstock; ``Site.start`` starts
the installed command itself.
"""

import atexit
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from penstock.testing.forked import Start, forked
from penstock.testing.places import as_user
from tests.own_slurm import OwnSlurm

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90


@dataclass
class Site:
    """A project of a user, and the command in it."""

    scheduler: str
    root: Path
    bin: Path  # where the command is
    user: str = ""  # else who runs the tests
    env: dict[str, str] = field(default_factory=dict)
    home: Path | None = None  # of its user; else what the system says
    daemon_said: str = ""  # on stderr, when it has ended

    def how(self, *words: object) -> dict[str, Any]:
        """Return what makes subprocess start the command, as its user."""
        return {"args": [str(self.bin / "penstock"), *map(str, words)], **self.who()}

    def who(self) -> dict[str, Any]:
        """Return what makes subprocess start a program as the user, in the project."""
        other = as_user(self.user) if self.user else {}
        return {"cwd": self.root, "env": self.environment(), **other}

    def environment(self) -> dict[str, str]:
        """Return what the command sees: little of who runs the tests."""
        kept = {name: os.environ[name] for name in ("SLURM_CONF", "TMPDIR") if name in os.environ}
        home = self.home or pwd.getpwnam(self.user).pw_dir
        path = f"{self.bin}:/usr/local/bin:/usr/bin:/bin"
        return {
            **kept,
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PENSTOCK_SCHEDULER": self.scheduler,
            "PENSTOCK_POLL_S": "1",
            **self.env,
        }

    def start(self, *words: object, **more: Any) -> "subprocess.Popen[str]":
        """Start the command; the test ends it."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(**{**self.how(*words), **pipes, "text": True, **more})

    def ask(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run the installed command to its end, whatever that is."""
        how = self.how(*words)
        return subprocess.run(**how, capture_output=True, text=True, timeout=60, check=False)

    def __call__(
        self, *words: object, code: int = 0, cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command; it must end with this exit code, and with no traceback."""
        run = self._fork(list(map(str, words)), cwd or self.root)
        assert "Traceback" not in run.stderr, run.stderr
        assert run.returncode == code, f"{words}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run

    def _fork(self, words: list[str], cwd: Path) -> "subprocess.CompletedProcess[str]":
        """Run it as a fork of one that has loaded all: most of the time would go into that."""
        start = forks(str(self.bin / "python"), self.user)
        with tempfile.TemporaryDirectory(prefix="penstock-said-") as said:
            self.own(Path(said))
            out = Path(said) / "said"
            child = start(words, env=self.environment(), folder=cwd, out=out)
            if (code := child.wait(PATIENCE_S)) is None:
                child.kill()
                raise subprocess.TimeoutExpired(words, PATIENCE_S)
            told = [out.with_suffix(one).read_text("utf-8") for one in (".out", ".err")]
        return subprocess.CompletedProcess(words, code, *told)

    def json(self, *words: object, code: int = 0) -> Any:
        """Return what the command prints with --json."""
        return json.loads(self(*words, "--json", code=code).stdout)

    @contextmanager
    def daemon(self) -> Iterator["subprocess.Popen[str]"]:
        """Run the daemon, from when it is there; end it by SIGTERM, as it should."""
        with self.start("daemon", "run") as running:
            try:
                self.until(lambda: self.json("daemon", "status")["running"], "the daemon")
                yield running
            finally:
                running.terminate()
                _, self.daemon_said = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0, self.daemon_said
        assert "SIGTERM" in self.daemon_said
        for word in ("Traceback", "bug in Penstock"):
            assert word not in self.daemon_said

    def write(self, name: str, text: str) -> Path:
        """Write a file of the user's."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.own(path.parent, path)
        return path

    def own(self, *paths: Path) -> None:
        """Give files to the user."""
        if self.user:
            ids = pwd.getpwnam(self.user)[2:4]
            for path in paths:
                shutil.chown(path, *ids)

    def submit(self, text: str, *words: object) -> str:
        """Submit a spec; return its experiment."""
        name: str = self.json("submit", self.write("sweep.yaml", text), *words)["experiment"]
        return name

    def finish(self, text: str) -> list[dict[str, Any]]:
        """Submit a spec, wait until all runs have ended, and return them."""
        return self.ended(self.submit(text))

    def ended(self, experiment: str) -> list[dict[str, Any]]:
        """Return the runs of an experiment when all have ended."""
        self.until(
            lambda: all(
                run["state"] in ("completed", "failed", "cancelled")
                for run in self.json("runs", f"experiment = {experiment}")
            ),
            f"the end of {experiment}",
        )
        runs: list[dict[str, Any]] = self.json("runs", f"experiment = {experiment}")
        return runs

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end, f"waited too long for {what}\n{self('status').stdout}"
            time.sleep(0.2)


@cache
def forks(python: str, user: str) -> Start:
    """Start the server of a user's forked commands, for all tests of this process."""
    server = forked(python, **(as_user(user) if user else {}))
    atexit.register(server.__exit__, None, None, None)
    return server.__enter__()


def everybodys_python() -> str:
    """Return a Python that other users may run, as one below somebody's home is not."""
    new_enough = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        path = f"/usr/bin/{name}"
        if Path(path).exists() and subprocess.call([path, "-c", new_enough]) == 0:
            return path
    raise AssertionError("no Python in /usr/bin is 3.11 or later (Ubuntu: apt install python3.11)")


@pytest.fixture(scope="session")
def installed() -> Iterator[Path]:
    """Yield the bin folder of an installed wheel, as users have it: one for all who test now."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"penstock-installed-{run}"
    lock, users = (folder.with_name(f"{folder.name}.{what}") for what in ("lock", "users"))

    def count(more: int) -> int:
        now = (int(users.read_text()) if users.exists() else 0) + more
        users.write_text(str(now))
        return now

    programs = folder / "venv" / "bin"
    with FileLock(lock):
        count(1)
        if not (programs / "penstock").exists():
            shutil.rmtree(folder, ignore_errors=True)  # what was half-made
            install(folder)
    yield programs
    with FileLock(lock):
        if count(-1) == 0:
            shutil.rmtree(folder)
            users.unlink()
            lock.unlink()


def install(folder: Path) -> None:
    """Install the wheel where every user may read it."""
    folder.mkdir()
    folder.chmod(0o755)
    uv = [str(Path(sys.executable).with_name("uv"))]
    python = str(folder / "venv" / "bin" / "python")
    pip = [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    for argv in (
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        [*uv, "venv", "--quiet", "--python", everybodys_python(), str(folder / "venv")],
        [*pip, "--require-hashes", "-r", "requirements/base.txt"],
    ):
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, capture_output=True)


@cache
def made() -> Path:
    """Make a project once: a copy of it is as good as another, and a second quicker."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-made-"))
    atexit.register(shutil.rmtree, folder)
    Site("local", folder, Path(sys.executable).parent, home=folder)("init")
    return folder


def local_site(folder: Path) -> Site:
    """A new project of who runs the tests, on the local scheduler."""
    root = folder / "project"
    shutil.copytree(made(), root)
    return Site("local", root, Path(sys.executable).parent, home=folder)


def users_site(request: pytest.FixtureRequest, folder: Path) -> Site:
    """A new project of an ordinary user, on the local scheduler."""
    site = local_site(folder)
    if os.getuid() != 0:
        return site
    folder.chmod(0o755)
    site = replace(site, bin=request.getfixturevalue("installed"), user=ordinary())
    site.own(folder, site.root, *site.root.rglob("*"))
    return site


@cache
def ordinary() -> str:
    """Return a user without any rights: alice, where there is a Slurm for her."""
    try:
        return pwd.getpwnam("alice").pw_name
    except KeyError:
        return "nobody"


@pytest.fixture
def local(request: pytest.FixtureRequest, shared: Path) -> Site:
    """A new project of an ordinary user, on the local scheduler."""
    return users_site(request, shared)


def slurm_site(installed: Path, folder: Path, user: str) -> Site:
    """A new project of an ordinary user, on the real Slurm."""
    folder.chmod(0o755)
    root = folder / user
    root.mkdir()
    site = Site("slurm", root, installed, user)
    site.own(root)
    site("init")
    return site


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may look into; pytest's own is for one alone."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as name:
        yield Path(name)


@pytest.fixture
def slurm(request: pytest.FixtureRequest, shared: Path) -> Site:
    """A new project of alice, on the real Slurm."""
    return slurm_site(request.getfixturevalue("installed"), shared, "alice")


@pytest.fixture
def own(parts: OwnSlurm, shared: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A new project of alice, on a Slurm whose parts may be stopped: all are up now."""
    monkeypatch.setenv("SLURM_CONF", parts.conf)
    parts.heal()
    return slurm_site(installed, shared, "alice")


@pytest.fixture
def small(request: pytest.FixtureRequest, shared: Path) -> Site:
    """A new project of bob, who may have few jobs, on the real Slurm."""
    return slurm_site(request.getfixturevalue("installed"), shared, "bob")


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def site(request: pytest.FixtureRequest) -> Site:
    """A new project, on each scheduler."""
    found: Site = request.getfixturevalue(request.param)
    return found
