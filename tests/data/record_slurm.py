"""Record what a real Slurm prints, for the tests of the parsers.

    deploy/local-slurm up && python -m tests.data.record_slurm

As root, on a local Slurm that nobody else uses meanwhile (LOCAL_SLURM_HOME and `up --port-base`
give one of its own): jobs are preempted, a node fails, daemons are stopped. It takes about six
minutes and writes `slurm-<version>/` beside this file: NAME.out and NAME.err as printed, INDEX.md
and index.json with the command, exit status and user of each. Commands run as alice or bob, in an
environment of a few variables. Dates, ids and times differ from one recording to the next: the
tests are about the forms.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

from tests.data.recorder import LOCAL_SLURM, SACCT_FIELDS, SQUEUE, Recorder, say, wait

HOLED = ",".join(str(n * n % 997) for n in range(1, 101))


def arrays(r: Recorder) -> None:
    """Show array expressions: pending in all their forms, running, throttled, sliced, ended."""
    later = "--begin=now+1hour"
    jobs = [r.submit("true", "--array=0-5%2", later, "-Jthrottled")]
    jobs += [r.submit("true", f"--array={HOLED}", later, "-Jholed")]
    jobs += [r.submit("true", f"--array={HOLED}%7", later, "-Jholed-throttled")]
    jobs += [r.submit("true", "--array=0-40:4", later, "-Jstepped")]
    jobs += [r.submit("true", "--array=0-20:4%3", later, "-Jstepped-throttled")]
    jobs += [r.submit("true", "--array=7", later, "-Jsingle")]
    sliced = r.submit("true", "--array=1-9", later, "-Jsliced")
    r.run("alice", "scancel", f"{sliced}_[2-3]", f"{sliced}_7")
    r.until(sliced, "PENDING", reason="BeginTime")
    r.look("array-pending", *jobs, sliced)
    r.record("array-pending.squeue-short", *SQUEUE, SLURM_BITSTR_LEN="")
    r.record("array-pending.squeue-32", *SQUEUE, SLURM_BITSTR_LEN="32")
    r.record("array-pending.squeue-each", *SQUEUE, "-r")
    fields = ("-j", ",".join(jobs), "-o", SACCT_FIELDS)
    r.record("array-pending.sacct-short", "sacct", "-nPX", *fields, SLURM_BITSTR_LEN="")
    r.clear()
    job = r.submit("sleep 4; exit $((SLURM_ARRAY_TASK_ID % 2))", "--array=0-5%2", "-Jbusy")
    wait(lambda: "RUNNING" in r.admin("squeue", "-h", "-o%T", "-j", job), "a task to run")
    r.look("array-running", job)
    r.until_accounted(job, "COMPLETED", "FAILED")
    r.look("array-ended", job)
    ended = ("-D", "-j", job, "-o", SACCT_FIELDS)
    r.record("array-ended.sacct-unit-separator", "sacct", "-nP", "--delimiter=\x1f", *ended)


def ends(r: Recorder) -> None:
    """Show the ways in which a job may end within seconds."""
    r.clear()
    never = r.submit("true", "--begin=now+1hour", "-Jcancelled-before-start")
    running = r.submit("sleep 300", "-Jcancelled-running")
    r.until(running, "RUNNING")
    r.run("alice", "scancel", never, running)
    by_root = r.submit("sleep 300", "-Jcancelled-by-root")
    r.until(by_root, "RUNNING")
    r.admin("scancel", by_root)
    jobs = [
        r.submit("true", "-Jcompleted"),
        r.submit("exit 3", "-Jfailed-3"),
        r.submit("kill -SEGV $$", "-Jfailed-by-signal"),
        r.submit("kill -USR1 $$", "-Jfailed-by-usr1"),
        r.submit("python3 -c 'x = bytearray(400 << 20); import time; time.sleep(60)'", "-Jmemory"),
        r.submit("true", "--output=no-such-folder/%j", "-Jno-output-folder"),
        r.submit("srun --mem=20 false; true", "-Jstep-failed"),
        r.submit("true", "-Jname with | and  spaces, ünïcode"),
    ]
    for job in jobs:
        r.until_accounted(job, "COMPLETED", "FAILED", "OUT_OF_MEMORY")
    # For a few seconds some rows lack what only the record of the submission brings: name,
    # partition, and the place in an array.
    r.look("ended-just-now", never, running, by_root, *jobs)
    r.record("ended.squeue-json", "squeue", "--me", "-t", "all", "--json")
    r.record("ended.scontrol", "scontrol", "-o", "show", "job", jobs[1])
    wait(lambda: r.are_named((by_root, *jobs)), "sacct to know the names")
    r.look("ended", never, running, by_root, *jobs)
    r.record("ended.sacct-json", "sacct", "-D", "-j", ",".join(jobs), "--json")


def young(r: Recorder) -> None:
    """Show what sacct has of an array of short tasks while its records still arrive."""
    r.clear()
    job = r.submit("true", "--array=0-3", "-Jyoung")
    for seconds in (1, 2, 6):
        time.sleep(seconds)
        fields = ("-j", job, "-o", SACCT_FIELDS)
        r.record(f"young-{seconds}.sacct", "sacct", "-n", "--parsable2", "-X", "-D", *fields)


def holds(r: Recorder) -> None:
    """Show what waits for the user, an administrator, another job or a change of mind."""
    r.clear()
    running = [r.submit("sleep 300", f"-J{name}") for name in ("requeuehold", "special-exit")]
    for job in running:
        r.until(job, "RUNNING")
    r.run("alice", "scontrol", "requeuehold", running[0])
    r.run("alice", "scontrol", "requeuehold", "State=SpecialExit", running[1])
    by_root = r.submit("true", "--begin=now+1hour", "-Jheld-by-root")
    r.admin("scontrol", "hold", by_root)
    failing = r.submit("exit 1", "-Jfails")
    waiting = r.submit("sleep 300", "-Jruns")
    jobs = [
        by_root,
        waiting,
        r.submit("true", "--hold", "-Jheld-by-user"),
        r.submit("true", "--hold", "--array=0-3", "-Jheld-array"),
        r.submit("true", f"--dependency=afterok:{waiting}", "-Jdependent"),
        r.submit("true", f"--dependency=afterok:{failing}", "-Jnever-satisfied"),
        r.submit(
            "true", f"--dependency=afterok:{failing}", "--kill-on-invalid-dep=yes", "-Jkilled"
        ),
        r.submit("true", "--begin=now+1hour", "-Jbegin-later"),
    ]
    r.until(jobs[5], "PENDING", reason="DependencyNeverSatisfied")
    r.until(running[0], "PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT")
    r.until(running[1], "PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT")
    r.look("held", *running, failing, *jobs)
    r.record("held.squeue-json", "squeue", "--me", "-t", "all", "--json")


def waits(r: Recorder) -> None:
    """Show reasons to wait: limits, resources, nodes."""
    r.clear()
    r.admin("scontrol", "update", "NodeName=n4", "State=DRAIN", "Reason=recording")
    few = r.submit("sleep 300", "-qfew", "--array=0-4", "-wn3", "-Jqos-limit")
    fills = r.submit("sleep 300", "--exclusive", "--array=0-1", "-Jfills-the-rest")
    jobs = [few, fills]
    wait(lambda: r.admin("squeue", "-h", "-tR", "-o%T").count("RUN") == 4, "four to run")
    jobs += [
        r.submit("true", "--exclusive", "--array=0-1", "-Jresources"),
        r.submit("true", "--exclusive", "-Jpriority"),
        r.submit("true", "-t3-0", "-Jbeyond-max-time"),
        r.submit("true", "-N5", "-Jtoo-many-nodes"),
        r.submit("true", "-c99", "-Jtoo-many-cpus"),
        r.submit("true", "-pguarded", "-Jaccount-not-allowed"),
        r.submit("true", "-wn4", "-Jdrained-node"),
    ]
    time.sleep(4)
    r.look("waiting", *jobs)
    r.record("waiting.scontrol", "scontrol", "-o", "show", "job", jobs[0])
    r.record("waiting.sinfo", "sinfo", "-h", "-N", "-o", "%N|%P|%T|%E")
    r.admin("scontrol", "update", "PartitionName=guarded", "State=DOWN", "AllowAccounts=ALL")
    down = r.submit("true", "-pguarded", "-Jpartition-down")
    r.until(down, "PENDING", reason="Partition")
    r.look("partition-down", down)
    r.admin("scontrol", "update", "PartitionName=guarded", "State=UP", "AllowAccounts=closed")
    r.admin("scontrol", "update", "NodeName=n4", "State=RESUME")


def comes_back(r: Recorder) -> None:
    """Show preemption, requeue and node failure, with and without --requeue."""
    r.clear()
    batch = ("--exclusive", "-pbatch", "--open-mode=append")
    slow_end = "trap 'sleep 2; exit 1' TERM; sleep 8 & wait"
    kept = r.submit(slow_end, "--requeue", "--array=0-2", *batch, "-Jpreempted-requeued")
    lost = r.submit("sleep 300", "--no-requeue", *batch, "-Jpreempted-for-good")
    r.until(kept, "RUNNING")
    r.until(lost, "RUNNING")
    r.submit("sleep 3", "-purgent", "--exclusive", "-N4", "-Jpreemptor")
    wait(lambda: "COMPLETING" in r.admin("squeue", "-h", "-o%T", "-j", kept), "a preemption")
    r.look("preempting", kept, lost)
    r.until(kept, "PENDING")
    r.look("preempted", kept, lost)
    r.until(kept, "RUNNING", "COMPLETED")
    r.look("preempted-running-again", kept, lost)
    r.until_accounted(kept, "COMPLETED")
    r.look("preempted-ended", kept, lost)
    r.clear()
    again = r.submit("sleep 5", "--requeue", "-Jrequeued-by-hand")
    fails = [
        r.submit("sleep 300", word, "-wn4", f"-Jnode{word}")
        for word in ("--no-requeue", "--requeue")
    ]
    for job in (again, *fails):
        r.until(job, "RUNNING")
    r.run("alice", "scontrol", "requeue", again)
    r.admin("scontrol", "update", "NodeName=n4", "State=DOWN", "Reason=recording")
    r.until_accounted(fails[0], "NODE_FAIL")
    r.look("node-failed", again, *fails)
    r.admin("scontrol", "update", "NodeName=n4", "State=RESUME")
    r.until_accounted(again, "COMPLETED")
    r.look("requeued-ended", again, *fails)


def odd(r: Recorder) -> None:
    """Show the rarer states: completing, suspended, stopped, heterogeneous."""
    r.clear()
    stubborn = r.submit("trap '' TERM; while :; do sleep 1; done", "-Jcompleting")
    suspended = r.submit("sleep 300", "-Jsuspended")
    stopped = r.submit("sleep 300", "-Jstopped")
    het = ("--mem=20", "-Jhet", "-o/dev/null", ":", "--mem=30", "--wrap=sleep 300")
    pair = r.run("alice", "sbatch", "--parsable", *het).stdout.strip()
    for job in (stubborn, suspended, stopped, f"{pair}+0"):
        r.until(job, "RUNNING")
    r.admin("scontrol", "suspend", suspended)
    r.run("alice", "scancel", "-s", "STOP", stopped)
    time.sleep(1)
    r.run("alice", "scancel", stubborn)
    time.sleep(1)
    r.look("odd", stubborn, suspended, stopped, pair)
    r.admin("scontrol", "resume", suspended)


def slow(r: Recorder) -> None:
    """Show the ends that only time brings: the limit and the deadline."""
    r.clear()
    holder = r.submit("sleep 600", "--exclusive", "-wn4", "-Jholds-n4")
    r.until(holder, "RUNNING")
    late = ("--exclusive", "-wn4", "-t1", "--deadline=now+65seconds")
    missed = r.submit("true", *late, "-Jdeadline")
    r.until(missed, "DEADLINE")
    r.look("deadline", missed)
    jobs = [r.submit("sleep 600", "-t1", "-Jtimeout")]
    jobs += [r.submit("trap '' TERM; while :; do sleep 1; done", "-t1", "-Jtimeout-stubborn")]
    for job in jobs:
        r.until_accounted(job, "TIMEOUT")
    r.look("timeout", *jobs)


SUBMISSIONS = {
    "accepted": [],
    "accepted-parsable": ["--parsable"],
    "accepted-cluster": ["--parsable", "-Mpenstock"],
    "bad-partition": ["-pnowhere"],
    "closed-partition": ["-pclosed"],
    "bad-account": ["-Anobody"],
    "closed-account": ["-Aclosed"],
    "bad-qos": ["-qnone"],
    "bad-time": ["-tsoon"],
    "bad-memory": ["--mem=lots"],
    "bad-array": ["--array=3-1"],
    "bad-array-word": ["--array=all"],
    "bad-begin": ["--begin=someday"],
    "bad-dependency": ["--dependency=afterok:99999999"],
    "bad-dependency-word": ["--dependency=afterwards:1"],
    "bad-option": ["--no-such-option"],
    "array-index-too-large": ["--array=0-1001"],
    "bad-constraint": ["-Cno-such-feature"],
    "too-much-memory": ["--mem=1T"],
    "too-many-cpus": ["-c99"],
    "too-many-gpus": ["--gpus=9"],
    "bad-gres": ["--gres=tpu:1"],
    "bad-node": ["-wn99"],
    "over-qos-limit": ["-qfew", "--array=0-10"],
    "long-name": [f"-J{'x' * 1500}"],
    "no-such-folder": ["-D/no/such/folder"],
}


def refusals(r: Recorder) -> None:
    """Show sbatch's answers, good and bad."""
    r.clear()
    for name, options in SUBMISSIONS.items():
        argv = ("sbatch", "--mem=20", *options, "-o/dev/null", "--wrap=true")
        r.record(f"sbatch.{name}", *argv)
    over = ("sbatch", "--mem=20", "-o/dev/null", "--array=0-20", "--wrap=true")
    r.record("sbatch.over-submit-limit", *over, user="bob")
    r.record("sbatch.no-such-script", "sbatch", "/no/such/script.sh")
    r.record("sbatch.no-shebang", "sbatch", "/etc/hostname")
    r.record("sbatch.empty", "sbatch", "/dev/null")


