"""The model behind the transport seam, and the faults that can be ordered."""

import pytest

from penstock.errors import NotFoundError, TransportError
from penstock.testing.model import Cluster, Plan
from penstock.testing.transport import Fault, ModelTransport
from penstock.transport.protocol import Tail

SBATCH = ["sbatch", "--parsable", "/a/script.sh"]


@pytest.fixture
def transport() -> ModelTransport:
    cluster = Cluster()
    cluster.behave = lambda process: Plan(100)
    made = ModelTransport(cluster)
    made.put("/a/script.sh", b"#!/bin/sh\n#SBATCH --array=0-3\n")
    return made


def count(transport: ModelTransport) -> int:
    return transport.cluster.counts["submitted"] // 4


def test_answers_from_the_model(transport: ModelTransport) -> None:
    assert transport.run(SBATCH).out == "1\n"
    assert transport.run(["squeue", "-h", "-o", "%i"]).out == "1_[0-3]\n"
    assert transport.run(["id", "-un"]).out == "alice\n"


def test_unknown_program_is_missing(transport: ModelTransport) -> None:
    with pytest.raises(TransportError) as caught:
        transport.run(["qsub"])
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    "fault, jobs", [(Fault.TIME_OUT, 0), (Fault.DONE_THEN_TIME_OUT, 1), (Fault.MISSING, 0)]
)
def test_fault_without_an_answer(transport: ModelTransport, fault: Fault, jobs: int) -> None:
    transport.order(fault, "^sbatch")
    with pytest.raises(TransportError):
        transport.run(SBATCH)
    assert count(transport) == jobs


@pytest.mark.parametrize(
    "fault, jobs", [(Fault.REJECT, 0), (Fault.FAIL, 0), (Fault.DONE_THEN_FAIL, 1)]
)
def test_fault_with_an_error(transport: ModelTransport, fault: Fault, jobs: int) -> None:
    transport.order(fault, "^sbatch")
    done = transport.run(SBATCH)
    assert (done.code, done.out) == (1, "")
    assert done.err
    assert count(transport) == jobs


@pytest.mark.parametrize("fault", [Fault.HALF, Fault.GARBAGE, Fault.EMPTY, Fault.BANNER])
def test_fault_with_a_bad_answer_that_looks_well(transport: ModelTransport, fault: Fault) -> None:
    transport.run(SBATCH)
    good = transport.run(["squeue", "-h", "-o", "%i"]).out
    transport.order(fault, "^squeue")
    done = transport.run(["squeue", "-h", "-o", "%i"])
    assert done.code == 0
    assert done.out != good
    assert transport.run(["squeue", "-h", "-o", "%i"]).out == good


def test_late_answer_is_of_an_earlier_time(transport: ModelTransport) -> None:
    transport.run(SBATCH)
    transport.order(Fault.LATE, "^squeue")
    assert transport.run(["squeue", "-h", "-o", "%T"]).out == "PENDING\n"
    assert "RUNNING" in transport.run(["squeue", "-h", "-o", "%T"]).out


def test_fault_comes_after_as_many_calls_as_were_ordered(transport: ModelTransport) -> None:
    transport.order(Fault.FAIL, "^squeue", skip=1, count=2)
    codes = [transport.run(["squeue"]).code for _ in range(4)]
    assert codes == [0, 1, 1, 0]


def test_calls_cost_what_they_cost_on_a_real_slurm(transport: ModelTransport) -> None:
    """Seen with sdiag on 22.05, as an ordinary user."""
    for argv in (SBATCH, ["squeue", "--me"], ["scancel", "1_1", "1_2"], ["sacct"]):
        transport.run(argv)
    assert transport.cluster.rpcs_of == {"alice": 1 + 3 + 2 + 0}


def test_spools_in_memory_are_tailed(transport: ModelTransport) -> None:
    memory = transport.memory
    memory.append("/a/spool/0/2.0.open", b"12345")
    assert list(transport.tails("/a", {})) == [Tail(2, 0, 0, b"12345", is_done=False)]
    memory.rename("/a/spool/0/2.0.open", "/a/spool/0/2.0.done")
    assert list(transport.tails("/a", {(2, 0): 5})) == [Tail(2, 0, 5, b"", is_done=True)]
    assert list(transport.tails("/a", {(2, 0): -1})) == []
    memory.hidden.add("/a/spool/0/2.0.done")
    assert list(transport.tails("/a", {})) == []
    with pytest.raises(NotFoundError):
        transport.get("/a/spool/0/2.0.done")
