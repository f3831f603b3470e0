"""The rules of this repository that no other tool checks."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "penstock"
MODULES = sorted(path for path in SRC.rglob("*.py") if "versions" not in path.parts)
MAX_LINES = 400

# Written so that this file does not name them.
REGISTRIES = [
    ".".join(words)
    for words in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]

# What each lock file pins: groups, extras, and whether the package's own dependencies.
LOCKS: dict[str, tuple[list[str], list[str], bool]] = {
    "build": (["build"], [], False),
    "base": ([], [], True),
    "dev": (["dev"], ["ssh", "postgres"], True),
    "test": (["test"], ["ssh", "postgres"], True),
    "cluster": (["cluster"], [], False),
    "demo": (["demo"], [], True),
    "bench": (["bench"], [], False),
}


def tracked_files() -> list[Path]:
    try:
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def relative(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def test_no_registry_is_named() -> None:
    """A site has its own mirror: which index serves is for the installer to say."""
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked_files()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    ]
    assert not found


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_is_short(path: Path) -> None:
    count = len(path.read_text(encoding="utf-8").splitlines())
    assert count <= MAX_LINES, (
        f"{relative(path)} has {count} lines: it is about more than one thing"
    )


def test_design_names_every_module() -> None:
    """Each module has a line, where its path below src/penstock stands in backticks."""
    design = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    modules = {relative(path) for path in MODULES if path.name != "__init__.py"}
    missing = sorted(module for module in modules if f"`{module}`" not in design)
    assert not missing, "DESIGN.md needs a line for each of these, its path in backticks"


def test_design_names_no_module_that_is_gone() -> None:
    design = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", design)
    assert [
        name for name in named if not (SRC / name).exists() and not (ROOT / name).exists()
    ] == []


# --- the lock -------------------------------------------------------------------------------------


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def group(name: str) -> Iterator[str]:
    for entry in pyproject()["dependency-groups"][name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from group(entry["include-group"])


def wanted(lock: str) -> list[Requirement]:
    groups, extras, with_own = LOCKS[lock]
    project = pyproject()["project"]
    texts = [text for name in groups for text in group(name)]
    texts += [text for name in extras for text in project["optional-dependencies"][name]]
    texts += project["dependencies"] if with_own else []
    return [Requirement(text) for text in texts]


def pins(lock: str) -> dict[str, set[str]]:
    """Return the versions that a lock file pins, by name; two where they differ by Python."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), set()).add(version)
    return versions


def asked_for(lock: str) -> set[str]:
    """Return the names that a lock file holds because pyproject.toml asked, not another package."""
    names, name = set(), ""
    for line in (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==", line):
            name = canonicalize_name(match[1])
        elif "pyproject.toml" in line:
            names.add(name)
    return names


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_is_not_stale(lock: str) -> None:
    """Each requirement is pinned as it allows, and nothing is locked that nobody asks for."""
    requirements = wanted(lock)
    versions = pins(lock)
    unmet = [
        str(requirement)
        for requirement in requirements
        if not versions.get(canonicalize_name(requirement.name))
        or not all(
            requirement.specifier.contains(version)
            for version in versions[canonicalize_name(requirement.name)]
        )
    ]
    left_over = asked_for(lock) - {
        canonicalize_name(requirement.name) for requirement in requirements
    }
    assert (unmet, left_over) == ([], set()), "pyproject.toml has changed: make lock"


def test_locks_agree() -> None:
    """What goes into the one .venv has one version of each package; peers have their own."""
    every: dict[str, dict[str, set[str]]] = {}
    for lock in LOCKS.keys() - {"bench"}:
        for name, versions in pins(lock).items():
            every.setdefault(name, {})[lock] = versions
    assert {name: by for name, by in every.items() if len({*map(frozenset, by.values())}) > 1} == {}


def test_every_set_has_a_lock() -> None:
    files = {path.stem for path in (ROOT / "requirements").iterdir()}
    assert files == set(LOCKS)
    assert set(pyproject()["dependency-groups"]) <= {
        name for groups, _, _ in LOCKS.values() for name in groups
    } | {"demo"}


# --- compute nodes --------------------------------------------------------------------------------


# By SSH, to whatever Python is there.
SENT = tuple(f"transport/{name}.py" for name in ("files", "programs", "remote"))


def compute_node_modules() -> list[Path]:
    folders = ("wire", "runner", "tracking")
    return [
        path
        for path in MODULES
        if relative(path) in ("__init__.py", "failpoint.py", *SENT)
        or relative(path).split("/")[0] in folders
    ]


@pytest.mark.parametrize("path", compute_node_modules(), ids=relative)
def test_compute_node_module_imports_only_what_is_there(path: Path) -> None:
    """A compute node has a Python and our zip, and nothing else."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    ]
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"penstock"}
    assert not foreign


# --- the wheel ------------------------------------------------------------------------------------


def test_wheel_holds_what_is_not_python(tmp_path: Path) -> None:
    """The templates stand outside the package, and come in by a link."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {
        f"penstock/slurm_templates/{path.name}" for path in (ROOT / "slurm_templates").glob("*.j2")
    }
    assert templates | {"penstock/py.typed"} <= names
    assert templates
