from hypothesis import given
from hypothesis import strategies as st

from penstock.scheduler.slots import Queued, Verdict, decide


def make_queued(job: int = 1, **kw: int | None) -> Queued:
    values: dict[str, int | None] = {"cpus": 1, "throttle": None, "waiting": 4, "active": 0}
    return Queued(job, **{**values, **kw})  # type: ignore[arg-type]


def test_all_start_where_there_is_room() -> None:
    assert decide([make_queued()], 8) == [Verdict(1, 4, "JobArrayTaskLimit")]


def test_the_rest_waits_for_resources() -> None:
    assert decide([make_queued()], 3) == [Verdict(1, 3, "Resources")]


def test_cpus_count_for_each_task() -> None:
    assert decide([make_queued(cpus=3)], 8) == [Verdict(1, 2, "Resources")]


def test_the_throttle_counts_what_runs() -> None:
    assert decide([make_queued(throttle=3, active=2)], 8) == [Verdict(1, 1, "JobArrayTaskLimit")]
    assert decide([make_queued(throttle=2, active=2)], 8) == [Verdict(1, 0, "JobArrayTaskLimit")]


def test_nobody_overtakes_who_waits_for_cpus() -> None:
    jobs = [make_queued(1, cpus=4), make_queued(2), make_queued(3, throttle=1, active=1)]
    assert decide(jobs, 3) == [
        Verdict(1, 0, "Resources"),
        Verdict(2, 0, "Priority"),
        Verdict(3, 0, "JobArrayTaskLimit"),
    ]


def test_a_throttled_job_is_overtaken() -> None:
    jobs = [make_queued(1, throttle=1, active=1), make_queued(2, waiting=2)]
    assert [verdict.starts for verdict in decide(jobs, 3)] == [0, 2]


QUEUED = st.builds(
    Queued,
    job=st.integers(1, 99),
    cpus=st.integers(1, 8),
    throttle=st.one_of(st.none(), st.integers(1, 5)),
    waiting=st.integers(1, 20),
    active=st.integers(0, 5),
)


@given(st.lists(QUEUED, max_size=8), st.integers(0, 32))
def test_never_more_starts_than_there_is_room_for(jobs: list[Queued], free: int) -> None:
    verdicts = decide(jobs, free)
    assert sum(v.starts * job.cpus for v, job in zip(verdicts, jobs, strict=True)) <= free
    for verdict, job in zip(verdicts, jobs, strict=True):
        assert 0 <= verdict.starts <= job.waiting
        if job.throttle is not None and verdict.starts:
            assert verdict.starts + job.active <= job.throttle


@given(st.lists(QUEUED, min_size=1, max_size=8))
def test_something_starts_where_all_is_free(jobs: list[Queued]) -> None:
    able = [job for job in jobs if job.throttle is None or job.active < job.throttle]
    assert not able or any(verdict.starts for verdict in decide(jobs, 8))
