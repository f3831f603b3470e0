"""Compute nodes that are machines: their own scratch, and what becomes of runs when one is lost."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.containers import (
    GOOD,
    STEADY,
    Seat,
    cut_off,
    killed,
    mend,
    paused,
    standing,
    wait_until_down,
)

# In one file, so that pytest runs them one after another: while a node is cut off, slurmctld holds
# up everybody for seconds when another comes back.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

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
    nodes = ("n1", STEADY)
    for node in nodes:
        begin = f"pwd > {alice.root}/{node}.place"
        script = held(alice, "where", "pwd > out", "hostname >> out")
        alice.submit(f"where{node}", f"{begin}; {script}", outputs=["out"], **on(node))
    alice.until(lambda: len(begun(alice)) == len(nodes), "the commands")
    places = {node: alice.read(f"{node}.place")[0] for node in nodes}
    for node, folder in places.items():
        assert folder.startswith("/scratch/")
        for machine in (*nodes, "login1", "login2"):
            found = cluster.run(machine, "test", "-d", folder)
            assert found.returncode == (0 if machine == node else 1), (machine, folder)
    alice.write("where.gate", "")
    for node, folder in places.items():
        assert alice.states(f"where{node}") == [GOOD]
        assert alice.read(f"runs/where{node}/1/out") == [folder, node]
        assert cluster.run(node, "test", "-e", folder).returncode == 1


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
    assert "DOWN" not in standing(cluster, "n1")


@pytest.mark.parametrize(
    "node, lost",
    [
        pytest.param("n1", paused, id="paused"),
        pytest.param("n1", killed, id="killed"),
        pytest.param("n2", cut_off, id="cut_off"),
    ],
)
def test_node_is_lost_under_its_runs(alice: Seat, cluster: Cluster, node: str, lost: Loss) -> None:
    """What may be requeued begins on another node, and its first command counts no more."""
    script = held(alice, "moved", 'echo "by $PENSTOCK_RESTART on $(hostname)" > out')
    alice.submit("moved", script, outputs=["out"], **on(node))
    alice.submit("stays", held(alice, "never"), **on(node))
    alice.until(lambda: len(begun(alice)) == 2, "the commands")
    update(alice, "stays", "Requeue=0")
    with lost(cluster, node):
        wait_until_down(cluster, node)
        update(alice, "moved", f"ReqNodeList={STEADY}")
        assert alice.states("stays") == [("failed", "node", 1)]
        alice.until(lambda: len(begun(alice)) == 3, "the next restart")
        alice.write("moved.gate", "")
        assert alice.states("moved") == [GOOD]
    mend(cluster, node)
    alice.until(lambda: not left(cluster, node, alice), "old runners to end")
    alice("tick")
    assert alice.states("stays") == [("failed", "node", 1)]
    assert alice.states("moved") == [GOOD]
    assert "NODE_FAIL" in history(alice, "stays")
    moved = alice.last("moved/1")
    assert (moved["restart"], moved["node"]) == (1, STEADY)
    assert alice.read("runs/moved/1/out") == [f"by 1 on {STEADY}"]
    assert begun(alice) == [f"moved/1 0 {node}", f"moved/1 1 {STEADY}", f"stays/1 0 {node}"]


def test_command_ends_by_itself_on_a_node_that_is_cut_off(alice: Seat, cluster: Cluster) -> None:
    """Its own record is final: what Slurm begins again of it runs nothing, or leaves the queue."""
    for name in ("again", "left"):
        alice.submit(name, held(alice, "ends"), **on("n2"))
    alice.until(lambda: len(begun(alice)) == 2, "the commands")
    job, other = (alice.last(f"{name}/1")["array_job"] for name in ("again", "left"))
    with cut_off(cluster, "n2"):
        alice.write("ends.gate", "")
        wait_until_down(cluster, "n2")
        change(cluster, job, f"ReqNodeList={STEADY}")  # no command has looked since
        alice.until(lambda: job not in queued(alice), "the end of its next restart")
        assert other in queued(alice)
        for name in ("again", "left"):
            assert alice.states(name) == [GOOD]
        alice("tick")
        assert other not in queued(alice)
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


def history(seat: Seat, experiment: str) -> str:
    """Return what Slurm's accounting calls the end of the job of an experiment."""
    job = seat.last(f"{experiment}/1")["array_job"]
    return seat.shell(f"sacct --noheader --allocations --parsable2 --format=State --jobs={job}")


def change(cluster: Cluster, job: int, what: str) -> None:
    cluster.must("controller", "scontrol", "update", f"JobId={job}", what)


def left(cluster: Cluster, node: str, seat: Seat) -> str:
    """Return what still runs on a node for a project."""
    return cluster.run(node, "pgrep", "-f", seat.root).stdout
