"""Compute nodes that are machines: their own scratch, and what becomes of runs when one is lost."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.containers import (
    Seat,
    cut_off,
    is_down,
    killed,
    mend,
    paused,
    wait_until_down,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

GOOD = ("completed", None, 1)
TWO = ("n1", "n2")  # nodes where only the tests of this file run something
BEGUN = 'echo "$PENSTOCK_RUN $PENSTOCK_RESTART $(hostname)" >> {root}/begun'
Loss = Callable[[Cluster, str], AbstractContextManager[None]]


def held(seat: Seat, name: str, *after: str) -> str:
    """Return a script that says where it begins, and ends when its gate is opened."""
    begun = BEGUN.format(root=seat.root)
    until = f"until [ -e {seat.root}/{name}.gate ]; do sleep 0.2; done"
    return "; ".join([begun, until, *after])


def on(node: str) -> dict[str, object]:
    return {"request": {"options": [f"--nodelist={node}"]}}


def begun(seat: Seat) -> list[str]:
    return sorted(seat.read("begun"))


def test_scratch_is_the_nodes_own(alice: Seat, cluster: Cluster) -> None:
    """Each run works in a folder that no other machine has, and leaves nothing of it there."""
    script = held(alice, "where", "pwd > out", "hostname >> out")
    for node in TWO:
        alice.submit(f"where{node}", script, outputs=["out"], **on(node))
    alice.until(lambda: len(begun(alice)) == len(TWO), "the commands")
    ours = ("sh", "-c", "ls -d /scratch/penstock-*/run/*")
    for node in TWO:
        assert len(cluster.must(node, *ours).split()) == 1
    for login in ("login1", "login2"):
        assert cluster.run(login, *ours).stdout == ""
    alice.write("where.gate", "")
    for node in TWO:
        assert alice.states(f"where{node}") == [GOOD]
        folder, host = alice.read(f"runs/where{node}/1/out")
        assert folder.startswith("/scratch/")
        assert host == node
        gone = cluster.run(node, "test", "-e", folder)
        assert gone.returncode == 1


def test_short_pause_of_a_node_is_nobodys_end(alice: Seat, cluster: Cluster) -> None:
    """Ten missed beats are no evidence of anything, and Slurm waits 15 s."""
    alice.submit("still", held(alice, "still"), **on("n1"))
    alice.until(lambda: len(begun(alice)) == 1, "the command")
    with paused(cluster, "n1"):
        alice.write("still.gate", "")
        end = time.monotonic() + 6
        while time.monotonic() < end:
            alice("tick")
            assert alice.json("show", "still/1")["state"] == "running"
    assert alice.states("still") == [GOOD]
    assert begun(alice) == ["still/1 0 n1"]
    assert not is_down(cluster, "n1")


@pytest.mark.parametrize("lost", [{"n1": paused, "n2": cut_off}, {"n1": killed}], ids="-".join)
def test_node_is_lost_under_its_runs(alice: Seat, cluster: Cluster, lost: dict[str, Loss]) -> None:
    """What may be requeued begins on another node, and its first command counts no more."""
    script = held(alice, "moved", 'echo "by $PENSTOCK_RESTART on $(hostname)" > out')
    for node in lost:
        alice.submit(f"moved-{node}", script, outputs=["out"], **on(node))
        alice.submit(f"stays-{node}", held(alice, "never"), **on(node))
    alice.until(lambda: len(begun(alice)) == 2 * len(lost), "the commands")
    for node in lost:
        update(alice, f"stays-{node}", "Requeue=0")
    with ExitStack() as faults:
        for node, fault in lost.items():
            faults.enter_context(fault(cluster, node))
        for node in lost:
            wait_until_down(cluster, node)
            update(alice, f"moved-{node}", "ReqNodeList=")  # it waits now, for any node
            assert alice.states(f"stays-{node}") == [("failed", "node", 1)]
        alice.until(lambda: len(begun(alice)) == 3 * len(lost), "the next restarts")
        alice.write("moved.gate", "")
        for node in lost:
            assert alice.states(f"moved-{node}") == [GOOD]
    mend(cluster, *lost)
    alice.until(lambda: not any(left(cluster, node, alice) for node in lost), "old runners to end")
    alice("tick")
    for node in lost:
        assert alice.states(f"stays-{node}") == [("failed", "node", 1)]
        assert alice.states(f"moved-{node}") == [GOOD]
        moved = alice.last(f"moved-{node}/1")
        assert moved["restart"] == 1
        assert moved["node"] not in lost
        assert alice.read(f"runs/moved-{node}/1/out") == [f"by 1 on {moved['node']}"]
        assert [one for one in begun(alice) if f"-{node}/" in one] == [
            f"moved-{node}/1 0 {node}",
            f"moved-{node}/1 1 {moved['node']}",
            f"stays-{node}/1 0 {node}",
        ]


def test_command_ends_by_itself_on_a_node_that_is_cut_off(alice: Seat, cluster: Cluster) -> None:
    """Its own record is final: what Slurm begins again of it runs nothing, or leaves the queue."""
    for name in ("again", "left"):
        alice.submit(name, held(alice, "ends"), **on("n2"))
    alice.until(lambda: len(begun(alice)) == 2, "the commands")
    job = alice.last("again/1")["array_job"]
    with cut_off(cluster, "n2"):
        alice.write("ends.gate", "")
        wait_until_down(cluster, "n2")
        change(cluster, job, "ReqNodeList=")  # no command has looked since
        alice.until(lambda: job not in queued(alice), "the end of its next restart")
        for name in ("again", "left"):
            assert alice.states(name) == [GOOD]
        alice("tick")
        assert queued(alice) == []
    mend(cluster, "n2")
    alice("tick")
    for name in ("again", "left"):
        assert alice.states(name) == [GOOD]
    assert begun(alice) == ["again/1 0 n2", "left/1 0 n2"]


def queued(seat: Seat) -> list[int]:
    """Return the jobs of a user that wait or run."""
    return [int(job) for job in seat.shell("squeue --noheader --me --format=%F").split()]


def update(seat: Seat, experiment: str, what: str) -> None:
    """Change the job of an experiment, as an administrator."""
    change(seat.cluster, seat.last(f"{experiment}/1")["array_job"], what)


def change(cluster: Cluster, job: int, what: str) -> None:
    cluster.must("controller", "scontrol", "update", f"JobId={job}", what)


def left(cluster: Cluster, node: str, seat: Seat) -> str:
    """Return what still runs on a node for a project."""
    return cluster.run(node, "pgrep", "-f", seat.root).stdout


def test_command_runs_in_an_apptainer_image(alice: Seat, cluster: Cluster) -> None:
    """The image is made on a node from a folder with busybox: no network, no registry."""
    if cluster.debian != "trixie":
        pytest.skip("Apptainer of Debian's sid needs a newer glibc than bookworm's")
    there = alice.at("n1")
    there.shell(
        "set -e; mkdir -p tree/bin tree/etc tree/dev tree/proc tree/sys tree/tmp tree/var/tmp"
        " tree/root tree/home tree/scratch tree/shared; cp /bin/busybox tree/bin/;"
        " for name in sh cat echo ls test touch; do ln -s busybox tree/bin/$name; done;"
        " touch tree/etc/passwd tree/etc/group tree/etc/hosts tree/etc/resolv.conf"
        " tree/etc/localtime; echo of the image > tree/etc/mark;"
        " apptainer build image.sif tree 2>&1"
    )
    script = 'cat /etc/mark; test -e /usr/bin/python3 || echo "no python"; echo "$GREETING" > out'
    image = {"apptainer": "image.sif", "GREETING": "hello"}
    room = {"mem": "500M"}  # where no squashfuse is, Apptainer unpacks the image first
    alice.submit("inside", script, outputs=["out"], env=image, request=room)
    assert alice.states("inside") == [GOOD], alice("logs", "inside/1").stdout
    said = alice("logs", "inside/1").stdout.splitlines()
    assert "of the image" in said
    assert "no python" in said
    assert alice.read("runs/inside/1/out") == ["hello"]
