"""Compute nodes that are machines: their own scratch, and what becomes of runs when one is lost."""

import time

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.cluster.losing import GOOD, Loss, begun, held, lose, on
from tests.containers import STEADY, Seat, killed, paused, standing

# All take the node n1 away: pytest runs the tests of a file one after another.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


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


@pytest.mark.parametrize("lost", [paused, killed], ids=["paused", "killed"])
def test_node_is_lost_under_its_runs(alice: Seat, cluster: Cluster, lost: Loss) -> None:
    lose(alice, cluster, "n1", lost)
