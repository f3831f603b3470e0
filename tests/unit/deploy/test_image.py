"""The image of the test cluster's machines: when it is made anew, and what is taken away."""

import os
import subprocess
from pathlib import Path

import pytest

from deploy.test_cluster import image
from deploy.test_cluster.engine import Engine, NoEngine
from tests.program import calls, make_program

DOCKER = Engine("docker", ())
FILES = ("deploy/cluster/Dockerfile", "deploy/cluster/etc/slurm.conf", "accounts.py", "base.txt")


@pytest.fixture
def made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one file of each kind that an image is made of."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.setattr(image, "ROOT", tmp_path)
    monkeypatch.setattr(image, "FOLDER", tmp_path / "deploy" / "cluster")
    monkeypatch.setattr(image, "ACCOUNTS", tmp_path / "accounts.py")
    monkeypatch.setattr(image, "LOCKS", (tmp_path / "base.txt",))
    return tmp_path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but tar and cat."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("tar", "cat", "mkdir"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


# --- its name


@pytest.mark.parametrize("name", FILES)
def test_name_tells_each_change_of_what_it_is_made_of(made_of: Path, name: str) -> None:
    before = image.name("trixie")
    os.utime(made_of / name, (1, 1))
    assert image.name("trixie") == before
    (made_of / name).chmod(0o755)
    runnable = image.name("trixie")
    (made_of / name).write_text("other\n")
    assert len({before, runnable, image.name("trixie")}) == 3


def test_name_tells_of_which_debian_and_which_files(made_of: Path) -> None:
    trixie, bookworm = map(image.name, ("trixie", "bookworm"))
    assert trixie.startswith("penstock-cluster:trixie-")
    assert trixie.rpartition("-")[2] != bookworm.rpartition("-")[2]
    (made_of / "deploy" / "cluster" / "more").touch()
    assert image.name("trixie") != trixie


# --- older ones


def test_of_older_images_the_last_stays(path: Path) -> None:
    """Podman gives names that no registry has a host, and one image may have two names."""
    mine = ["localhost/penstock-cluster:trixie-new", "penstock-cluster:trixie-new"]
    mine += [f"localhost/penstock-cluster:trixie-{age}" for age in ("last", "old", "older")]
    others = ["penstock-cluster:bookworm-old", "debian:trixie-slim", "<none>:<none>"]
    listed = "\n".join([*others, *mine])
    docker = make_program(path, "docker", {"images *": f"echo '{listed}'", "rmi *": "exit 0"})
    image.forget_older(DOCKER, "trixie", "penstock-cluster:trixie-new")
    gone = [f"rmi penstock-cluster:trixie-{age}" for age in ("old", "older")]
    assert calls(docker)[1:] == gone


def test_image_that_is_here_is_not_made(made_of: Path, path: Path) -> None:
    docker = make_program(path, "docker", {"image inspect *": "exit 0"})
    assert image.make(DOCKER, "trixie") == image.name("trixie")
    assert calls(docker) == [f"image inspect {image.name('trixie')}"]


# --- the one that it begins with


def test_base_that_is_here_is_not_asked_for(path: Path) -> None:
    docker = make_program(path, "docker", {"image inspect debian:trixie-slim": "exit 0"})
    image.bring_base(DOCKER, "trixie")
    assert len(calls(docker)) == 1


def test_base_comes_from_a_registry_where_one_has_it(path: Path) -> None:
    answers = {"image inspect *": "exit 1", "pull debian:trixie-slim": "exit 0"}
    docker = make_program(path, "docker", answers)
    image.bring_base(DOCKER, "trixie")
    assert calls(docker)[1:] == ["pull debian:trixie-slim"]


NO_REGISTRY = {"image inspect *": "exit 1", "pull *": "exit 1"}
SOURCES = """echo 'Other http://one.invalid/debian
Debian http://mirror.invalid/debian-security/
Debian cdrom://two.invalid/
Debian http://mirror.invalid/debian/
Debian http://late.invalid/debian'"""


def test_base_is_made_where_no_registry_has_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "is_installable", lambda: True)
    make_program(path, "apt-get", {"indextargets *": SOURCES})
    tree = 'mkdir -p "$3/var/cache/apt/archives"; echo made >"$3/made"'
    debootstrap = make_program(path, "debootstrap", {"--variant=minbase *": tree})
    import_ = {"import - debian:trixie-slim": f"cat >{path}/imported"}
    make_program(path, "docker", {**NO_REGISTRY, **import_})
    image.bring_base(DOCKER, "trixie")
    (said,) = calls(debootstrap)
    assert said.startswith("--variant=minbase trixie /")
    assert said.endswith(" http://mirror.invalid/debian")
    listed = subprocess.run(
        ["/bin/tar", "-t", "-f", path / "imported"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "./made" in listed
    assert "./var/cache/apt/" not in listed, "packages that were fetched are not the image's"


@pytest.mark.parametrize("missing", ["debootstrap", "apt-get", "root"])
def test_base_that_nobody_can_make_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(image, "is_installable", lambda: missing != "root")
    for name, answers in {
        "apt-get": {"indextargets *": SOURCES}, "debootstrap": {"*": "exit 1"}
    }.items():  # fmt: skip
        if name != missing:
            make_program(path, name, answers)
    make_program(path, "docker", NO_REGISTRY)
    with pytest.raises(NoEngine, match=r"no registry gives debian:trixie-slim.*docker load"):
        image.bring_base(DOCKER, "trixie")
    assert calls(path / "debootstrap") == []
