"""The model: what no test on a real cluster can order, or not within a minute."""

import pickle
from contextlib import suppress

import pytest

from penstock.testing.commands import answer
from penstock.testing.model import EPOCH, Cluster, Options, Plan, Process, Site, SlurmError
from penstock.testing.site import NodeKind, Partition


def make_cluster(plan: Plan | None = None, **site: object) -> Cluster:
    cluster = Cluster(Site(**site))  # type: ignore[arg-type]
    if plan is not None:
        cluster.behave = lambda process: plan
    return cluster


def words(cluster: Cluster, job: int) -> list[tuple[int | None, str, str]]:
    records = sorted(cluster.records(job), key=lambda record: (record.index is None, record.id))
    return [(record.index, record.word, record.reason) for record in records]


def rows(cluster: Cluster, job: int, *more: str) -> list[str]:
    argv = ("sacct", "-nPX", "-D", "-j", str(job), "-o", "JobID,State,ExitCode", *more)
    return answer(cluster, argv).out.splitlines()


def test_same_seed_gives_the_same_history() -> None:
    def run() -> list[object]:
        cluster = Cluster(seed=7)
        told: list[object] = []
        cluster.behave = lambda process: Plan(cluster.random.uniform(1, 50))
        cluster.on_start = lambda process: told.append((cluster.now, process.index))
        cluster.submit(array="0-50%7")
        assert cluster.drain()
        return told

    assert run() == run()


def test_time_passes_only_by_advance() -> None:
    cluster = make_cluster(Plan(10))
    job = cluster.submit()
    assert words(cluster, job) == [(None, "PENDING", "None")]
    cluster.advance(5)
    assert cluster.now == EPOCH + 5
    assert words(cluster, job) == [(None, "RUNNING", "None")]


def test_job_over_its_time_gets_term_then_kill() -> None:
    cluster = make_cluster(Plan(10_000, on_term_s=None), limit_slack_s=0)
    told: list[tuple[float, int]] = []
    cluster.on_signal = lambda process, number: told.append((cluster.now - EPOCH, number))
    job = cluster.submit(time_s=60)
    cluster.advance(62)
    assert words(cluster, job) == [(None, "COMPLETING", "TimeLimit")]
    cluster.advance(6)
    assert told == [(61, 15), (66, 9)]
    assert rows(cluster, job) == [f"{job}|TIMEOUT|0:0"]


def test_time_limits_are_looked_at_every_thirty_seconds() -> None:
    cluster = make_cluster(Plan(10_000))
    job = cluster.submit(time_s=70)
    cluster.advance(90)
    assert words(cluster, job) == [(None, "RUNNING", "None")]
    cluster.advance(2)
    assert words(cluster, job) == [(None, "TIMEOUT", "TimeLimit")]


@pytest.mark.parametrize("has_cgroups, row", [(True, "OUT_OF_MEMORY|0:125"), (False, "FAILED|0:9")])
def test_out_of_memory_has_its_word_only_with_cgroups(has_cgroups: bool, row: str) -> None:
    cluster = make_cluster(Plan(5, is_oom=True), has_cgroups=has_cgroups)
    job = cluster.submit()
    cluster.advance(10)
    assert rows(cluster, job) == [f"{job}|{row}"]


def test_urgent_job_takes_the_place_and_the_other_begins_again() -> None:
    cluster = make_cluster(nodes=(NodeKind("n1", cpus=1),), min_job_age_s=300)
    cluster.behave = lambda process: Plan(30 if process.job.partition == "urgent" else 100)
    job = cluster.submit(array="0-1")
    cluster.advance(5)
    urgent = cluster.submit(partition="urgent")
    cluster.advance(3)
    assert (0, "PENDING", "BeginTime") in words(cluster, job)
    assert words(cluster, urgent) == [(None, "RUNNING", "None")]
    assert cluster.drain()
    assert (
        rows(cluster, job)
        == [
            f"{job}_0|PREEMPTED|0:0",
            f"{job}_1|COMPLETED|0:0",
            f"{job}_0|COMPLETED|0:0",
        ]
        or rows(cluster, job)[0] == f"{job}_0|PREEMPTED|0:0"
    )


def test_preempted_job_that_may_not_be_requeued_has_ended() -> None:
    cluster = make_cluster(Plan(100))
    job = cluster.submit(can_requeue=False)
    cluster.advance(5)
    cluster.preempt(job)
    cluster.advance(5)
    assert words(cluster, job) == [(None, "PREEMPTED", "None")]


