"""Which engine the test cluster takes, and what it says where there is none."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.test_cluster import engine
from deploy.test_cluster.engine import ClusterError, Engine, NoEngine
from tests.program import calls, make_program

WELL = {"info": "exit 0", "compose version": "exit 0"}
STARTS = "run --rm --privileged --network=none debian:x true"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it, and a checkout without podman-compose."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    return tmp_path


def install_on(path: Path, **programs: Mapping[str, str]) -> None:
    for name, answers in programs.items():
        make_program(path, name.replace("_", "-"), answers)


# --- what is here


def test_docker_is_taken_before_podman(path: Path) -> None:
    install_on(path, docker=WELL, podman=WELL, podman_compose={})
    assert [one.name for one in engine.engines()] == ["docker", "podman"]
    assert next(engine.engines()).compose == ("docker", "compose")


@pytest.mark.parametrize("sick", WELL)
def test_docker_that_cannot_do_it_leaves_it_to_podman(path: Path, sick: str) -> None:
    """It does not answer, or it is older than `docker compose`."""
    install_on(path, docker={**WELL, sick: "exit 1"}, podman=WELL, podman_compose={})
    (podman,) = engine.engines()
    assert podman.compose == (str(path / "podman-compose"),)


def test_podman_compose_of_the_checkout_is_taken_first(path: Path) -> None:
    own = path / ".venv" / "bin"
    own.mkdir(parents=True)
    install_on(path, podman=WELL, podman_compose={})
    make_program(own, "podman-compose", {})
    assert next(engine.engines()).compose == (str(own / "podman-compose"),)


@pytest.mark.parametrize(
    "programs, why",
    [
        ({}, "neither docker nor podman is here"),
        ({"podman": WELL}, "no podman-compose"),
        ({"podman": {"info": "exit 1"}, "podman_compose": {}}, "`podman info` fails"),
        ({"docker": {"info": "exit 1"}}, "docker is here, but its engine does not answer"),
        ({"docker": {"info": "exit 1"}, "podman": WELL}, "docker is here.*; no podman-compose"),
    ],
)
def test_what_is_missing_is_said(path: Path, programs: dict[str, dict[str, str]], why: str) -> None:
    install_on(path, **programs)
    with pytest.raises(NoEngine, match=why):
        list(engine.engines())


# --- whether it starts containers


def test_engine_that_starts_a_container_is_left_as_it_is(path: Path) -> None:
    install_on(path, podman={STARTS: "exit 0"}, runc={})
    podman = Engine("podman", ("podman-compose",), {"A": "1"})
    assert engine.working(podman, "debian:x") is podman
    assert calls(path / "podman") == [STARTS]


def test_podman_that_needs_another_runtime_gets_it(path: Path) -> None:
    install_on(path, podman={STARTS: 'test -n "$CONTAINERS_CONF"'}, runc={})
    working = engine.working(Engine("podman", (), {"A": "1"}), "debian:x")
    assert working.env == {"A": "1", "CONTAINERS_CONF": str(engine.CONTAINERS_CONF)}
    assert len(calls(path / "podman")) == 2


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_engine_that_starts_none_is_none(path: Path, name: str) -> None:
    """Without runc nothing else is to be tried, and Docker knows nothing of Podman's files."""
    install_on(path, **{name: {STARTS: "echo no such cgroup >&2; exit 126"}})
    if name == "docker":
        install_on(path, runc={})
    with pytest.raises(NoEngine, match=f"{name} starts no container here: no such cgroup"):
        engine.working(Engine(name, ()), "debian:x")
    assert len(calls(path / name)) == 1


# --- its commands


def test_command_is_run_to_its_end_whatever_comes(path: Path) -> None:
    install_on(path, docker={"ps": r"printf 'a\377'; echo why >&2; exit 3", "wait": "exec sleep 9"})
    assert engine.run("docker", "ps").stdout == "a\N{REPLACEMENT CHARACTER}"
    assert engine.run("docker", "ps").returncode == 3
    assert engine.run("nothing-of-that-name").returncode == 127
    (path / "sleep").symlink_to("/bin/sleep")
    late = engine.run("docker", "wait", timeout_s=0.2)
    assert (late.returncode, late.stderr) == (124, "no answer in 0 s")


def test_what_an_engine_is_given_and_what_it_must(path: Path) -> None:
    install_on(path, docker={"a": 'echo "$B"; cat', "x": "echo bad >&2; exit 1"})
    (path / "cat").symlink_to("/bin/cat")
    docker = Engine("docker", (), {"B": "b"})
    assert docker.must("a", stdin=b"c\n") == "b\nc\n"
    with pytest.raises(ClusterError, match=r"^`docker x`: bad$"):
        docker.must("x")


def test_what_an_engine_tells_on_the_way_is_no_answer_of_ours(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`deploy/test-cluster image` prints the image's name, and nothing else."""
    install_on(path, docker={"build": "echo step 1", "x": "exit 2"})
    docker = Engine("docker", ())
    docker.show("build")
    assert capfd.readouterr() == ("", "step 1\n")
    with pytest.raises(ClusterError, match="`docker x` failed"):
        docker.show("x")


# --- installing


def test_engine_that_is_here_is_not_installed(path: Path) -> None:
    install_on(path, docker=WELL, apt_get={})
    engine.install()
    assert calls(path / "apt-get") == []


@pytest.mark.parametrize(
    "user, programs, why",
    [(0, {}, "only Debian and Ubuntu.*podman.*runc"), (1000, {"apt_get": {}}, "needs root")],
)
def test_where_nothing_can_be_installed_that_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, user: int, programs: dict[str, dict[str, str]],
    why: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "geteuid", lambda: user)
    install_on(path, **programs)
    with pytest.raises(NoEngine, match=why):
        engine.install()
    assert calls(path / "apt-get") == []


def test_old_lists_of_packages_are_renewed_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install_on(
        path,
        podman={"info": "exit 1"},
        apt_get={"update": f": >{path}/new", "install --yes *": f"test -e {path}/new"},
    )
    engine.install()
    install = f"install --yes --no-install-recommends {' '.join(engine.PACKAGES)}"
    assert calls(path / "apt-get") == [install, "update", install]
