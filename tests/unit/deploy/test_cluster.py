"""The test cluster itself: its network, its composition, up, down, and how it is waited for."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deploy.test_cluster import engine, image
from deploy.test_cluster.cluster import COMPOSE_FILE, MACHINES, Cluster, free_network
from deploy.test_cluster.engine import ClusterError, Engine, NoEngine
from tests.program import calls, make_program

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"


# --- its network


def routes(folder: Path, *known: str) -> Path:
    """Write networks as /proc/net/route has them."""

    def word(address: str) -> str:
        return bytes(map(int, address.split(".")))[::-1].hex().upper()

    lines = [
        f"eth0\t{word(address)}\t00000000\t0001\t0\t0\t0\t{word(mask)}\t0\t0\t0"
        for address, mask in (one.split("/") for one in known)
    ]
    path = folder / "route"
    path.write_text("".join(f"{line}\n" for line in (HEADER, *lines)))
    return path


def test_network_is_the_clusters_own_and_stays(tmp_path: Path) -> None:
    everything = routes(tmp_path, "0.0.0.0/0.0.0.0", "192.0.2.0/255.255.255.0")
    one, other = (free_network(name, everything) for name in ("one", "other"))
    assert one != other
    assert re.fullmatch(r"10\.2[12]\d\.\d+", one)
    assert free_network("one", everything) == one
    seconds = {free_network(str(number), everything).split(".")[1] for number in range(9)}
    assert len(seconds) > 1, "other checkouts, of which this host may not see the networks"
    assert free_network("one", tmp_path / "no-linux") == one


@pytest.mark.parametrize("mask", ["255.255.255.0", "255.255.255.255", "255.255.0.0"])
def test_network_that_the_host_knows_is_not_taken(tmp_path: Path, mask: str) -> None:
    usual = free_network("one", routes(tmp_path))
    address = {"255.255.0.0": f"{usual.rpartition('.')[0]}.0.0"}.get(mask, f"{usual}.0")
    found = free_network("one", routes(tmp_path, f"{address}/{mask}"))
    assert found != usual
    assert (found.split(".")[0] == "10") == (mask != "255.255.0.0")


def test_network_of_an_institute_that_has_all_of_10_is_kept_out_of(tmp_path: Path) -> None:
    found = free_network("one", routes(tmp_path, "10.0.0.0/255.0.0.0"))
    assert found.startswith("192.168.")


def test_where_no_network_is_free_that_is_said(tmp_path: Path) -> None:
    whole = ("10.0.0.0/255.0.0.0", "192.168.0.0/255.255.0.0", "172.16.0.0/255.240.0.0")
    with pytest.raises(ClusterError, match="ip route"):
        free_network("one", routes(tmp_path, *whole))


# --- its composition, by each reader that is here


VALUES = {
    "PENSTOCK_CLUSTER": "mine",
    "PENSTOCK_CLUSTER_DEBIAN": "trixie",
    "PENSTOCK_CLUSTER_IMAGE": "penstock-cluster:of-mine",
    "PENSTOCK_CLUSTER_NETWORK": "10.1.2",
}


def by_yaml() -> Any:
    def value(found: re.Match[str]) -> str:
        return VALUES.get(found[1], found[2])

    text = re.sub(r"\$\{(\w+):-([^}]*)\}", value, COMPOSE_FILE.read_text())
    assert "$" not in text
    return YAML(typ="safe").load(text)


def by_compose() -> Any:
    argv = ["docker", "compose", "-f", str(COMPOSE_FILE), "config", "--format", "json"]
    done = subprocess.run(argv, env=with_values(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_podman_compose() -> Any:
    argv = [str(engine.podman_compose()), "-f", str(COMPOSE_FILE), "config"]
    done = subprocess.run(argv, env=with_values(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return YAML(typ="safe").load(done.stdout.decode())


def with_values() -> dict[str, str]:
    return {**os.environ, **VALUES}


def has_compose() -> bool:
    done = engine.run("docker", "compose", "version")
    return done.returncode == 0 and "v1." not in done.stdout


READERS = [
    by_yaml,
    pytest.param(
        by_compose, marks=pytest.mark.skipif(not has_compose(), reason="needs docker compose")
    ),
    pytest.param(
        by_podman_compose,
        marks=pytest.mark.skipif(
            engine.podman_compose() is None or shutil.which("podman") is None,
            reason="needs podman-compose (make test-cluster)",
        ),
    ),
]


def hosts(extra: Any) -> dict[str, str]:
    """Return the lines of /etc/hosts, which readers write in their own ways."""
    return dict(re.split("[:=]", one, maxsplit=1) for one in extra)


@pytest.mark.parametrize("read", READERS)
def test_composition_has_the_machines_as_they_are_asked_for(read: Callable[[], Any]) -> None:
    """Names, parts and health are those of `MACHINES`; addresses are the ones that all know."""
    whole = read()
    services = whole["services"]
    assert set(services) == set(MACHINES)
    addresses = {}
    for machine, part in MACHINES.items():
        one = services[machine]
        assert one["container_name"] == f"mine-{machine}"
        assert one["hostname"] == machine
        assert one["image"] == "penstock-cluster:of-mine"
        assert one["command"] == [part]
        assert one["healthcheck"]["test"] == ["CMD", "/opt/cluster/healthy", part]
        assert one["restart"] == "no"
        assert one.get("privileged", False) == (part == "node")
        addresses[machine] = one["networks"]["default"]["ipv4_address"]
    assert all(hosts(one["extra_hosts"]) == addresses for one in services.values())
    assert len(set(addresses.values())) == len(MACHINES)
    (config,) = whole["networks"]["default"]["ipam"]["config"]
    assert config == {"subnet": "10.1.2.0/24"}
    assert all(address.startswith("10.1.2.") for address in addresses.values())


def volume(one: Any) -> tuple[str, str]:
    if isinstance(one, str):
        source, target = one.split(":")
        return source, target
    assert one["type"] == "volume"
    return one["source"], one["target"]


@pytest.mark.parametrize("read", READERS)
def test_composition_shares_a_folder_and_gives_each_node_its_scratch(
    read: Callable[[], Any],
) -> None:
    whole = read()
    mounts = {
        machine: sorted(map(volume, one.get("volumes", [])))
        for machine, one in whole["services"].items()
    }
    shared = ("shared", "/shared")
    assert mounts.pop("laptop") == []
    for number in (1, 2, 3):
        assert mounts.pop(f"n{number}") == [(f"scratch{number}", "/scratch"), shared]
    assert set(mounts) == set(MACHINES) - {"laptop", "n1", "n2", "n3"}
    assert all(mount == [shared] for mount in mounts.values())
    assert set(whole["volumes"]) == {"shared", "scratch1", "scratch2", "scratch3"}


# --- the engine


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but some of the system's small programs."""
    for name in ("env", "grep", "cat", "rm", "ls"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "ROOT", tmp_path)
    return tmp_path


