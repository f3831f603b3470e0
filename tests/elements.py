"""Arrays for tests of the runner: real files, and the real zip run by a real Python.

PENSTOCK_TEST_PYTHON names another Python for compute nodes, such as a 3.6.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.reconciler.install import build
from penstock.wire import manifest, place, spool

PYTHON = os.environ.get("PENSTOCK_TEST_PYTHON", sys.executable)
PATIENCE_S = 60.0
# What a batch script does before it begins the runner.
SCRIPT = "trap '' TERM USR1 USR2; exec \"$@\""

Record = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """What a runner left behind."""

    code: int
    err: str
    records: list[Record]
    log: str

    def of(self, kind: str) -> list[Record]:
        return [record for record in self.records if record["k"] == kind]

    @property
    def exit(self) -> Record:
        return self.of("exit")[-1]

    @property
    def notes(self) -> str:
        return "\n".join(str(record["what"]) for record in self.of("note"))

    def points(self, key: str) -> list[tuple[int, float]]:
        return [
            point
            for record in self.of("m")
            if record["key"] == key
            for point in zip(record["steps"], record["values"], strict=True)
        ]


@dataclass
class Array:
    """An array of elements that all run the same command."""

    home: Path
    header: Record = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.home / "arrays" / "tok"
        self.results = self.home / "results"
        self.scratch = self.home / "scratch"
        self.zip = self.home / "runner.zip"

    def write(self, params: list[Record]) -> None:
        header: Record = {
            "token": "tok",
            "command": ["true"],
            "env": {},
            "code": None,
            "scratch": str(self.scratch),
            "work": str(self.home / "work"),
            "results": str(self.results),
            "outputs": [],
            "metrics": {},
            "beat_s": 30,
        }
        entries = [
            manifest.entry(f"e/{i}", f"u{i}", 1, json.dumps(values))
            for i, values in enumerate(params)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(exist_ok=True)
        self.zip.write_bytes(build()[1])
        whole = manifest.encode(header | self.header, entries)
        (self.folder / place.MANIFEST).write_bytes(whole)

    def start(
        self, index: int = 0, *, job: int = 12, restart: int = 0, **env: str
    ) -> "subprocess.Popen[str]":
        """Begin a runner as a batch script does."""
        slurm = {"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(index)}
        if restart:
            slurm["SLURM_RESTART_COUNT"] = str(restart)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        argv = [PYTHON, str(self.zip), str(self.folder)]
        return subprocess.Popen(
            ["bash", "-c", SCRIPT, "script", *argv],
            env=kept | slurm | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, index: int = 0, *, job: int = 12, restart: int = 0, **env: str) -> Ended:
        process = self.start(index, job=job, restart=restart, **env)
        return self.end(process, index, restart)

    def end(self, process: "subprocess.Popen[str]", index: int = 0, restart: int = 0) -> Ended:
        """Wait for a runner; return what it left."""
        _, err = process.communicate(timeout=PATIENCE_S)
        log = self.folder / place.log(index, restart)
        said = log.read_text(errors="replace") if log.exists() else ""
        return Ended(process.returncode, err, self.records(index, restart), said)

    def records(self, index: int = 0, restart: int = 0) -> list[Record]:
        """Return what a spool tells, be it open or done; every line must be whole."""
        for done in (True, False):
            path = self.folder / place.spool(index, restart, done)
            if path.exists():
                records, _, bad = spool.decode(path.read_bytes())
                assert bad == 0
                return records
        return []

    def is_done(self, index: int = 0, restart: int = 0) -> bool:
        return (self.folder / place.spool(index, restart, done=True)).exists()

    def result(self, name: str, index: int = 0) -> Path:
        return self.results / "e" / str(index) / name

    def left_on_scratch(self) -> list[Path]:
        return list(self.scratch.glob("penstock-*/run/*"))


def make_array(
    home: Path, *command: str, params: list[Record] | None = None, **header: Any
) -> Array:
    """Return an array whose elements run a command, one for each set of parameters."""
    array = Array(home, {"command": list(command), **header})
    array.write([{}] if params is None else params)
    return array


def shell(home: Path, script: str, **header: Any) -> Array:
    """Return an array of one element that runs a shell script."""
    return make_array(home, "sh", "-c", script.replace("{", "{{").replace("}", "}}"), **header)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def processes(mark: str) -> Iterator[int]:
    """Yield the processes that have a word in their command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in words and state != "Z":
            yield int(folder.name)
