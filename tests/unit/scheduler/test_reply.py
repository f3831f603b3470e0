import pytest

from penstock.errors import (
    LimitReached,
    NoRoom,
    Refused,
    SchedulerError,
    SchedulerMissing,
    Unsure,
)
from penstock.scheduler import reply
from penstock.transport.protocol import Finished
from tests.unit.scheduler import recorded

LATER = {
    "over-qos-limit": NoRoom,
    "over-submit-limit": NoRoom,
    "slurmctld-down": LimitReached,
    "munge-down": LimitReached,
}


def refusals() -> list[str]:
    return [
        name
        for name, row in recorded.index().items()
        if name.startswith("sbatch.") and row["exit"] != 0
    ]


@pytest.mark.parametrize(
    "out",
    [
        "1234\n",
        "1234;penstock\n",
        "Submitted batch job 1234\n",
        "Submitted batch job 1234 on cluster penstock\n",
        "*** Maintenance on Monday ***\n\n1234\n",
        "1234\n\n---------\nsite: project x has 12 hours left\n",
        "1234\nSubmitted batch job 1234\n",
        "  1234  \n",
        "1234\nsite: project x has 1",
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_job_takes_the_one_id(out: str, code: int) -> None:
    assert reply.job(Finished(code, out, "noise: 99\n")) == 1234


@pytest.mark.parametrize("name", ["accepted", "accepted-parsable", "accepted-cluster"])
def test_job_takes_what_slurm_printed(name: str) -> None:
    assert reply.job(Finished(0, recorded.out(f"sbatch.{name}"), "")) > 0


@pytest.mark.parametrize(
    "out", ["", "ok\n", "1234\n1235\n", "12 34\n", "-5\n", "job 12\n", "12_3\n", "١٢\n"]
)
def test_job_without_one_id_is_unsure(out: str) -> None:
    with pytest.raises(Unsure, match="no single job id"):
        reply.job(Finished(0, out, ""))


@pytest.mark.parametrize("out", ["8;elsewhere\n", "Submitted batch job 8 on cluster elsewhere\n"])
def test_job_of_another_cluster_is_unsure(out: str) -> None:
    with pytest.raises(Unsure, match="this cluster is penstock"):
        reply.job(Finished(0, out, ""), "penstock")


def test_job_of_this_cluster_is_taken_in_any_case() -> None:
    assert reply.job(Finished(0, "8;Penstock\n", ""), "penstock") == 8


@pytest.mark.parametrize("out", ["12", "Submitted batch job 1", "hello\n12;penst"])
@pytest.mark.parametrize("code", [0, 1])
def test_job_of_an_answer_that_was_cut_is_unsure(out: str, code: int) -> None:
    refused = "sbatch: error: Batch job submission failed: Invalid qos specification\n"
    with pytest.raises(Unsure):
        reply.job(Finished(code, out, refused if code else ""))


def test_job_with_two_ids_is_unsure_though_it_failed() -> None:
    answer = Finished(1, "12\n13\n", "sbatch: error: Batch job submission failed: Invalid qos\n")
    with pytest.raises(Unsure):
        reply.job(answer)


@pytest.mark.parametrize("name", refusals())
def test_every_recorded_refusal_is_sure(name: str) -> None:
    row = recorded.index()[name]
    answer = Finished(int(row["exit"]), recorded.out(name), recorded.err(name))
    wanted = LATER.get(name.removeprefix("sbatch."), Refused)
    with pytest.raises(SchedulerError) as caught:
        reply.job(answer)
    assert type(caught.value) is wanted


def failed(why: str, *before: str, code: int = 1) -> Finished:
    lines = [*before, f"Batch job submission failed: {why}"]
    return Finished(code, "", "".join(f"sbatch: error: {line}\n" for line in lines))


POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    "answer, wanted",
    [
        (failed(POLICY, "AssocMaxSubmitJobLimit"), NoRoom),
        (failed(POLICY, "QOSMaxSubmitJobPerUserLimit"), NoRoom),
        (failed(POLICY, "AssocGrpSubmitJobsLimit"), NoRoom),
        (failed(POLICY, "QOSMaxCpuPerUserLimit"), Refused),
        (failed(POLICY, "AssocMaxWallDurationPerJobLimit"), Refused),
        (failed(POLICY), Refused),
        (failed("MaxJobCount limit reached"), LimitReached),
        (failed("Resource temporarily unavailable"), LimitReached),
        (failed("Required partition not available (inactive or drain)"), LimitReached),
        (failed("Requested nodes are busy"), LimitReached),
        (failed("System submissions disabled"), LimitReached),
        (failed("Rate limit exceeded, please retry momentarily"), LimitReached),
        (failed("Slurm backup controller in standby mode"), LimitReached),
        (failed("Unable to contact slurm controller (connect failure)"), LimitReached),
        (failed("Unspecified error", "project x has no hours left"), Refused),
        (failed("Job dependency problem"), Refused),
        (failed("Node count specification invalid"), Refused),
        (failed("Access/permission denied"), Refused),
        # perhaps submitted
        (failed("Unspecified error"), Unsure),
        (failed("Socket timed out on send/recv operation"), Unsure),
        (failed("Unable to contact slurm controller (receive failure)"), Unsure),
        (failed("Unable to contact slurm controller (send failure)"), Unsure),
        (failed("Zero Bytes were transmitted or received"), Unsure),
        (failed("Header lengths are longer than data received"), Unsure),
        (failed("Protocol authentication error"), Unsure),
        (failed("Invalid authentication credential"), Unsure),
        (failed("Invalid job credential"), Unsure),
        (failed("Connection timed out reading"), Unsure),
        (failed("Requested time-out of the socket"), Unsure),
        (failed("Unexpected message received"), Unsure),
        (failed("something new"), Unsure),
        (Finished(-9, "", ""), Unsure),
        (Finished(137, "", "Killed\n"), Unsure),
        (Finished(1, "", ""), Unsure),
        (Finished(1, "", "wrapper: python crashed\n"), Unsure),
        # surely not
        (Finished(127, "", "bash: sbatch: command not found\n"), SchedulerMissing),
        (Finished(255, "", "sbatch: unrecognized option '--foo'\n"), Refused),
        (Finished(1, "", "sbatch: error: Batch script contains DOS line breaks\n"), Refused),
        (Finished(1, "", "sbatch: fatal: Unable to process configuration file\n"), LimitReached),
    ],
)  # fmt: skip
def test_refusal_is_sure_only_where_nothing_can_have_been_submitted(
    answer: Finished, wanted: type[SchedulerError]
) -> None:
    with pytest.raises(SchedulerError) as caught:
        reply.job(answer)
    assert type(caught.value) is wanted


@pytest.mark.parametrize(
    "name, hint",
    [
        ("bad-partition", "sinfo"),
        ("bad-account", "account:"),
        ("bad-qos", "qos:"),
        ("bad-option", "man sbatch"),
        ("too-much-memory", "less"),
        ("bad-gres", "gpus:"),
        ("bad-constraint", "features"),
        ("array-index-too-large", "MaxArraySize"),
    ],
)
def test_refusal_says_what_to_do(name: str, hint: str) -> None:
    error = reply.refusal(Finished(1, "", recorded.err(f"sbatch.{name}")))
    assert hint in error.hint
