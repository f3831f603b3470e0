"""Ask git which files it does not ignore, and which commit they are of."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import StagingError

# Set where git itself calls us: they name another repository or index than the folder's.
CONFUSING = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})


@dataclass(frozen=True)
class Version:
    """The commit of a folder; empty where git has none."""

    commit: str = ""
    is_dirty: bool = False


def files(folder: Path) -> list[str]:
    """Return what git does not ignore below a folder; nothing where there is no git.

    Nothing, too, where git ignores the folder itself. Raises StagingError where git refuses.
    """
    return sorted(set(_files(folder))) if _is_tracked(folder) else []


def _files(folder: Path) -> Iterator[str]:
    for name in _git(folder, "ls-files", "-co", "--exclude-standard", "-z").split("\0"):
        path = folder / name
        if not name or not os.path.lexists(path):
            continue  # deleted, and not committed yet
        if path.is_dir() and not path.is_symlink():  # a submodule, or a repository in this one
            inner = files(path) if (path / ".git").exists() else []
            yield from (f"{name.rstrip('/')}/{below}" for below in inner)
        else:
            yield name


def version(folder: Path) -> Version:
    """Return the commit of a folder, and whether its tracked files differ from it."""
    if not _is_tracked(folder):
        return Version()
    commit = _run(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None or commit.returncode:
        return Version()  # no commit yet
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return Version(commit.stdout.strip(), bool(changed.strip()))


def _is_tracked(folder: Path) -> bool:
    found = _run(folder, "rev-parse", "--is-inside-work-tree")
    if found is None or "not a git repository" in found.stderr.lower():
        return False
    if found.returncode:
        raise _refused(folder, found)
    return found.stdout.strip() == "true"


def _git(folder: Path, *arguments: str) -> str:
    done = _run(folder, *arguments)
    if done is None or done.returncode:
        raise _refused(folder, done)
    return done.stdout


def _refused(folder: Path, done: "subprocess.CompletedProcess[str] | None") -> StagingError:
    said = done.stderr.strip() if done else "it has gone"
    return StagingError(f"git does not say which files {folder} has: {said}")


def _run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
    env = {name: value for name, value in os.environ.items() if name not in CONFUSING}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**env, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError:
        return None
