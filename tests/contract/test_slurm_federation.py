"""A job that another cluster of a federation has taken: on the model, and on two real clusters.

Seen on 22.05: single jobs move, arrays stay where they were sent. Penstock sends arrays.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from penstock.model.evidence import Poll
from penstock.scheduler.slurm import SlurmScheduler
from penstock.testing.model import Cluster
from penstock.testing.transport import ModelTransport
from penstock.transport.protocol import Finished
from tests.contract.programs import Model, Real, Slurm, behave, eventually, submit
from tests.federation import federated
from tests.own_slurm import USUAL, OwnSlurm
from tests.slurm_user import UserTransport


class Federation(Slurm, Protocol):
    """A cluster of a federation; its jobs may not start on its own nodes."""

    scheduler: SlurmScheduler

    def drain(self) -> None: ...
    def resume(self) -> None: ...
    def give_away(self, job: str) -> None: ...


class ModelFederation(Model):
    def __init__(self) -> None:
        super().__init__()
        self.cluster.sibling = Cluster()
        self.cluster.sibling.behave = behave
        self.scheduler = SlurmScheduler(ModelTransport(self.cluster), clock=self.cluster.clock)

    def drain(self) -> None:
        for node in self.cluster.nodes.values():
            node.state = "DRAIN"

    def resume(self) -> None:
        for node in self.cluster.nodes:
            self.cluster.return_node(node)

    def give_away(self, job: str) -> None:
        self.cluster.revoke(job)


class RealFederation(Real):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = SlurmScheduler(UserTransport("alice"))

    def drain(self) -> None:
        done = self._nodes("State=DRAIN", "Reason=test")
        assert done.code == 0, done.err

    def resume(self) -> None:
        done = self._nodes("State=RESUME")
        assert done.code == 0 or "Invalid node state" in done.err, done.err  # it was not drained

    def give_away(self, job: str) -> None:
        """Wait: the clusters do it themselves."""

    def _nodes(self, *how: str) -> Finished:
        return self.run("scontrol", "update", "NodeName=n[1-4]", *how, user="root")


REAL = pytest.param("real", marks=[pytest.mark.slurm, pytest.mark.parts, pytest.mark.long])


@pytest.fixture(scope="module")
def both(parts: OwnSlurm) -> Iterator[OwnSlurm]:
    parts("up", *USUAL, f"--port-base={parts.port_base}", "--min-job-age=30")
    with federated(parts):
        yield parts
    parts.heal()


@pytest.fixture(params=["model", REAL])
def slurm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Federation]:
    if request.param == "model":
        yield ModelFederation()
        return
    both: OwnSlurm = request.getfixturevalue("both")
    monkeypatch.setenv("SLURM_CONF", both.conf)
    slurm = RealFederation()
    yield slurm
    slurm.resume()
    slurm.run("scancel", "--me")


def words(slurm: Slurm, program: str, job: str, *options: str) -> list[str]:
    """Return what a program says of a job; squeue's own filter would have another answer."""
    form = {"squeue": ("-h", "-t", "all", "-o", "%i|%T"), "sacct": ("-nPDX", "-o", "JobID,State")}
    done = slurm.run(program, *form[program], *options)
    assert done.code == 0, done.err
    lines = [line.partition("|") for line in done.out.splitlines()]
    return sorted(word.split()[0] for said, _, word in lines if said.partition("_")[0] == job)


def told(poll: Poll, job: str) -> list[str]:
    return [task.word.split()[0] for task in poll.tasks if task.job == int(job)]


def test_job_goes_on_elsewhere_and_is_followed(slurm: Federation) -> None:
    slurm.drain()
    job = submit(slurm, "sleep 8")
    slurm.give_away(job)

    def says(program: str, *options: str) -> Callable[[], list[str]]:
        return lambda: words(slurm, program, job, *options)

    eventually(slurm, says("squeue", "--me", "--federation"), ["RUNNING"])
    assert says("squeue", "--me")() == ["RUNNING"]
    assert says("squeue", "--me", "--all")() == ["REVOKED"]
    assert says("squeue", "--me", "--all", "--federation")() == ["REVOKED"]
    assert says("squeue", "--me", "--all", "--local")() == ["REVOKED"]
    assert says("squeue", "--federation", "--jobs", job)() == ["REVOKED"]
    assert told(slurm.scheduler.observe(), job) == ["RUNNING"]
    eventually(slurm, says("sacct", "-j", job), ["REVOKED"])
    both = says("sacct", "-j", job, "--federation")
    eventually(slurm, both, ["COMPLETED", "REVOKED"])
    since = datetime.now(UTC) - timedelta(hours=1)
    if isinstance(slurm, ModelFederation):
        since = slurm.cluster.clock.now() - timedelta(hours=1)
    assert told(slurm.scheduler.history([int(job)], since=since), job) == ["COMPLETED"]
    polled = slurm.scheduler.observe()
    assert told(polled, job) in (["COMPLETED"], ["REVOKED"])  # the other cluster forgets it
    assert says("sacct", "-j", job)() == ["REVOKED"]


def test_cancel_reaches_it_there(slurm: Federation) -> None:
    slurm.drain()
    job = submit(slurm, "sleep 100")
    slurm.give_away(job)
    elsewhere = ("squeue", job, "--me", "--federation")
    eventually(slurm, lambda: words(slurm, *elsewhere), ["RUNNING"])
    slurm.scheduler.cancel([(int(job), None)])
    eventually(slurm, lambda: words(slurm, *elsewhere), ["CANCELLED"])


def test_array_waits_where_it_was_sent(slurm: Federation) -> None:
    slurm.drain()
    job = submit(slurm, "sleep 2", "--array=0-1")
    for _ in range(6):
        slurm.wait(1)
        assert words(slurm, "squeue", job, "--me", "--all") == ["PENDING"]
        assert words(slurm, "squeue", job, "--me", "--federation") == ["PENDING"]
    slurm.resume()
    ends = ["COMPLETED", "COMPLETED"]
    eventually(slurm, lambda: words(slurm, "sacct", job, "-j", job), ends)
