"""What takes a job its place: preemption, a lost node, its limits. On the model and for real.

The real Slurm is one of these tests alone: nodes are lost, and jobs of others would be preempted.
What differs is mended in the model.
"""

import signal
from collections.abc import Iterator
from typing import Protocol

import pytest

from penstock.testing.model import Cluster, Site
from tests.contract.programs import (
    Model,
    Real,
    Slurm,
    behave,
    components,
    course,
    eventually,
    het,
    history,
    queue,
    shown,
    submit,
)
from tests.own_slurm import USUAL, OwnSlurm

WHOLE = ("--exclusive", "--nodelist=n1")
URGENT = ("--partition=urgent", *WHOLE)
WAIT = ("J+0|PENDING|Resources", "J+1|PENDING|Resources")
GOES = ("RUNNING|None?", "COMPLETING|None?", "PENDING|None?", "PENDING|BeginTime")
COMES = ("PENDING|BeginTime?", "PENDING|None?", "PENDING|Resources?", "RUNNING|None")


class Nodes(Slurm, Protocol):
    """A Slurm whose nodes may be lost, and whose kernel may count memory."""

    def lose(self, node: str) -> None: ...
    def count_memory(self) -> None: ...


class ModelNodes(Model):
    def lose(self, node: str) -> None:
        self.cluster.fail_node(node, cut_off=True)

    def count_memory(self) -> None:
        self.cluster = Cluster(Site(has_cgroups=True))
        self.cluster.behave = behave


class RealNodes(Real):
    def __init__(self, parts: OwnSlurm) -> None:
        super().__init__()
        self.parts = parts

    def lose(self, node: str) -> None:
        self.parts.signal(node, signal.SIGKILL)

    def count_memory(self) -> None:
        self.parts("up", "--cgroups=1")


REAL = pytest.param("real", marks=[pytest.mark.slurm, pytest.mark.parts, pytest.mark.long])


@pytest.fixture(params=["model", REAL])
def slurm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    if request.param == "model":
        yield ModelNodes()
        return
    parts: OwnSlurm = request.getfixturevalue("parts")
    monkeypatch.setenv("SLURM_CONF", parts.conf)
    parts("up", *USUAL, f"--port-base={parts.port_base}", "--min-job-age=20")
    yield RealNodes(parts)
    parts.heal()


def running(slurm: Slurm, last: str, *options: str) -> str:
    job = submit(slurm, last, *options)
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    return job


def records(slurm: Slurm, job: str) -> list[str]:
    return history(slurm, job, "JobID,State,ExitCode", "-D")


# --- heterogeneous jobs


def test_components_start_together_or_not_at_all(slurm: Nodes) -> None:
    """Each on a node of its own: one is free, on which both would fit."""
    other = running(slurm, "sleep 12", "--nodes=3", "--exclusive")
    job = het(slurm, "sleep 100")
    seen: set[str] = set()
    for _ in range(8):
        seen |= set(components(slurm, job))
        slurm.wait(1)
    assert queue(slurm, other, "%i|%T") == ["J|RUNNING"]
    assert seen - {"J+0|PENDING|None", "J+1|PENDING|None"} == set(WAIT)
    eventually(slurm, lambda: components(slurm, job), ["J+0|RUNNING|None", "J+1|RUNNING|None"])
    assert len(set(components(slurm, job, "%N"))) == 2
    slurm.run("scancel", job)


# --- preemption


def test_preempted_job_is_requeued_under_its_id(slurm: Nodes) -> None:
    job = running(slurm, "sleep 100", *WHOLE)
    before = queue(slurm, job, "%V|%N")
    urgent = submit(slurm, "sleep 3", *URGENT)
    course(slurm, job, *GOES)
    course(slurm, job, *COMES)
    eventually(slurm, lambda: records(slurm, job), ["J|PREEMPTED|0:0", "J|RUNNING|0:0"])
    assert records(slurm, urgent) == ["J|COMPLETED|0:0"]
    assert shown(slurm, job)["Restarts"] == "1"
    after = queue(slurm, job, "%V|%N")
    assert after > before
    assert [row.split("|")[1] for row in after] == ["n1"]


def test_preempted_job_that_may_not_be_requeued_has_ended(slurm: Nodes) -> None:
    job = running(slurm, "sleep 100", "--no-requeue", *WHOLE)
    submit(slurm, "sleep 1", *URGENT)
    course(slurm, job, "RUNNING|None?", "COMPLETING|None?", "PREEMPTED|None")
    eventually(slurm, lambda: records(slurm, job), ["J|PREEMPTED|0:0"])
    assert shown(slurm, job)["Restarts"] == "0"


def test_preempted_job_that_ends_well_at_once_is_requeued_all_the_same(slurm: Nodes) -> None:
    job = running(slurm, 'trap "exit 0" TERM; sleep 100 & wait', *WHOLE)
    submit(slurm, "sleep 1", *URGENT)
    course(slurm, job, *GOES)
    course(slurm, job, *COMES)
    eventually(slurm, lambda: records(slurm, job), ["J|PREEMPTED|0:0", "J|RUNNING|0:0"])


