"""The command: its variables, and its process with the log as its output."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time

from penstock.runner import signals, usage
from penstock.runner.trouble import Trouble, words
from penstock.wire import argv as template

MYPY = False  # typing takes time to import
if MYPY:
    from typing import Any

LONGEST = 100000  # bytes of a variable; Linux takes 131,072 with its name
SWEEP_S = 5.0  # how long what a command left behind may take to die


def variables(header: "dict[str, Any]", params: "dict[str, Any]") -> "dict[str, str]":
    """Return the environment: the job's, then the spec's, then the parameters."""
    env = dict(os.environ)
    env.update((name, template.text(value)) for name, value in (header.get("env") or {}).items())
    env.pop("PENSTOCK_FAILPOINT", None)  # is the runner's
    if "SLURM_CPUS_PER_TASK" in env:  # srun does not take it over since Slurm 22.05
        env.setdefault("SRUN_CPUS_PER_TASK", env["SLURM_CPUS_PER_TASK"])
    for name, value in params.items():
        text = template.text(value)
        if len(text.encode("utf-8", "surrogateescape")) <= LONGEST and "\0" not in text:
            env["PENSTOCK_PARAM_" + re.sub(r"\W", "_", name).upper()] = text
    return env


def ahead(env: "dict[str, str]", name: str, path: str) -> None:
    """Put a path in front of a variable that lists paths."""
    env[name] = path + (os.pathsep + env[name] if env.get(name) else "")


def archive() -> str:
    """Return the zip that this is run from."""
    return os.path.abspath(sys.path[0] if sys.path[0].endswith(".zip") else sys.argv[0])


def equip(folder: str, params: "dict[str, Any]", env: "dict[str, str]", python: str) -> None:
    """Write the parameters and `penstock-log` into a run's folder, and name them in ``env``."""
    ahead(env, "PYTHONPATH", archive())
    bin_ = os.path.join(folder, "bin")
    os.mkdir(bin_)
    ahead(env, "PATH", bin_)
    env["PENSTOCK_PARAMS"] = os.path.join(folder, "params.json")
    with open(env["PENSTOCK_PARAMS"], "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(params, file, ensure_ascii=False)
    logger = os.path.join(bin_, "penstock-log")
    with open(logger, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write('#!/bin/sh\nexec %s %s log "$@"\n' % (_quote(python), _quote(archive())))
    os.chmod(logger, 0o700)


def _bytes(text: str) -> bytes:
    """Return what the system gets: UTF-8 whatever the locale, and other bytes as they came."""
    return text.encode("utf-8", "surrogateescape")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


NOT_EXECUTABLE = {
    errno.EACCES: "may not be executed: chmod +x it, or name its interpreter",
    errno.ENOEXEC: "is no program: give it a first line such as #!/bin/sh",
}


class Command:
    """A process of its own session. Raises Trouble where it cannot be started."""

    def __init__(self, argv: "list[str]", env: "dict[str, str]", work: str, log: int) -> None:
        self.began = time.monotonic()
        self.status: "int | None" = None  # as of waitpid(2)
        parent = os.getpid()

        def become() -> None:
            usage.die_with(parent)
            signals.restore()

        signals.hold()
        try:
            self._process = subprocess.Popen(
                [_bytes(argument) for argument in argv],
                env={_bytes(name): _bytes(value) for name, value in env.items()},
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=become,  # noqa: PLW1509  this process has one thread
            )
        except (OSError, ValueError) as error:
            raise _trouble(argv, env, work, error) from None
        finally:
            signals.release()
        self.pid = self._process.pid

    def reap(self) -> None:
        """Take the status of what has ended, adopted processes too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self.pid:
                self.status = status
                self._process.returncode = 0  # it is not to be waited for again

    def forward(self, number: int) -> None:
        """Send a signal to the command's process group."""
        if self.status is None:
            try:
                os.killpg(self.pid, number)
            except OSError:
                return

    def sweep(self) -> int:
        """End all that is left below this process; return how many there were."""
        left = usage.tree(os.getpid(), self.pid)
        count = len(left)
        deadline = time.monotonic() + SWEEP_S
        while left and time.monotonic() < deadline:
            usage.end(left, signal.SIGKILL)
            signals.wait(0.05)
            self.reap()
            left = usage.tree(os.getpid(), self.pid)
        self.reap()
        return count

    @property
    def code(self) -> "int | None":
        """Return the exit code, or None where a signal ended it."""
        assert self.status is not None
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None

    @property
    def signal(self) -> "int | None":
        """Return the signal that ended it."""
        assert self.status is not None
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None


def _trouble(argv: "list[str]", env: "dict[str, str]", work: str, error: Exception) -> Trouble:
    from shutil import which  # noqa: PLC0415  it takes time, and this is rare

    program = argv[0]
    if isinstance(error, ValueError):  # a NUL
        return Trouble("the command cannot be started: %s" % error)
    assert isinstance(error, OSError)
    path = os.path.join(work, program) if "/" in program else which(program, path=env["PATH"])
    if error.errno == errno.E2BIG:
        return Trouble(
            "the command's arguments are too long for this system: read the parameters from the "
            "file that $PENSTOCK_PARAMS names"
        )
    if error.errno == errno.ENOENT and path and os.path.exists(path):
        return Trouble("%s: its first line (#!) names a program that is not here" % program, 127)
    if error.errno == errno.ENOENT:
        return Trouble(
            "%s: command not found on this node: is it in the code that was archived, or on PATH "
            "in the job?" % program,
            127,
        )
    what = NOT_EXECUTABLE.get(error.errno or 0, "cannot be started: %s" % words(error))
    return Trouble("%s %s" % (program, what), 126)