def test_process_that_ends_well_in_its_grace_time_is_requeued_all_the_same() -> None:
    cluster = make_cluster(
        Plan(100, on_term_s=2, term_code=0),
        partitions=(Partition("batch", is_default=True, preempt="REQUEUE", grace_s=10),),
    )
    job = cluster.submit()
    cluster.advance(5)
    cluster.preempt(job)
    cluster.advance(5)
    assert words(cluster, job) == [(None, "PENDING", "BeginTime")]


def test_lost_node_requeues_its_jobs() -> None:
    cluster = make_cluster(Plan(100))
    ended: list[bool] = []
    cluster.on_end = lambda process: ended.append(process.was_lost)
    job = cluster.submit()
    last = cluster.submit(can_requeue=False)
    cluster.advance(5)
    cluster.fail_node("n1")
    assert words(cluster, job) == [(None, "PENDING", "None")]
    assert words(cluster, last) == [(None, "NODE_FAIL", "NodeDown")]
    assert ended == [True, True]


def test_task_on_a_node_that_was_cut_off_goes_on_beside_its_restart() -> None:
    cluster = make_cluster(Plan(60))
    ended: list[tuple[int, str, bool]] = []
    cluster.on_end = lambda process: ended.append(
        (process.restart, process.nodes[0], process.is_cut_off)
    )
    job = cluster.submit()
    cluster.advance(5)
    cluster.fail_node("n1", cut_off=True)
    cluster.advance(20)
    assert [process.restart for process in cluster.processes] == [0, 1]
    assert cluster.drain()
    cluster.advance(2)
    assert ended == [(0, "n1", True), (1, "n2", False)]
    assert rows(cluster, job) == [f"{job}|NODE_FAIL|0:0", f"{job}|COMPLETED|0:0"]


def test_returned_node_kills_what_was_cut_off() -> None:
    cluster = make_cluster(Plan(600))
    cluster.submit()
    cluster.advance(5)
    cluster.fail_node("n1", cut_off=True)
    cluster.advance(20)
    cluster.return_node("n1")
    cluster.advance(1)
    assert [process.restart for process in cluster.processes] == [1]


def test_administrators_hold_is_not_the_users_to_release() -> None:
    cluster = make_cluster(Plan(10))
    job = cluster.submit(array="0-3")
    cluster.hold(job, user="root")
    said = cluster.release(job)
    assert [str(one.error) for one in said] == ["Access/permission denied"]
    assert words(cluster, job) == [(None, "PENDING", "JobHeldAdmin")]
    cluster.release(job, user="root")
    assert cluster.drain()


def test_forgotten_jobs_are_unknown_to_the_queue_and_known_to_the_accounting() -> None:
    cluster = make_cluster(Plan(1))
    job = cluster.submit()
    cluster.advance(20)
    assert cluster.records(job) == []
    with pytest.raises(SlurmError, match="Invalid job id"):
        cluster.cancel(job)
    assert rows(cluster, job) == [f"{job}|COMPLETED|0:0"]


def test_ids_begin_again_after_the_last() -> None:
    cluster = make_cluster(Plan(1), first_job_id=5, max_job_id=8)
    long = cluster.submit(is_held=True)
    ids: list[int] = []
    for _ in range(5):
        ids.append(cluster.submit(name=f"n{len(ids)}"))
        cluster.advance(20)
    assert (long, ids) == (5, [6, 7, 8, 6, 7])
    names = ("sacct", "-nPX", "-j", "6", "-o", "JobName")
    assert answer(cluster, names).out == "n3\n"
    assert answer(cluster, (*names, "-D")).out == "n0\nn3\n"


def test_accounting_lags() -> None:
    cluster = make_cluster(Plan(1), accounting_lag_s=60)
    job = cluster.submit()
    cluster.advance(30)
    assert rows(cluster, job) == []
    cluster.advance(40)
    assert rows(cluster, job) == [f"{job}|COMPLETED|0:0"]


def test_accounting_that_was_down_hears_of_it_later() -> None:
    cluster = make_cluster(Plan(1))
    cluster.accounting.is_down = True
    job = cluster.submit()
    cluster.advance(30)
    down = answer(cluster, ("sacct", "-j", str(job)))
    assert down.code == 1
    assert "Connection refused" in down.err
    cluster.accounting.is_down = False
    assert rows(cluster, job) == [f"{job}|COMPLETED|0:0"]