def mine(name: str = "docker", compose: tuple[str, ...] = ("docker", "compose")) -> Cluster:
    """Return a cluster whose engine has been chosen."""
    one = Cluster("trixie")
    one.__dict__["engine"] = Engine(name, compose)
    return one


BASE = "image inspect debian:trixie-slim"
STARTS = "run --rm --privileged --network=none debian:trixie-slim true"
DOCKER = {"info": "exit 0", "compose version": "exit 0", BASE: "exit 0", STARTS: "exit 0"}
PODMAN = {"info": "exit 0", BASE: "exit 0", STARTS: "exit 0"}


@pytest.mark.parametrize(
    "sick, chosen",
    [
        ({}, "docker"),
        ({STARTS: "echo apply caps: not permitted >&2; exit 125"}, "podman"),
        ({BASE: "exit 1", "pull *": "exit 1"}, "podman"),
    ],
)
def test_engine_is_the_first_that_starts_a_container(
    path: Path, sick: dict[str, str], chosen: str
) -> None:
    make_program(path, "docker", {**DOCKER, **sick})
    make_program(path, "podman", PODMAN)
    make_program(path, "podman-compose", {})
    assert Cluster("trixie").engine.name == chosen


def test_why_no_engine_starts_one_is_said_of_each(path: Path) -> None:
    make_program(path, "docker", {**DOCKER, STARTS: "echo caps >&2; exit 125"})
    make_program(path, "podman", {**PODMAN, STARTS: "echo cgroups >&2; exit 126"})
    make_program(path, "podman-compose", {})
    both = "docker starts no container here: caps; podman starts no container here: cgroups"
    with pytest.raises(NoEngine, match=both):
        _ = Cluster("trixie").engine


# --- up


