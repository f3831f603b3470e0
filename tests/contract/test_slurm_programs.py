"""What Slurm's programs answer: the model and a real Slurm are held to the same.

What differs is mended in the model. Each test says what was seen on a real 22.05.
"""

import pwd
from pathlib import Path

import pytest

from penstock.testing.model import Plan
from penstock.transport.protocol import Finished
from tests.contract.programs import (
    SLEEP,
    USER,
    Model,
    Real,
    Slurm,
    eventually,
    history,
    queue,
    submit,
)


def test_array_waits_as_one_row_and_its_tasks_start_apart(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-5%2")
    wanted = ["J_0|RUNNING|None", "J_1|RUNNING|None", "J_[2-5%2]|PENDING|JobArrayTaskLimit"]
    eventually(slurm, lambda: queue(slurm, job), wanted)


def test_ends_are_told_with_code_signal_and_reason(slurm: Slurm) -> None:
    ends = {
        "true": ["J|COMPLETED|0:0"],
        "exit 3": ["J|FAILED|3:0"],
        "kill -9 $$": ["J|FAILED|0:9"],
    }
    jobs = {last: submit(slurm, last) for last in ends}
    for last, wanted in ends.items():
        job = jobs[last]

        def ended(job: str = job) -> list[str]:
            return history(slurm, job, "JobID,State,ExitCode")

        eventually(slurm, ended, wanted)


def test_ended_job_stays_in_the_queue_with_its_reason_until_min_job_age(slurm: Slurm) -> None:
    job = submit(slurm, "exit 3")
    eventually(slurm, lambda: queue(slurm, job), ["J|FAILED|NonZeroExitCode"])
    eventually(slurm, lambda: queue(slurm, job), [])


def test_last_task_keeps_the_id_of_the_array(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=3-5")
    eventually(slurm, lambda: len(queue(slurm, job)), 3)
    raw = dict(line.split("|") for line in queue(slurm, job, "%i|%A"))
    assert raw["J_5"] == "J"
    assert "J" not in (raw["J_3"], raw["J_4"])


def test_cancelled_pending_task_leaves_no_row_anywhere(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-9", "--hold")
    slurm.run("scancel", f"{job}_[3,7-8]")
    assert queue(slurm, job) == ["J_[0-2,4-6,9]|PENDING|JobHeldUser"]
    wanted = ["J_[0-2,4-6,9]|PENDING"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State"), wanted)


def test_cancelled_array_that_never_ran_is_one_row(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-9%2", "--hold")
    slurm.run("scancel", job)
    assert queue(slurm, job, "%i|%T|%N") == ["J_[0-9%2]|CANCELLED|"]
    uid = pwd.getpwnam(USER).pw_uid if isinstance(slurm, Real) else 1001
    wanted = [f"J_[0-9%2]|CANCELLED by {uid}"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State"), wanted)


def test_cancelled_running_task_says_who_cancelled_it(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-1")
    running = ["J_0|RUNNING|None", "J_1|RUNNING|None"]
    eventually(slurm, lambda: queue(slurm, job), running)
    slurm.run("scancel", f"{job}_0")
    wanted = ["J_0|CANCELLED|None", "J_1|RUNNING|None"]
    eventually(slurm, lambda: queue(slurm, job), wanted)
    uid = pwd.getpwnam(USER).pw_uid if isinstance(slurm, Real) else 1001
    told = [f"J_0|CANCELLED by {uid}|0:0", "J_1|RUNNING|0:0"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State,ExitCode"), told)


def test_cancelling_what_is_gone_or_unknown_is_no_error(slurm: Slurm) -> None:
    assert slurm.run("scancel", "66999999") == Finished(0, "", "")
    job = submit(slurm, "true")
    eventually(slurm, lambda: queue(slurm, job), [])
    assert slurm.run("scancel", job) == Finished(0, "", "")


def test_requeued_task_hides_in_the_row_of_the_rest(slurm: Slurm) -> None:
    """squeue merges the pending records of an array: only -r tells them apart."""
    job = submit(slurm, "sleep 100", "--array=0-5%2")
    eventually(slurm, lambda: len(queue(slurm, job)), 3)
    slurm.run("scontrol", "requeuehold", f"{job}_1")
    wanted = [
        "J_0|RUNNING|None",
        "J_2|RUNNING|None",
        "J_[1,3-5]|PENDING|JobArrayTaskLimit,JobHeldUser",
    ]
    eventually(slurm, lambda: queue(slurm, job), wanted)
    assert "J_1|PENDING|job requeued in held state" in queue(slurm, job, "%i|%T|%r", "-r")


def test_requeue_keeps_the_id_and_rewrites_submit(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100")
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    before = queue(slurm, job, "%V")
    slurm.wait(1)
    slurm.run("scontrol", "requeue", job)
    eventually(slurm, lambda: queue(slurm, job), ["J|PENDING|BeginTime"])
    assert queue(slurm, job, "%V") > before
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    rows = ["J|REQUEUED", "J|RUNNING"]
    eventually(slurm, lambda: history(slurm, job, "JobID,State", "-D"), rows)
    assert history(slurm, job, "JobID,State") == ["J|RUNNING"]


def test_held_job_is_not_found_by_name_in_the_accounting(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--hold")
    eventually(slurm, lambda: history(slurm, job, "JobID,State"), ["J|PENDING"])
    found = slurm.run("sacct", "-nPX", "-S", "now-1hour", "--name=tok-1.label", "-o", "JobIDRaw")
    assert job not in found.out.split()


def test_hold_of_a_running_job_waits_for_its_requeue(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100")
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    slurm.run("scontrol", "hold", job)
    assert queue(slurm, job) == ["J|RUNNING|JobHeldUser"]
    slurm.run("scontrol", "requeue", job)
    eventually(slurm, lambda: queue(slurm, job), ["J|PENDING|JobHeldUser"])
    slurm.run("scontrol", "release", job)
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])


def test_special_exit_is_a_word_of_its_own(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100")
    eventually(slurm, lambda: queue(slurm, job), ["J|RUNNING|None"])
    slurm.run("scontrol", "requeuehold", "State=SpecialExit", job)
    eventually(slurm, lambda: queue(slurm, job, "%i|%T"), ["J|SPECIAL_EXIT"])
    slurm.run("scancel", job)
    eventually(slurm, lambda: queue(slurm, job, "%i|%T"), ["J|CANCELLED"])


def test_more_time_than_the_partition_allows_waits_for_ever(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--time=3-0")
    eventually(slurm, lambda: queue(slurm, job), ["J|PENDING|PartitionTimeLimit"])


def test_missing_folder_for_output_is_0_53(slurm: Slurm) -> None:
    if isinstance(slurm, Model):
        slurm.cluster.behave = lambda process: Plan(is_launch_failure=True)
    job = submit(slurm, "true", "--output=/nonexistent/folder/x")
    eventually(slurm, lambda: history(slurm, job, "JobID,State,ExitCode"), ["J|FAILED|0:53"])


REFUSED = [
    (("--partition=nope",), "Batch job submission failed: Invalid partition name specified"),
    (("--account=nope",), "Invalid account or account/partition combination specified"),
    (("--qos=nope",), "Batch job submission failed: Invalid qos specification"),
    (("--array=0-5000",), "Batch job submission failed: Invalid job array specification"),
    (("--array=x",), "Batch job submission failed: Invalid job array specification"),
    (("--mem=999999",), "Batch job submission failed: Requested node configuration is not"),
    (("--constraint=nope",), "Batch job submission failed: Invalid feature specification"),
    (("--gres=foo:1",), "sbatch: error: Invalid generic resource (gres) specification"),
    (("--qos=few", "--array=0-10"), "QOSMaxSubmitJobPerUserLimit"),
    (("--partition=closed",), "User's group not permitted to use this partition"),
]


@pytest.mark.parametrize("options, text", REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_refusal_says_why(slurm: Slurm, options: tuple[str, ...], text: str) -> None:
    done = slurm.run("sbatch", *options, stdin=f"{SLEEP}true\n")
    assert (done.code, done.out) == (1, "")
    assert text in done.err
    tested = slurm.run("sbatch", "--test-only", *options, stdin=f"{SLEEP}true\n")
    assert tested.code == 1
    assert text.removeprefix("Batch job submission failed: ") in tested.err


def test_bad_options_end_with_255(slurm: Slurm) -> None:
    for option in ("--nosuch", "--time=x"):
        assert slurm.run("sbatch", option, stdin=f"{SLEEP}true\n").code == 255


def test_each_task_counts_against_the_submit_limit(slurm: Slurm) -> None:
    done = slurm.run("sbatch", "--array=0-20%1", stdin=f"{SLEEP}true\n", user="bob")
    assert done.code == 1
    assert "AssocMaxSubmitJobLimit" in done.err


def test_test_only_submits_nothing(slurm: Slurm) -> None:
    done = slurm.run("sbatch", "--test-only", stdin=f"{SLEEP}true\n")
    assert (done.code, done.out) == (0, "")
    assert "in partition batch" in done.err


def test_unknown_id_alone_is_an_error_and_among_others_is_none(slurm: Slurm) -> None:
    alone = slurm.run("squeue", "-h", "-j", "66999999")
    assert alone == Finished(1, "", "slurm_load_jobs error: Invalid job id specified\n")
    assert slurm.run("squeue", "-h", "-j", "66999999,66999998") == Finished(0, "", "")


def test_one_unknown_field_fails_the_whole_query(slurm: Slurm) -> None:
    done = slurm.run("sacct", "-o", "JobID,Restarts")
    assert done == Finished(1, "", 'sacct: error: Invalid field requested: "Restarts"\n')


def test_indices_are_cut_unless_the_environment_says_otherwise(slurm: Slurm) -> None:
    indices = "1,3,5,7,9,11,13,16,20,25,30,36,41,49,53,60,64,77,81,99"
    job = submit(slurm, "true", f"--array={indices}%3", "--hold")
    head = f"{job}_["
    cut = {"0": f"{head}{indices}%3]", "20": f"{head}1,3,5,7,9,11,13,...%3]"}
    for length, wanted in cut.items():
        slurm.env["SLURM_BITSTR_LEN"] = length
        assert slurm.run("squeue", "-h", "-j", job, "-o", "%i").out == f"{wanted}\n"
    del slurm.env["SLURM_BITSTR_LEN"]
    whole = f"{head}{indices}%3]"
    assert slurm.run("squeue", "-h", "-j", job, "-o", "%i").out == f"{whole[:31]}\n"


def test_evenly_spaced_indices_are_told_with_their_step(slurm: Slurm) -> None:
    job = submit(slurm, "true", "--array=0-20:4%3", "--hold")
    assert queue(slurm, job, "%i") == ["J_[0-20:4%3]"]
    few = submit(slurm, "true", "--array=0-8:4", "--hold")
    assert queue(slurm, few, "%i") == ["J_[0,4,8]"]


def test_a_variable_of_squeue_empties_its_answer(slurm: Slurm) -> None:
    job = submit(slurm, "true", "--hold")
    slurm.env["SQUEUE_STATES"] = "RUNNING"
    assert slurm.run("squeue", "-h", "-j", job, "-o", "%i") == Finished(0, "", "")


def test_throttle_changes_on_a_live_array(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-5%1")
    eventually(slurm, lambda: len(queue(slurm, job)), 2)
    done = slurm.run("scontrol", "update", f"JobId={job}", "ArrayTaskThrottle=3")
    assert done == Finished(0, "", "")
    wanted = [*(f"J_{i}|RUNNING|None" for i in range(3)), "J_[3-5%3]|PENDING|JobArrayTaskLimit"]
    eventually(slurm, lambda: queue(slurm, job), wanted)


def test_errors_of_a_part_of_an_array_are_told_by_task(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--array=0-1")
    eventually(slurm, lambda: len(queue(slurm, job)), 2)
    slurm.run("scancel", f"{job}_1")
    eventually(slurm, lambda: "J_1|CANCELLED|None" in queue(slurm, job), True)
    done = slurm.run("scontrol", "hold", job)
    assert done.code == 1
    assert done.err == f"{job}_0: No error\n{job}_1: Job has already finished\n"


def test_another_users_job_is_not_to_be_cancelled(slurm: Slurm) -> None:
    job = submit(slurm, "sleep 100", "--hold", user="bob")
    done = slurm.run("scancel", job)
    slurm.run("scancel", job, user="bob")
    wanted = f"scancel: error: Kill job error on job id {job}: Access/permission denied\n"
    assert done == Finished(210, "", wanted)


def test_squeue_header_names_the_fields(slurm: Slurm) -> None:
    form = "%i|%F|%K|%A|%T|%t|%r|%R|%j|%u|%P|%V|%S|%e|%N|%M|%l|%D|%C|%Q|%a|%q|"
    done = slurm.run("squeue", "--me", "--name=nobody", "-o", form)
    assert done.out == (
        "JOBID|ARRAY_JOB_ID|ARRAY_TASK_ID|JOBID|STATE|ST|REASON|NODELIST(REASON)|NAME|USER|"
        "PARTITION|SUBMIT_TIME|START_TIME|END_TIME|NODELIST|TIME|TIME_LIMIT|NODES|CPUS|PRIORITY|"
        "ACCOUNT|QOS|\n"
    )


def test_sacct_knows_the_same_fields(slurm: Slurm) -> None:
    """The model is a 22.05; a real one may be newer, and know more."""
    model = Model().run("sacct", "--helpformat").out
    real = slurm.run("sacct", "--helpformat").out
    if slurm.run("sacct", "--version").out == "slurm-wlm 22.05.8\n":
        assert real == model
    assert {"JobID", "State", "Submit"} <= set(real.split())


def test_scripts_are_read_for_options_up_to_the_first_command(slurm: Slurm) -> None:
    text = f"{SLEEP}#SBATCH -H\n\n# more\n#SBATCH -N 1\ntrue\n#SBATCH -J other\n"
    done = slurm.run("sbatch", "--parsable", stdin=text)
    assert queue(slurm, done.out.strip(), "%j") == ["tok-1.label"]


BAD_SCRIPTS = {"": "Batch script is empty!", "echo hi\n": "does not look like a batch script"}


@pytest.mark.parametrize("text", BAD_SCRIPTS)
def test_what_is_no_script_is_refused(slurm: Slurm, text: str, tmp_path: Path) -> None:
    done = slurm.run("sbatch", stdin=text)
    assert (done.code, done.out) == (1, "")
    assert BAD_SCRIPTS[text] in done.err
