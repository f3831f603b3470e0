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
        "1234\r\n",
        "Submitted batch job 1234\r\nsite: bye\r\n",
        "\x1b[32mSubmitted batch job 1234\x1b[0m\n",
        "Submitted batch job \x1b[01;31m\x1b[K1234\x1b[m\x1b[K\n",
        "\x1b[1m1234;penstock\x1b[0m\n",
        "caf\ufffd: \ufffd\ufffd\n1234\n",  # bytes that are no UTF-8, as a transport reads them
        "0\n1234\n",  # no job has the first
        "4294967296\n1234\n",
        "1234;penstock\nSubmitted batch job 1234 on cluster Penstock\n",
    ],
)
@pytest.mark.parametrize("code", [0, 1])
def test_job_takes_the_one_id(out: str, code: int) -> None:
    assert reply.job(Finished(code, out, "noise: 99\n")) == 1234


@pytest.mark.parametrize("name", ["accepted", "accepted-parsable", "accepted-cluster"])
def test_job_takes_what_slurm_printed(name: str) -> None:
    assert reply.job(Finished(0, recorded.out(f"sbatch.{name}"), "")) > 0


@pytest.mark.parametrize(
    "out",
    [
        *("", "ok\n", "1234\n1235\n", "12 34\n", "-5\n", "job 12\n", "12_3\n", "١٢\n"),
        # a table, or a sentence, with a number in it: of a job, or of anything
        "JOBID  NAME\n   12  sweep\n",
        "| JOBID | 12 |\n",
        "+----+\n| 12 |\n+----+\n",
        "NAME|sweep\nJOBID|12\n",
        '{"job_id": 12}\n',
        "12 PENDING\n",
        "project x has used 80 % of 12\n",
        "Job <12> is submitted to queue <batch>.\n",
        "Submitted batch job 12.\n",
        "sbatch: Submitted batch job 12\n",
        "Submitted batch job 12 on cluster\n",
        "Submitted batch job 12 on cluster x y\n",
        "12;\n",
        "12;x;y\n",
        # several, or none that a job can have
        *("12,13\n", "12-13\n", "12\n12;x\n13;x\n", "12;x\n12;y\n"),
        *("0\n", "Submitted batch job 0\n", "012\n", "+12\n", "1e3\n", "1.5\n"),
        *("4294967294\n", "4294967295\n", f"{2**32 + 12}\n", f"{2**64 + 12}\n", "9" * 40 + "\n"),
        # garbage
        *("\ufeff12\n", "12\0\n", "\ufffd12\n", "1\x1b[0m2\n", "12\x1b]0;title\x07\n"),
        *("50%\r12\n", "12\r13\n", "x\u202812\n", "12\x0c13\n"),
    ],
)
def test_job_without_one_id_is_unsure(out: str) -> None:
    """It is looked up by its token then; a wrong id would be believed for good."""
    with pytest.raises(Unsure, match="no single job id"):
        reply.job(Finished(0, out, ""))


@pytest.mark.parametrize("out", ["| JOBID | 12 |\n", "0\n", "Job <12> is submitted\n"])
def test_table_of_a_wrapper_that_failed_is_unsure(out: str) -> None:
    with pytest.raises(Unsure, match="sbatch failed"):
        reply.job(Finished(1, out, "wrapper: it broke\n"))


@pytest.mark.parametrize("number", [1, 67_043_328, 67_108_865, 2**32 - 3])
def test_job_takes_the_id_of_any_cluster_of_a_federation(number: int) -> None:
    """Its upper six bits are the cluster's."""
    assert reply.job(Finished(0, f"{number}\n", "")) == number


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