def test_composition_is_told_what_is_this_checkouts(path: Path) -> None:
    noted = f"env | grep ^PENSTOCK_CLUSTER >{path}/told"
    docker = make_program(path, "docker", {"compose -p * up -d": noted})
    one = mine()
    one.compose("up", "-d")
    told = dict(line.split("=", 1) for line in (path / "told").read_text().splitlines())
    assert told == {
        "PENSTOCK_CLUSTER": one.project,
        "PENSTOCK_CLUSTER_DEBIAN": "trixie",
        "PENSTOCK_CLUSTER_IMAGE": image.name("trixie"),
        "PENSTOCK_CLUSTER_NETWORK": free_network(one.project),
    }
    assert set(told) == set(VALUES) == set(re.findall(r"\$\{(\w+)", COMPOSE_FILE.read_text()))
    assert calls(docker) == [f"compose -p {one.project} -f {COMPOSE_FILE} up -d"]


def test_composition_that_does_not_start_is_an_error_with_what_was_said(path: Path) -> None:
    make_program(path, "docker", {"compose *": "echo out; echo no such image >&2; exit 1"})
    with pytest.raises(ClusterError, match="out\nno such image"):
        mine().compose("up")


def test_clusters_of_two_debians_share_no_name() -> None:
    trixie, bookworm = Cluster("trixie").project, Cluster("bookworm").project
    assert not trixie.startswith(bookworm)
    assert not bookworm.startswith(trixie)


def sick_until(path: Path, machine: str, times: int) -> str:
    """Return what a program does that says so some times that a machine is not healthy."""
    return f"""case "$*" in *-{machine}\\ *) echo . >>{path}/tries
        [ "$(cat {path}/tries | grep -c .)" -gt {times} ] ;; esac"""


def test_machines_are_waited_for(path: Path) -> None:
    docker = make_program(path, "docker", {"exec *": sick_until(path, "n2", 2)})
    mine().wait()
    asked = [line for line in calls(docker) if "-n2 " in line]
    assert asked == [f"exec -i --user=root {mine().container('n2')} /opt/cluster/healthy node"] * 3


def test_machine_that_stays_sick_is_named_with_what_it_said(path: Path) -> None:
    logs = f"logs --tail=15 {mine().container('n2')}"
    answers = {"exec *": sick_until(path, "n2", 99), logs: "echo waiting for slurmdbd"}
    make_program(path, "docker", answers)
    with pytest.raises(ClusterError, match="0 s not healthy: n2\nn2: waiting for slurmdbd"):
        mine().wait(0)


def test_command_on_a_machine_that_fails_is_an_error_where_it_must_not(path: Path) -> None:
    make_program(path, "docker", {"exec *": "echo bad >&2; exit 4"})
    assert mine().run("n1", "false").returncode == 4
    with pytest.raises(ClusterError, match=r"^n1: `false x` \(4\): bad$"):
        mine().must("n1", "false", "x")


# --- down


def made(path: Path, *, is_stuck: bool = False) -> Path:
    """Make an engine that has things of this cluster and of others, and forgets what is removed."""
    of_mine, of_others = mine().project, Cluster("bookworm").project
    things = {
        "ps": [f"{of_mine}-n1", f"{of_mine}-n2", f"{of_others}-n1", f"{of_mine}x-n1"],
        "volume": [f"{of_mine}_shared", f"{of_others}_shared"],
        "network": [f"{of_mine}_default", "bridge"],
    }
    for kind, names in things.items():
        (path / kind).mkdir()
        for name in names:
            (path / kind / name).touch()
    gone = 'shift {}; cd {}/{}; rm -f "$@"'
    remove = "exit 0" if is_stuck else gone.format(3, path, "ps")
    return make_program(
        path,
        "docker",
        {
            "ps -a --format {{.Names}}": f"ls {path}/ps",
            "volume ls --format {{.Name}}": f"ls {path}/volume",
            "network ls --format {{.Name}}": f"ls {path}/network",
            "unpause *": "exit 1",  # most are not paused
            "rm --force --volumes *": remove,
            "volume rm --force *": gone.format(3, path, "volume"),
            "network rm *": gone.format(2, path, "network"),
        },
    )


def test_down_removes_all_of_this_cluster_and_nothing_else(path: Path) -> None:
    docker = made(path)
    mine().down()
    left = sorted(
        one.name for kind in ("ps", "volume", "network") for one in (path / kind).iterdir()
    )
    others = Cluster("bookworm").project
    assert left == sorted([f"{others}-n1", f"{mine().project}x-n1", f"{others}_shared", "bridge"])
    does = [line.split()[0] for line in calls(docker) if line.split()[0] in ("unpause", "rm")]
    assert does == ["unpause", "unpause", "rm"], "one that is paused cannot be ended"
    mine().down()


def test_down_that_leaves_something_is_an_error(path: Path) -> None:
    made(path, is_stuck=True)
    with pytest.raises(ClusterError, match=f"still there: .*{mine().project}-n1"):
        mine().down()
