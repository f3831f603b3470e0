"""A project of an ordinary user, with a sweep in it, for a benchmark."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import As, Ended

# Two parameters in as many combinations as asked for; a Python fits into the memory.
SPEC = """\
experiment: grid
command: {command}
params:
  lr: {{from: 0.001, to: 1, count: {side}}}
  seed: {{from: 1, to: {other}}}
request: {{cpus: 1, mem: 200M, time: 10m}}
"""


@dataclass(frozen=True)
class Project:
    """A folder that is in use, and the command that works in it."""

    folder: Path
    penstock: Path
    user: As

    def run(self, *words: str) -> Ended:
        """Run a command of Penstock in the project."""
        return self.user.run(self.penstock, "--project", self.folder, *words)

    def submit(self) -> Ended:
        """Submit its sweep."""
        return self.run("submit", str(self.folder / "sweep.yaml"))


def make(user: As, penstock: Path, folder: Path, runs: int, *command: str) -> Project:
    """Make a project, its spec, and node-local scratch as sites have it.

    It is looked at once: the first command after settings were changed checks them.
    """
    user.run(penstock, "init", folder)
    scratch = folder.with_name(f"{folder.name}.scratch")
    user.run("mkdir", scratch)
    with (folder / "penstock.toml").open("a") as settings:
        settings.write(f'scratch = "{scratch}"\n')
    side = next(side for side in range(round(runs**0.5), 0, -1) if runs % side == 0)
    spec = SPEC.format(command=list(command) or ["true"], side=side, other=runs // side)
    (folder / "sweep.yaml").write_text(spec)
    made = Project(folder, penstock, user)
    made.run("runs")
    return made


def inodes(folder: Path) -> int:
    """Return how many files and folders there are below a folder, by quota: links count once."""
    found: set[int] = set()
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                found.add((Path(path) / name).lstat().st_ino)
            except FileNotFoundError:  # it was renamed just now
                continue
    return len(found)