def test_preempted_job_that_does_not_go_is_completing_until_it_is_killed(slurm: Nodes) -> None:
    job = running(slurm, 'trap "" TERM; sleep 100', *WHOLE)
    urgent = submit(slurm, "sleep 1", *URGENT)
    eventually(slurm, lambda: queue(slurm, job), ["J|COMPLETING|None"])
    eventually(slurm, lambda: queue(slurm, urgent), ["J|PENDING|Resources"])
    course(slurm, job, *GOES[1:])
    course(slurm, job, *COMES)
    eventually(slurm, lambda: records(slurm, job), ["J|PREEMPTED|0:0", "J|RUNNING|0:0"])


def test_preempted_tasks_stand_apart_where_no_rest_of_their_array_waits(slurm: Nodes) -> None:
    job = submit(slurm, "sleep 100", "--array=0-1", "--cpus-per-task=4", "--nodelist=n1")
    eventually(slurm, lambda: queue(slurm, job), ["J_0|RUNNING|None", "J_1|RUNNING|None"])
    submit(slurm, "sleep 1", *URGENT)
    waits = ["J_0|PENDING|BeginTime", "J_1|PENDING|BeginTime"]
    eventually(slurm, lambda: queue(slurm, job), waits)
    eventually(slurm, lambda: queue(slurm, job), ["J_0|RUNNING|None", "J_1|RUNNING|None"])
    rows = [f"J_{index}|{state}|0:0" for index in (0, 1) for state in ("PREEMPTED", "RUNNING")]
    eventually(slurm, lambda: sorted(records(slurm, job)), rows)


# --- a node that is lost


def test_job_of_a_lost_node_is_requeued_where_it_may_be(slurm: Nodes) -> None:
    job = running(slurm, "sleep 300", "--nodelist=n2")
    final = running(slurm, "sleep 300", "--nodelist=n2", "--no-requeue")
    slurm.lose("n2")
    course(slurm, job, *GOES, patience_s=150)
    eventually(slurm, lambda: queue(slurm, final), ["J|NODE_FAIL|NodeDown"])
    eventually(slurm, lambda: records(slurm, final), ["J|NODE_FAIL|0:0"])
    eventually(slurm, lambda: records(slurm, job), ["J|NODE_FAIL|0:0", "J|PENDING|0:0"])
    assert shown(slurm, job)["Restarts"] == "1"
    assert shown(slurm, final)["Restarts"] == "0"
    steps = slurm.run("sacct", "-nP", "-j", final, "-o", "JobID,State,ExitCode").out.splitlines()
    assert steps[1:] == [f"{final}.batch|CANCELLED|"]
    waits = "PENDING|ReqNodeNotAvail, UnavailableNodes:n2"
    course(slurm, job, "PENDING|BeginTime?", "PENDING|None?", waits)


# --- limits


def test_time_limit_ends_a_job_within_half_a_minute(slurm: Nodes) -> None:
    job = running(slurm, "sleep 300", "--time=1")
    limit = ("RUNNING|None", "COMPLETING|TimeLimit?", "TIMEOUT|TimeLimit")
    course(slurm, job, *limit, patience_s=130)
    eventually(slurm, lambda: records(slurm, job), ["J|TIMEOUT|0:0"])
    steps = slurm.run("sacct", "-nP", "-j", job, "-o", "State,ExitCode").out.splitlines()
    assert steps == ["TIMEOUT|0:0", "CANCELLED|0:15"]


STARTS = (
    *("PENDING|None?", "PENDING|Priority?", "PENDING|Resources?", "RUNNING|None?"),
    *("COMPLETING|JobLaunchFailure?", "COMPLETING|OutOfMemory?"),
)
OVER = 'python3 -c "kept = bytearray(300 << 20); import time; time.sleep(20)"'


def test_memory_beyond_its_request_is_a_signal_where_slurm_alone_counts(slurm: Nodes) -> None:
    job = submit(slurm, OVER)
    course(slurm, job, *STARTS, "FAILED|JobLaunchFailure")
    eventually(slurm, lambda: records(slurm, job), ["J|FAILED|0:9"])
    steps = slurm.run("sacct", "-nP", "-j", job, "-o", "State,ExitCode").out.splitlines()
    assert steps == ["FAILED|0:9", "CANCELLED by 0|0:9"]


def test_memory_beyond_its_request_has_a_word_where_the_kernel_counts(slurm: Nodes) -> None:
    slurm.count_memory()
    job = submit(slurm, OVER)
    course(slurm, job, *STARTS, "OUT_OF_MEMORY|OutOfMemory")
    eventually(slurm, lambda: records(slurm, job), ["J|OUT_OF_MEMORY|0:125"])
    steps = slurm.run("sacct", "-nP", "-j", job, "-o", "State,ExitCode").out.splitlines()
    assert steps == ["OUT_OF_MEMORY|0:125", "OUT_OF_MEMORY|0:125"]
