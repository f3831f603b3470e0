"""A compute node that is cut off, where the commands go on that Slurm has given up."""

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.cluster.losing import GOOD, begun, change, held, lose, on, queued
from tests.containers import STEADY, Seat, cut_off, mend, wait_until_down

# All take the node n2 away: pytest runs the tests of a file one after another.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def test_node_is_cut_off_under_its_runs(alice: Seat, cluster: Cluster) -> None:
    lose(alice, cluster, "n2", cut_off)


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
