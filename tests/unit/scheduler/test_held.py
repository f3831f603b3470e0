"""Which tasks of an array are held, where squeue tells of all in one row."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.errors import SchedulerError
from penstock.model.evidence import Poll, Task
from penstock.scheduler import counted
from penstock.scheduler.counted import Counted
from penstock.scheduler.held import apart
from penstock.scheduler.slurm import SlurmScheduler
from penstock.testing.factories import make_poll, make_task
from penstock.testing.model import Cluster
from penstock.testing.transport import Fault, ModelTransport

MIXED = "JobArrayTaskLimit,JobHeldUser"


def pending(job: int, reason: str, *indices: int, raw: int | None = None) -> Task:
    return make_task("PENDING", job=job, tasks=frozenset(indices), reason=reason, job_raw=raw)


def nobody(options: Sequence[str]) -> Poll:
    raise AssertionError(options)


def test_rows_that_are_all_held_or_not_at_all_are_taken_as_they_are() -> None:
    poll = make_poll(
        pending(8, "JobHeldUser,JobHeldAdmin", 1, 2),
        pending(9, "JobArrayTaskLimit,Priority", 1, 2),
        pending(10, "Nodes required for job are DOWN, DRAINED or reserved", 1),
        pending(11, "", 1, 2),
    )
    assert apart(poll, nobody) is poll


def test_arrays_with_some_held_are_asked_about_at_once_and_no_other() -> None:
    other, running = pending(9, "Priority", 1, 2), make_task("RUNNING", job=8, tasks=frozenset({0}))
    poll = make_poll(running, pending(8, MIXED, 1, 2, 3), other, pending(11, MIXED, 4, 5))
    asked: list[Sequence[str]] = []

    def ask(options: Sequence[str]) -> Poll:
        asked.append(options)
        return make_poll(
            running,
            pending(8, "JobArrayTaskLimit", 1, raw=8),
            pending(8, "JobHeldUser", 2, raw=12),
            pending(8, "JobArrayTaskLimit", 3, raw=8),
            pending(11, "JobHeldUser", 4, raw=11),
            pending(11, "BeginTime", 5, raw=14),
        )

    told = apart(poll, ask)
    assert asked == [("--array", "--jobs=8,11")]
    assert told.again == 1
    assert told.at == poll.at
    assert set(told.tasks) == {
        other,
        running,
        pending(8, "JobArrayTaskLimit", 1, 3, raw=8),
        pending(8, "JobHeldUser", 2, raw=12),
        pending(11, "JobHeldUser", 4, raw=11),
        pending(11, "BeginTime", 5, raw=14),
    }


def test_what_it_costs_is_counted_and_a_failure_is_no_answer(tmp_path: Path) -> None:
    cluster = Cluster(seed=1)
    transport = ModelTransport(cluster)
    inner = SlurmScheduler(transport, clock=cluster.clock)
    scheduler = Counted(inner, tmp_path / "asked", cluster.clock, is_slurm=True)
    script = b"#!/bin/sh\n#SBATCH --array=1-3 --begin=now+1hour\nsleep 9\n"
    job = int(transport.run(["sbatch", "--parsable"], stdin=script).out)
    scheduler.observe()
    transport.run(["scontrol", "hold", f"{job}_2"])
    inner.capabilities()
    before = cluster.rpcs_of["alice"]
    told = {index: task.reason for task in scheduler.observe().tasks for index in task.tasks or ()}
    assert cluster.rpcs_of["alice"] - before == 6
    assert told == {1: "", 2: "JobHeldUser", 3: ""}
    found = [(one.verb, one.rpcs) for one in counted.asked(tmp_path / "asked")]
    assert found == [("observe", 3), ("observe", 3), ("again", 3)]
    transport.order(Fault.FAIL, "--array")
    with pytest.raises(SchedulerError):
        scheduler.observe()
