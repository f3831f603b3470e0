"""Runs on a node that is lost: which of them begin where, and what becomes of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from deploy.test_cluster.cluster import Cluster
from tests.containers import STEADY, Seat, mend, wait_until_down

GOOD = ("completed", None, 1)
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


def lose(alice: Seat, cluster: Cluster, node: str, lost: Loss) -> None:
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
    moved = alice.last("moved/1")
    assert (moved["restart"], moved["node"]) == (1, STEADY)
    assert alice.read("runs/moved/1/out") == [f"by 1 on {STEADY}"]
    assert begun(alice) == [f"moved/1 0 {node}", f"moved/1 1 {STEADY}", f"stays/1 0 {node}"]


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
