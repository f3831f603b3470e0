"""Install Penstock and its peers as users do: a wheel, the locked requirements, a venv for each.

They lie where any user may read them, and what is timed has no more packages than it needs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.timing import BenchmarkError, say

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "benchmarks" / "scripts"


@contextmanager
def workplace() -> Iterator[Path]:
    """Make a folder that all may read, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def product(folder: Path) -> Path:
    """Install Penstock's wheel and what it needs, nothing else; return the folder of programs."""
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheel")
    return _venv(folder / "penstock", "base", *(folder / "wheel").glob("*.whl"))


def peers(folder: Path) -> Path:
    """Install the peers; return the folder of their programs."""
    return _venv(folder / "peers", "bench")


def add(programs: Path, *packages: str) -> None:
    """Install more into a venv, in the versions that are locked for development."""
    how = ("--quiet", "--python", programs / "python", "-c", ROOT / "requirements" / "dev.txt")
    _run(_uv(), "pip", "install", *how, *packages)


def scripts(folder: Path) -> Path:
    """Copy what the benchmarks run in those venvs to where all may read it."""
    return Path(shutil.copytree(SCRIPTS, folder / "scripts"))


def version(programs: Path, name: str) -> str:
    """Return a package's name with the version that is installed there."""
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    argv = (programs / "python", "-c", ask)
    return (
        f"{name} {subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()}"
    )


def _venv(folder: Path, requirements: str, *wheels: Path) -> Path:
    say(f"installing {folder.name}")
    programs = folder / "bin"
    _run(_uv(), "venv", "--quiet", "--python", python(), folder)
    install = (
        _uv(),
        "pip",
        "install",
        "--quiet",
        "--compile-bytecode",
        "--python",
        programs / "python",
    )
    _run(*install, "--require-hashes", "-r", ROOT / "requirements" / f"{requirements}.txt")
    for wheel in wheels:
        _run(*install, "--no-deps", wheel)
    return programs


def _uv() -> str:
    return shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "uv"


def python() -> str:
    """Return a Python for all users: the system's where it is new enough, else this one."""
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    is_new = "import sys; sys.exit(sys.version_info < (3, 11))"
    if found and subprocess.run([found, "-c", is_new], check=False).returncode == 0:
        return found
    return sys.executable


def _run(*argv: str | Path) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{argv} ended with {done.returncode}: {done.stderr[-3000:]}")