def questions(r: Recorder) -> None:
    """Show what a client asks besides: unknown ids, limits, the configuration."""
    r.clear()
    job = r.submit("sleep 300", "--array=0-3", "-Jbobs", user="bob")
    for name in ("scancel", "scontrol hold", "scontrol requeue"):
        r.record(f"{name.replace(' ', '-')}.not-mine", *name.split(), job)
        r.record(f"{name.replace(' ', '-')}.unknown", *name.split(), "99999999")
    r.record("squeue.none", *SQUEUE)
    r.record("squeue.unknown", "squeue", "-h", "-j", "99999999")
    r.record("squeue.unknown-two", "squeue", "-h", "-j", "99999999,99999998")
    r.record("squeue.bad-format", "squeue", "-h", "-O", "NoSuchField")
    r.record("squeue.heading", *(word for word in SQUEUE if word != "-h"))
    r.record("sacct.unknown", "sacct", "-n", "--parsable2", "-j", "99999999")
    r.record("sacct.bad-field", "sacct", "-n", "-o", "JobID,NoSuchField")
    r.record("sacct.helpformat", "sacct", "--helpformat")
    r.record("scontrol.unknown-job", "scontrol", "show", "job", "99999999")
    r.record("scontrol.ping", "scontrol", "ping")
    r.record("scontrol.config", "scontrol", "show", "config")
    r.record("scontrol.partitions", "scontrol", "-o", "show", "partition")
    r.record("scontrol.nodes", "scontrol", "-o", "show", "node")
    for user in ("alice", "bob"):
        limits = ("scontrol", "show", "assoc_mgr", f"users={user}", "flags=assoc")
        r.record(f"scontrol.assoc-{user}", *limits, user=user)
    r.record("scontrol.qos", "scontrol", "show", "assoc_mgr", "qos=few", "flags=qos")
    r.record("sacctmgr.assoc", "sacctmgr", "-n", "-P", "show", "assoc", "format=Account,User,QOS")
    r.record("sacctmgr.qos", "sacctmgr", "-n", "-P", "show", "qos")
    r.record("sdiag", "sdiag")
    r.record("sinfo", "sinfo", "-h", "-o", "%P|%a|%l|%D|%t|%N")
    for program in ("sbatch", "squeue", "sacct"):
        r.record(f"{program}.version", program, "--version")