def test_no_accounting_says_so() -> None:
    cluster = make_cluster(Plan(1), has_accounting=False)
    cluster.submit()
    done = answer(cluster, ("sacct",))
    assert (done.code, done.err) == (1, "Slurm accounting storage is disabled\n")


def test_controller_that_is_away_answers_nobody_and_starts_nothing() -> None:
    cluster = make_cluster(Plan(1))
    cluster.restart_controller(60)
    done = answer(cluster, ("squeue", "--me"))
    assert done.code == 1
    assert "Unable to contact slurm controller" in done.err
    cluster.advance(61)
    assert answer(cluster, ("squeue", "--me")).code == 0


def test_revoked_job_waits_for_its_sibling() -> None:
    cluster = make_cluster(Plan(1))
    job = cluster.submit()
    cluster.revoke(job)
    cluster.advance(30)
    assert words(cluster, job) == [(None, "REVOKED", "None")]
    cluster.revoke(job, is_back=True)
    assert cluster.drain()


def test_components_of_a_het_job_have_an_offset() -> None:
    cluster = make_cluster(Plan(10))
    leader = cluster.submit_het(Options(), Options(cpus=2))
    done = answer(cluster, ("squeue", "-h", "-o", "%i"))
    assert sorted(done.out.split()) == [f"{leader}+0", f"{leader}+1"]


def test_dependency_on_a_forgotten_failure_is_fulfilled() -> None:
    """Seen on 22.05: afterok on a purged job that failed ran."""
    cluster = make_cluster()
    cluster.behave = lambda process: Plan(1, code=0 if process.job.options.dependency else 1)
    bad = cluster.submit()
    cluster.advance(3)
    waits = cluster.submit(dependency=f"afterok:{bad}")
    cluster.advance(2)
    assert words(cluster, waits) == [(None, "PENDING", "DependencyNeverSatisfied")]
    cluster.advance(30)
    late = cluster.submit(dependency=f"afterok:{bad}")
    cluster.advance(3)
    assert words(cluster, late) == [(None, "COMPLETED", "None")]


def test_full_queue_refuses_for_now() -> None:
    cluster = make_cluster(max_job_count=10)
    with pytest.raises(SlurmError, match="Resource temporarily unavailable"):
        cluster.submit(array="0-10")


def test_hook_may_change_the_end_of_a_process() -> None:
    cluster = make_cluster(Plan(1000))

    def end_soon(process: Process) -> None:
        cluster.end(process, 3, code=7)

    cluster.on_start = end_soon
    job = cluster.submit()
    cluster.advance(10)
    assert rows(cluster, job) == [f"{job}|FAILED|7:0"]


def test_nothing_is_left_taken_when_all_has_ended() -> None:
    cluster = Cluster(seed=3)
    draw = cluster.random
    cluster.behave = lambda process: Plan(draw.uniform(1, 90), code=draw.choice([0, 0, 1]))
    jobs = [cluster.submit(array="0-40%9", time_s=60) for _ in range(5)]
    for step in range(60):
        cluster.advance(draw.uniform(1, 20))
        target = f"{draw.choice(jobs)}_{draw.randrange(41)}"
        with suppress(SlurmError):
            (cluster.cancel, cluster.requeue, cluster.hold, cluster.release)[step % 4](target)
        if step % 15 == 0:
            cluster.fail_node("n1", cut_off=step % 2 == 0)
            cluster.return_node("n1")
    for job in jobs:
        for record in list(cluster.records(job)):
            cluster.release(record.id)
    assert cluster.drain()
    assert set(cluster.active.values()) == {0}
    assert set(cluster.submitted.values()) == {0}
    assert all(node.free_cpus == node.kind.cpus for node in cluster.nodes.values())
    assert all(node.free_mem_mb == node.kind.mem_mb for node in cluster.nodes.values())


def test_cluster_survives_pickling() -> None:
    cluster = Cluster()
    cluster.submit(array="0-9%2")
    cluster.advance(3)
    copy = pickle.loads(pickle.dumps(cluster))
    assert copy.drain()
    assert cluster.drain()
    assert copy.now == cluster.now
