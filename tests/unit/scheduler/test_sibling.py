from datetime import UTC, datetime, timedelta

import pytest

from penstock.errors import SchedulerError
from penstock.model.evidence import Poll, Task
from penstock.scheduler.sibling import followed
from penstock.scheduler.slurm import SlurmScheduler
from penstock.testing.model import Cluster, Plan
from penstock.testing.transport import Fault, ModelTransport

AT = datetime(2026, 1, 1, tzinfo=UTC)


def poll(*words: str, odd: tuple[str, ...] = ()) -> Poll:
    tasks = [Task(job, frozenset(), said, "tok.x") for job, said in enumerate(words, 12)]
    return Poll(AT, tuple(tasks), "squeue", odd)


def words(told: Poll) -> list[tuple[int, str]]:
    return sorted((task.job, task.word) for task in told.tasks)


def test_nobody_else_is_asked_where_nothing_is_revoked() -> None:
    here = poll("RUNNING", "PENDING")
    assert followed(here, lambda: pytest.fail("it asked")) is here


@pytest.mark.parametrize("said", ["REVOKED", "RV"])
def test_what_the_other_cluster_says_stands_for_revoked(said: str) -> None:
    told = followed(poll("PENDING", said), lambda: poll("COMPLETED", "RUNNING"))
    assert words(told) == [(12, "PENDING"), (13, "RUNNING")]
    assert told.odd == ()
    assert told.again == 1


def test_revoked_stays_where_the_others_do_not_answer() -> None:
    def ask() -> Poll:
        raise SchedulerError("squeue failed")

    told = followed(poll("REVOKED"), ask)
    assert words(told) == [(12, "REVOKED")]
    (odd,) = told.odd
    assert "job 12 (REVOKED), and squeue failed" in odd


@pytest.mark.parametrize("there", [poll(), poll("REVOKED"), poll(odd=("strange",))])
def test_revoked_stays_where_no_other_cluster_names_it(there: Poll) -> None:
    told = followed(poll("REVOKED"), lambda: there)
    assert words(told) == [(12, "REVOKED")]
    assert "no other cluster names it" in told.odd[-1]
    assert told.odd[:-1] == there.odd


def federation() -> tuple[Cluster, SlurmScheduler, ModelTransport]:
    cluster = Cluster()
    cluster.sibling = Cluster()
    cluster.sibling.behave = lambda process: Plan(30, code=3)
    transport = ModelTransport(cluster)
    return cluster, SlurmScheduler(transport, clock=cluster.clock), transport


def heard(cluster: Cluster, scheduler: SlurmScheduler, job: int) -> tuple[Poll, Poll]:
    since = cluster.clock.now() - timedelta(hours=1)
    return scheduler.observe(), scheduler.history([job], since=since)


def test_job_is_followed_to_the_cluster_that_took_it() -> None:
    cluster, scheduler, _ = federation()
    job = cluster.submit(name="tok.x")
    cluster.revoke(job)
    cluster.advance(5)
    queue, history = heard(cluster, scheduler, job)
    assert words(queue) == words(history) == [(job, "RUNNING")]
    cluster.advance(29)
    queue, history = heard(cluster, scheduler, job)
    assert words(queue) == words(history) == [(job, "FAILED")]
    assert [task.exit_code for task in history.tasks] == [3]
    assert queue.odd == history.odd == ()
    cluster.advance(1000)  # it is forgotten there
    queue, history = heard(cluster, scheduler, job)
    assert words(queue) == [(job, "REVOKED")]
    assert words(history) == [(job, "FAILED")]


def test_failed_question_to_the_other_cluster_changes_nothing() -> None:
    cluster, scheduler, transport = federation()
    job = cluster.submit(name="tok.x")
    cluster.revoke(job)
    cluster.advance(5)
    transport.fault = lambda argv: Fault.GARBAGE if "--federation" in argv else None
    queue, history = heard(cluster, scheduler, job)
    assert words(queue) == words(history) == [(job, "REVOKED")]
    assert len(queue.odd) == len(history.odd) == 1