def faults(r: Recorder) -> None:
    """Show what commands say while a part is down."""
    r.clear()
    job = r.submit("sleep 300", "-Junlucky")
    r.until(job, "RUNNING")
    asked = {
        "squeue": SQUEUE,
        "sacct": ("sacct", "-n", "--parsable2", "-X", "-j", job),
        "sbatch": ("sbatch", "--parsable", "--mem=20", "-o/dev/null", "--wrap=true"),
        "scancel": ("scancel", job),
        "scontrol": ("scontrol", "ping"),
        "sdiag": ("sdiag",),
    }
    for part in ("mariadb", "slurmdbd", "munge", "slurmctld"):
        r.part("stop", part)
        try:
            for name, argv in asked.items():
                r.record(f"{name}.{part}-down", *argv)
        finally:
            r.part("start", part)
    without = Path(r.env["SLURM_CONF"]).with_name("without-accounting.conf")
    lines = Path(r.env["SLURM_CONF"]).read_text().splitlines()
    without.write_text("\n".join(x for x in lines if not x.startswith("Accounting")) + "\n")
    r.record("sacct.disabled", *asked["sacct"], SLURM_CONF=str(without))
    r.record("squeue.no-configuration", *asked["squeue"], SLURM_CONF="/no/such/slurm.conf")
    without.unlink()


SCENES = (arrays, ends, young, holds, waits, comes_back, odd, slow, refusals, questions, faults)


def main() -> None:
    shown = subprocess.run([LOCAL_SLURM, "env"], check=True, capture_output=True, text=True).stdout
    recorder = Recorder(shlex.split(shown)[1].removeprefix("SLURM_CONF="))
    for scene in SCENES:
        say(f"== {scene.__name__}")
        scene(recorder)
        recorder.write_index()
    recorder.clear()


if __name__ == "__main__":
    main()
