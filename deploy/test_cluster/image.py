"""The image of all machines: made once for each state of what it is made of, then kept."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.test_cluster.engine import (
    ROOT,
    ClusterError,
    Engine,
    NoEngine,
    is_installable,
    run,
    say,
)

FOLDER = ROOT / "deploy" / "cluster"
ACCOUNTS = ROOT / "deploy" / "local_slurm" / "accounts.py"
LOCKS = tuple(ROOT / "requirements" / f"{name}.txt" for name in ("build", "base", "test"))
# Debian's releases, each with its Slurm and its Python.
PYTHON = {"trixie": "3.13", "bookworm": "3.11"}
BUILD = ROOT / "build" / "cluster"


def base(debian: str) -> str:
    """Return the image that the Dockerfile begins with."""
    return f"debian:{debian}-slim"


def digest(debian: str) -> str:
    """Return a digest of all that the image is made of."""
    files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    whole = hashlib.sha256(debian.encode())
    for path in (*files, ACCOUNTS, *LOCKS):
        whole.update(f"\0{path.relative_to(ROOT)}\0{path.stat().st_mode & 0o111}\0".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def name(debian: str) -> str:
    """Return the name of the image, in which its digest stands."""
    return f"penstock-cluster:{debian}-{digest(debian)}"


def is_here(engine: Engine, image: str) -> bool:
    return engine("image", "inspect", image).returncode == 0


def bring_base(engine: Engine, debian: str) -> None:
    """Have the image to begin with: from here, from a registry, or made by debootstrap."""
    image = base(debian)
    if is_here(engine, image):
        return
    say(f"{image} is not here; asking for it")
    if engine("pull", image, timeout_s=300).returncode == 0:
        return
    mirror = debian_mirror()
    if not (mirror and is_installable() and shutil.which("debootstrap")):
        raise NoEngine(
            f"no registry gives {image}, and to make it takes debootstrap, root and a Debian whose "
            "apt names a mirror; on another machine: docker save, and docker load here"
        )
    say(f"no registry has given it: making it by debootstrap from {mirror}")
    # Not in the checkout: its owner, or a mount without devices, may be in the way.
    with tempfile.TemporaryDirectory(prefix="penstock-base-") as folder:
        tree = Path(folder) / "tree"
        argv = ["debootstrap", "--variant=minbase", debian, str(tree), mirror]
        done = run(*argv, timeout_s=1800)
        if done.returncode != 0:
            raise ClusterError(f"`{' '.join(argv)}`: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        shutil.rmtree(tree / "var" / "cache" / "apt", ignore_errors=True)
        with subprocess.Popen(["tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                [engine.name, "import", "-", image],
                stdin=tar.stdout,
                stdout=2,
                env={**os.environ, **engine.env},
                check=True,
            )


def debian_mirror() -> str:
    """Return where apt of this Debian takes packages from; nothing on other systems."""
    wanted = ("indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages")
    for line in run("apt-get", *wanted).stdout.splitlines():
        origin, _, uri = line.partition(" ")
        if origin == "Debian" and re.match(r"https?://", uri) and "security" not in uri:
            return uri.rstrip("/")
    return ""


def make_context(debian: str) -> Path:
    """Gather what the image is built from: files, wheels, and how apt fetches here."""
    context = BUILD / debian
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(FOLDER, context)
    shutil.copy(ACCOUNTS, context)
    (context / "requirements").mkdir()
    for lock in LOCKS:
        shutil.copy(lock, context / "requirements")
    apt = context / "apt" / "apt.conf.d"
    apt.mkdir(parents=True)
    proxies = [line for line in run("apt-config", "dump").stdout.splitlines() if "::Proxy " in line]
    (apt / "90host").write_text("".join(f"{line}\n" for line in proxies))
    (apt.parent / "mirror").write_text(f"{debian_mirror()}\n")
    wheels = BUILD / f"wheels-{PYTHON[debian]}"
    fetch_wheels(wheels, PYTHON[debian])
    shutil.copytree(wheels, context / "wheels")
    return context


def fetch_wheels(folder: Path, python: str) -> None:
    """Fetch the locked wheels for the image's Python, with pip as it is set on this machine."""
    say(f"fetching wheels for Python {python}")
    machine = platform.machine()
    tags = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    for lock in LOCKS:
        argv = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--require-hashes", "--only-binary=:all:", f"--python-version={python}",
            "--implementation=cp", *(f"--platform={tag}_{machine}" for tag in tags),
            f"--dest={folder}", f"--requirement={lock}",
        ]  # fmt: skip
        done = run(*argv, timeout_s=900)
        if done.returncode != 0:
            raise ClusterError(f"fetching wheels failed: {done.stderr[-2000:]}")


def make(engine: Engine, debian: str) -> str:
    """Make the image unless it is here; return its name."""
    image = name(debian)
    if is_here(engine, image):
        return image
    say(f"making the image {image}: some minutes, once")
    make_context(debian)
    proxies = [
        f"--build-arg={key}"
        for key in ("http_proxy", "https_proxy", "no_proxy")
        if key in os.environ
    ]
    options = ("--network=host", f"--build-arg=DEBIAN={debian}", *proxies)
    engine.show("build", *options, f"--tag={image}", str(BUILD / debian))
    forget_older(engine, debian, image)
    return image


def forget_older(engine: Engine, debian: str, image: str) -> None:
    """Remove images of earlier states but the last: each has hundreds of megabytes.

    The last one may be that of another checkout, such as the one that CI has.
    """
    listed = engine("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    names = dict.fromkeys(found.removeprefix("localhost/") for found in listed)  # the newest first
    mine = [one for one in names if one.startswith(f"penstock-cluster:{debian}-") and one != image]
    for one in mine[1:]:
        engine("rmi", one)
