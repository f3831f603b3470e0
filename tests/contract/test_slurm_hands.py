"""What people do to jobs by hand, and what Slurm's other programs say: on the model and for real.

As in ``test_slurm_programs``: what differs is mended in the model.
"""

import re

import pytest

from penstock.scheduler import room
from penstock.transport.protocol import Finished
from tests.contract.programs import (
    SLEEP,
    Slurm,
    components,
    course,
    eventually,
    het,
    history,
    queue,
    shown,
    submit,
)

DENIED = "Access/permission denied"
FINISHED = "Job has already finished"
PENDING = "Job is pending execution"
DISABLED = "Requested operation is presently disabled"


def control(slurm: Slurm, *words: str, user: str = "alice") -> Finished:
    return slurm.run("scontrol", *words, user=user)


# --- hold and release


def test_hold_and_release_of_one_task_of_a_waiting_rest(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-3%1")
    wanted = ["J_0|RUNNING|None", "J_[1-3%1]|PENDING|JobArrayTaskLimit"]
    eventually(slurm, lambda: queue(slurm, job), wanted)
    assert control(slurm, "hold", f"{job}_2") == Finished(0, "", "")
    apart = ["J_1|JobArrayTaskLimit", "J_2|JobHeldUser", "J_3|JobArrayTaskLimit"]
    form = "%i|%r"
    assert [line for line in queue(slurm, job, form, "-r") if "J_0" not in line] == apart
    assert control(slurm, "release", f"{job}_2") == Finished(0, "", "")
    assert "J_2|JobHeldUser" not in queue(slurm, job, form, "-r")


def test_hold_of_a_whole_array_holds_what_runs_for_when_it_comes_back(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-3%1")
    eventually(slurm, lambda: len(queue(slurm, job)), 2)
    assert control(slurm, "hold", job) == Finished(0, "", "")
    held = ["J_0|RUNNING|JobHeldUser", "J_[1-3%1]|PENDING|JobHeldUser"]
    assert queue(slurm, job) == held
    assert control(slurm, "release", job) == Finished(0, "", "")
    assert "J_0|RUNNING|None" in queue(slurm, job)


def test_hold_of_an_administrator_is_not_for_the_user_to_release(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--hold")
    assert control(slurm, "hold", job, user="root").code == 0
    assert queue(slurm, job) == ["J|PENDING|JobHeldAdmin"]
    assert control(slurm, "release", job) == Finished(1, "", *says(job, DENIED, is_held=True))
    assert control(slurm, "uhold", job, user="root").code == 0
    assert queue(slurm, job) == ["J|PENDING|JobHeldUser"]
    assert control(slurm, "release", job).code == 0
    course(slurm, job, "PENDING|None?", "PENDING|Priority?", "RUNNING|None")


def says(job: str, why: str, *, is_held: bool = False) -> tuple[str]:
    """Return what scontrol prints; of hold and release it says it twice."""
    return (f"{why} for job {job}\n" + (f"slurm_suspend error: {why}\n" if is_held else ""),)


# --- requeue


def test_requeue_of_what_waits_is_refused(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--hold")
    for verb in ("requeue", "requeuehold"):
        assert control(slurm, verb, job) == Finished(1, "", *says(job, PENDING))


def test_requeuehold_waits_for_its_user_and_then_at_once_no_more(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100")
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    assert control(slurm, "requeuehold", job) == Finished(0, "", "")
    held = "job requeued in held state"
    course(slurm, job, "RUNNING|None?", f"COMPLETING|{held}?", f"PENDING|{held}")
    assert control(slurm, "release", job) == Finished(0, "", "")
    waits = ("PENDING|BeginTime?", "PENDING|None?", "PENDING|Priority?", "PENDING|BeginTime?")
    course(slurm, job, f"PENDING|{held}?", *waits, "PENDING|None?", "RUNNING|None")
    rows = ["J|REQUEUED|0:0", "J|RUNNING|0:0"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State,ExitCode", "-D"), rows)
    assert shown(slurm, job)["Restarts"] == "1"


def test_requeuehold_of_what_failed_keeps_its_code_in_the_row_before(slurm: Slurm) -> None:
    job = submit(slurm, "exit 3")
    eventually(slurm, lambda: queue(slurm, job), ["J|FAILED|NonZeroExitCode"])
    eventually(slurm, lambda: history(slurm, job, "JobID,State"), ["J|FAILED"])
    assert control(slurm, "requeuehold", job) == Finished(0, "", "")
    assert queue(slurm, job) == ["J|PENDING|job requeued in held state"]
    rows = ["J|REQUEUED|3:0", "J|PENDING|0:0"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State,ExitCode", "-D"), rows)
    assert shown(slurm, job)["Restarts"] == "1"
    control(slurm, "release", job)
    rows = ["J|REQUEUED|3:0", "J|FAILED|3:0"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State,ExitCode", "-D"), rows)


def test_requeue_is_refused_where_the_job_may_not(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--no-requeue")
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    for verb in ("requeue", "requeuehold"):
        assert control(slurm, verb, job) == Finished(1, "", *says(job, DISABLED))
    assert shown(slurm, job)["Requeue"] == "0"
    assert control(slurm, "update", f"JobId={job}", "Requeue=1").code == 0
    assert control(slurm, "requeue", job) == Finished(0, "", "")
    course(slurm, job, "RUNNING|None?", "COMPLETING|None?", "PENDING|None?", "PENDING|BeginTime")


def test_what_has_ended_can_be_requeued_and_not_held_or_changed(slurm: Slurm) -> None:
    job = submit(slurm, "true")
    eventually(slurm, lambda: queue(slurm, job), ["J|COMPLETED|None"])
    for verb in ("hold", "release"):
        assert control(slurm, verb, job) == Finished(1, "", *says(job, FINISHED, is_held=True))
    renamed = control(slurm, "update", f"JobId={job}", "Name=x")
    assert renamed == Finished(1, "", *says(job, FINISHED))
    assert control(slurm, "requeue", job) == Finished(0, "", "")


# --- update


def test_update_of_a_waiting_job(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--hold")

    def update(*fields: str) -> str:
        done = control(slurm, "update", f"JobId={job}", *fields)
        assert (done.code == 0) == (done.err == ""), done
        return done.err

    assert update("Name=tok-1.label.mine", "Partition=urgent", "TimeLimit=20") == ""
    assert update("TimeLimit=5") == ""
    assert queue(slurm, job, "%j|%P|%l|%T") == ["tok-1.label.mine|urgent|5:00|PENDING"]
    assert update("TimeLimit=20") == ""  # of what waits a user may ask for more, too
    assert update("Partition=nope") == f"Invalid partition name specified for job {job}\n"
    not_known = "Update of this parameter is not supported: Nope=x\nRequest aborted\n"
    assert update("Nope=x") == not_known
    assert update("StartTime=now+60") == ""
    control(slurm, "release", job)
    eventually(slurm, lambda: queue(slurm, job), ["J|PENDING|BeginTime"])
    assert update("StartTime=now") == ""
    course(slurm, job, "PENDING|BeginTime?", "PENDING|None?", "RUNNING|None")
    slurm.run("scancel", job)


def test_update_of_a_running_job_gives_it_no_more_than_it_has(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--time=10")
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    asked = f"JobId={job}"
    more = control(slurm, "update", asked, "TimeLimit=20")
    assert more == Finished(1, "", *says(job, DENIED))
    assert control(slurm, "update", asked, "TimeLimit=5") == Finished(0, "", "")
    assert queue(slurm, job, "%l") == ["5:00"]
    moved = control(slurm, "update", asked, "Partition=urgent")
    assert moved == Finished(1, "", *says(job, "Job is no longer pending execution"))
    assert control(slurm, "update", asked, "TimeLimit=20", user="root").code == 0
    assert queue(slurm, job, "%l") == ["20:00"]


def test_update_of_what_is_not_there(slurm: Slurm) -> None:
    done = control(slurm, "update", "JobId=66999999", "Name=x")
    assert done == Finished(1, "", "Invalid job id specified for job 66999999\n")


# --- sizes of arrays


def test_index_has_to_be_below_max_array_size(slurm: Slurm) -> None:
    """Its default is 1001, so 1000 is the highest: it bounds the index, not the number."""
    told = slurm.run("scontrol", "show", "config").out
    (size,) = re.findall(r"^MaxArraySize\s*= (\d+)$", told, re.MULTILINE)
    last = int(size) - 1
    job = submit(slurm, "true", f"--array=5,{last}", "--hold")
    assert queue(slurm, job, "%i") == [f"J_[5,{last}]"]
    for indices in (f"{last + 1}", f"{last}-{last + 1}", f"0-{last + 1}%2"):
        done = slurm.run("sbatch", f"--array={indices}", "--hold", stdin=f"{SLEEP}true\n")
        why = "sbatch: error: Batch job submission failed: Invalid job array specification\n"
        assert done == Finished(1, "", why)


# --- heterogeneous jobs


def test_components_have_an_offset_and_ids_of_their_own(slurm: Slurm) -> None:
    job = het(slurm, "sleep 100", "--hold")
    second = int(job) + 1
    ids = [f"J+0|{job}|{job}|N/A|tok-1.label", f"J+1|{second}|{second}|N/A|tok-1.label"]
    assert components(slurm, job, "%i|%F|%A|%K|%j") == ids
    rows = [f"J+0|{job}|PENDING", f"J+1|{second}|PENDING"]

    eventually(slurm, lambda: het_history(slurm, job), rows)
    slurm.run("scancel", job)


def het_history(slurm: Slurm, leader: str, form: str = "JobID,JobIDRaw,State") -> list[str]:
    done = slurm.run("sacct", "-nPX", "-j", leader, "-o", form)
    assert done.code == 0, done.err
    return sorted(line.replace(f"{leader}+", "J+") for line in done.out.splitlines())


def test_waiting_component_cannot_be_cancelled_alone(slurm: Slurm) -> None:
    job = het(slurm, "sleep 100", "--hold")
    not_alone = "Operation not permitted on individual component of heterogeneous job"
    for target in (f"{job}+1", str(int(job) + 1)):
        wanted = f"scancel: error: Kill job error on job id {target}: {not_alone}\n"
        assert slurm.run("scancel", target) == Finished(60, "", wanted)
    assert components(slurm, job) == ["J+0|PENDING|JobHeldUser", "J+1|PENDING|JobHeldUser"]
    assert slurm.run("scancel", job) == Finished(0, "", "")
    assert components(slurm, job, "%i|%T") == ["J+0|CANCELLED", "J+1|CANCELLED"]


def test_running_component_is_cancelled_alone_and_the_leader_takes_all(slurm: Slurm) -> None:
    job = het(slurm, "sleep 100")
    running = ["J+0|RUNNING|None", "J+1|RUNNING|None"]
    eventually(slurm, lambda: components(slurm, job), running)
    assert slurm.run("scancel", f"{job}+1") == Finished(0, "", "")
    alone = ["J+0|RUNNING", "J+1|CANCELLED"]
    eventually(slurm, lambda: components(slurm, job, "%i|%T"), alone)
    slurm.run("scancel", job)
    every = ["J+0|CANCELLED", "J+1|CANCELLED"]
    eventually(slurm, lambda: components(slurm, job, "%i|%T"), every)


def test_hold_release_and_requeue_of_the_leader_are_of_all(slurm: Slurm) -> None:
    job = het(slurm, "sleep 100", "--hold")
    control(slurm, "release", job)
    running = ["J+0|RUNNING", "J+1|RUNNING"]
    eventually(slurm, lambda: components(slurm, job, "%i|%T"), running)
    control(slurm, "requeue", job)
    waits = ["J+0|PENDING", "J+1|PENDING"]
    eventually(slurm, lambda: components(slurm, job, "%i|%T"), waits)
    slurm.run("scancel", job)


def test_components_of_the_command_line_stand_between_colons(slurm: Slurm) -> None:
    words = ("--hold", "--mem=10M", ":", "--mem=20M", "--job-name=tok-1.second")
    done = slurm.run("sbatch", "--parsable", *words, stdin=f"{SLEEP}true\n")
    assert done.code == 0, done.err
    job = done.out.strip()
    names = ["J+0|tok-1.label", "J+1|tok-1.second"]
    assert components(slurm, job, "%i|%j") == names
    slurm.run("scancel", job)


def test_array_has_no_components(slurm: Slurm) -> None:
    done = slurm.run("sbatch", "--array=0-1", "--hold", stdin=f"{SLEEP}#SBATCH hetjob\ntrue\n")
    why = "sbatch: error: Batch job submission failed: Invalid job array specification\n"
    assert done == Finished(1, "", why)


# --- what else Penstock and its benchmarks read


def test_sdiag_counts_the_requests_of_each_user(slurm: Slurm) -> None:
    def count(pattern: str) -> int:
        done = slurm.run("sdiag")
        assert done.code == 0, done.err
        found = re.search(rf"^\s*{pattern}\s*\(\s*\d+\)\s+count:(\d+)", done.out, re.MULTILINE)
        return int(found[1]) if found else 0

    submits, mine = count("REQUEST_SUBMIT_BATCH_JOB"), count("alice")
    submit(slurm, "true")
    assert count("REQUEST_SUBMIT_BATCH_JOB") > submits
    assert count("alice") > mine


SDIAG = (
    r"sdiag output at \w+ \w+ +\d+ [\d:]+ \d+ \(\d+\)",
    r"Data since      \w+ \w+ +\d+ [\d:]+ \d+ \(\d+\)",
    r"Server thread count:  \d+", r"Agent queue size:     \d+",
    *(rf"Jobs {word}:{blanks}\d+" for word, blanks in (
        ("submitted", " "), ("started", "   "), ("completed", " "), ("canceled", "  "),
        ("failed", "    "), ("pending", "   "), ("running", "   "),
    )),
    r"Remote Procedure Call statistics by message type",
    r"\tREQUEST_\w+ +\( *\d+\) count:\d+ +ave_time:\d+ +total_time:\d+",
    r"Remote Procedure Call statistics by user",
    r"\t\w+ +\( *\d+\) count:\d+ +ave_time:\d+ +total_time:\d+",
    r"Pending RPC statistics",
)  # fmt: skip


def test_sdiag_is_written_as_it_is(slurm: Slurm) -> None:
    submit(slurm, "true", "--hold")
    told = slurm.run("sdiag").out.splitlines()
    at = 0
    for pattern in SDIAG:  # in this order, among others
        following = [n for n, line in enumerate(told) if n >= at and re.fullmatch(pattern, line)]
        assert following, pattern
        at = following[0] + 1


def test_only_an_administrator_resets_what_sdiag_counts(slurm: Slurm) -> None:
    done = slurm.run("sdiag", "--reset")
    assert done.code != 0
    assert DENIED in done.err


@pytest.mark.parametrize(
    "user, wanted",
    [("alice", ["lab|normal", "physics|normal"]), ("bob", ["biology|normal", "lab|normal"])],
)
def test_default_qos_of_a_user_in_each_account(slurm: Slurm, user: str, wanted: list[str]) -> None:
    where = ("assoc", "where", f"user={user}", "cluster=penstock", "format=Account,DefaultQOS")
    done = slurm.run("sacctmgr", "-n", "-P", "show", *where)
    assert sorted(done.out.splitlines()) == wanted


def test_nobody_has_no_association(slurm: Slurm) -> None:
    where = ("assoc", "where", "user=no-such-user", "format=Account,DefaultQOS")
    assert slurm.run("sacctmgr", "-n", "-P", "show", *where) == Finished(0, "", "")


def test_limits_of_every_qos_are_read(slurm: Slurm) -> None:
    done = slurm.run(
        "sacctmgr", "-nP", "show", "qos", "format=Name,GrpSubmit,MaxSubmitPU,MaxSubmitPA"
    )
    table = room.qos_table(done.out)
    assert table["few"] == room.Qos(user=10)
    assert table["normal"] == room.Qos()
    head = slurm.run("sacctmgr", "-P", "show", "qos", "format=Name,MaxSubmitPU").out
    assert head.splitlines()[0] == "Name|MaxSubmitPU"


def test_unknown_field_of_sacctmgr_is_an_error(slurm: Slurm) -> None:
    done = slurm.run("sacctmgr", "-nP", "show", "qos", "format=Name,Nope")
    assert done == Finished(1, "", "Unknown field 'nope'\n")
