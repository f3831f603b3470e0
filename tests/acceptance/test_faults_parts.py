"""Parts of a real Slurm are stopped, killed and frozen: nothing is lost, doubled or guessed."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.faults import (
    GOOD,
    QUICK,
    begun,
    gated,
    last,
    open_gate,
    program,
    shell,
    slurm_says,
    spec,
    states,
    wait_for,
)
from tests.own_slurm import USUAL, OwnSlurm

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.parts,
    pytest.mark.long,
    pytest.mark.timeout(600),
]

MINUTE_S = 60
TAKES_MUCH = "python3 -c 'bytearray(400 << 20)'"
AWAY = "Unable to contact slurm controller"
REAL = 'case "$*" in --parsable*) ;; *) exec /usr/bin/sbatch "$@";; esac\n'
LOST = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation'"
NEVER_ARRIVED = f"{REAL}{LOST} >&2; exit 1"
ARRIVED = f'{REAL}/usr/bin/sbatch "$@" >> arrived; {LOST} >&2; exit 1'


def test_sweep_over_the_largest_array_is_sent_in_parts(own: Site, parts: OwnSlurm) -> None:
    """With a MaxArraySize of 5: indices go from 0 to 4, and twelve runs are three jobs."""
    parts("up", *USUAL, f"--port-base={parts.port_base}", "--max-array-size=5")
    name = own.submit(shell("split", "echo x >> $PENSTOCK_PARAM_N", params={"n": [*range(12)]}))
    assert {run["state"] for run in own.ended(name)} == {"completed"}
    jobs = {last(own, f"{name}/{number}")["array_job"] for number in range(1, 13)}
    assert len(jobs) == 3


def kernel_limits_memory() -> str:
    """Return why a group of processes (of cgroups 1) cannot be held to its memory; else ""."""
    group = Path("/sys/fs/cgroup/memory") / f"penstock-probe-{os.getpid()}"
    join = f"echo $$ > {group}/cgroup.procs && exec {TAKES_MUCH}"
    try:
        group.mkdir()
    except OSError as error:
        return f"no cgroup can be made: {error}"
    try:
        (group / "memory.limit_in_bytes").write_text(str(50 << 20))
        code = subprocess.call(["sh", "-c", join])
        return "" if code == -signal.SIGKILL else f"what took too much ended with {code}"
    except OSError as error:
        return f"its memory cannot be limited: {error}"
    finally:
        group.rmdir()


def test_kernel_ends_what_takes_more_memory_than_it_asked_for(own: Site, parts: OwnSlurm) -> None:
    """For Slurm both are OUT_OF_MEMORY; a command that goes on without its helper has succeeded."""
    if why := kernel_limits_memory():
        pytest.skip(f"needs cgroups of version 1 that limit memory: {why}")
    parts("up", "--cgroups=1")
    own.submit(shell("over", f"exec {TAKES_MUCH}"))
    own.submit(shell("helper", f"{TAKES_MUCH} || echo went on"))
    assert states(own, "over") == [("failed", "memory")]
    assert states(own, "helper") == [GOOD]
    jobs = ",".join(str(last(own, f"{name}/1")["array_job"]) for name in ("over", "helper"))
    words = ("sacct", "--noheader", "--allocations", "--parsable2", "--format=State", "--jobs")
    own.until(
        lambda: slurm_says(own, *words, jobs).split() == ["OUT_OF_MEMORY"] * 2, "Slurm's own word"
    )
    own("tick")
    assert states(own, "over") == [("failed", "memory")]
    assert states(own, "helper") == [GOOD]
    assert "went on" in own("logs", "helper/1").stdout
    assert "request: mem:" in own("show", "over/1").stdout


def test_controller_is_away_for_a_minute(own: Site, parts: OwnSlurm) -> None:
    own.env = {**QUICK}
    own.submit(gated(own, "row", params={"n": [1, 2, 3]}, max_parallel=1))
    own.submit(gated(own, "through"))
    own.submit(spec("unwanted", "true", request={"options": ["--hold"]}))
    for run, wanted in (("row/1", "running"), ("through/1", "running"), ("unwanted/1", "held")):
        wait_for(own, run, wanted)
    own.until(lambda: len(begun(own)) == 2, "both commands")
    stopped = time.monotonic()
    with parts.without("slurmctld"):
        open_gate(own, "row")
        own.until(lambda: own.json("show", "row/1")["state"] == "completed", "its record")
        open_gate(own, "late")
        submit = own("submit", own.write("late.yaml", gated(own, "late")))
        assert "1 run" in submit.stdout
        assert AWAY in submit.stderr
        assert "not lost" in submit.stderr
        own("cancel", "--yes", "unwanted")
        assert AWAY in own("tick").stderr
        seen = {run["run"]: run["state"] for run in own.json("runs")}
        assert seen == {
            "row/1": "completed",
            "row/2": "queued",
            "row/3": "queued",
            "through/1": "running",
            "unwanted/1": "held",
            "late/1": "ready",
        }
        time.sleep(max(0, MINUTE_S - (time.monotonic() - stopped)))
    open_gate(own, "through")
    assert states(own, "row") == [GOOD] * 3
    assert states(own, "through") == [GOOD]
    assert states(own, "late") == [GOOD]
    assert states(own, "unwanted") == [("cancelled", "user")]
    assert sorted(begun(own)) == ["late/1 0", "row/1 0", "row/2 0", "row/3 0", "through/1 0"]


def test_daemon_lives_through_it(own: Site, parts: OwnSlurm) -> None:
    """Nobody calls a command meanwhile: what is stored is the daemon's."""
    own.env = {**QUICK}
    own("daemon", "start")
    try:
        own.submit(gated(own, "row", params={"n": [1, 2, 3]}, max_parallel=1))
        own.until(lambda: stored(own).count("running") == 1, "the first")
        own.until(lambda: len(begun(own)) == 1, "its command")
        with parts.without("slurmctld"):
            open_gate(own, "row")
            own.until(lambda: "completed" in stored(own), "its record")
            assert stored(own) == ["completed", "queued", "queued"]
            own.until(lambda: AWAY in own("daemon", "logs").stdout, "the daemon to see it")
        own.until(lambda: stored(own) == ["completed"] * 3, "the others")
    finally:
        own("daemon", "stop")
    assert sorted(begun(own)) == ["row/1 0", "row/2 0", "row/3 0"]


def stored(site: Site) -> list[str]:
    """Return the states of all runs as they are recorded, with nothing brought up to date."""
    store = sqlite3.connect(f"file:{site.root}/.penstock/penstock.db?mode=ro", uri=True, timeout=30)
    with closing(store):
        return [state for (state,) in store.execute("SELECT state FROM run ORDER BY number")]


def test_controller_that_hangs_takes_what_sbatch_has_given_up(own: Site, parts: OwnSlurm) -> None:
    """The request waits in its socket: it is accepted when nobody listens any more."""
    own.env = {**QUICK}
    wait = f"cd {own.root}; touch asked; until [ -e go ]; do sleep 0.1; done"
    program(own, "sbatch", f'{REAL}{wait}\nexec /usr/bin/sbatch "$@"')
    own.write("once.yaml", gated(own, "once", params={"n": [1, 2]}))
    submit = own.start("submit", "once.yaml")
    own.until((own.root / "asked").exists, "sbatch")
    with parts.frozen("slurmctld"):
        own.write("go", "")
        _, err = submit.communicate(timeout=60)
        assert submit.returncode == 0
        assert "timed out" in err
        assert "being looked up" in own("resolve").stdout
    open_gate(own, "once")
    assert states(own, "once") == [GOOD] * 2
    assert sorted(begun(own)) == ["once/1 0", "once/2 0"]
    assert last(own, "once/1")["number"] == 1


@pytest.mark.parametrize("part", ["slurmdbd", "mariadb"])
def test_accounting_is_away(own: Site, parts: OwnSlurm, part: str) -> None:
    """Only it can tell who cancelled a run, and that an array never arrived: both wait for it."""
    own.env = {**QUICK}
    own.submit(gated(own, "hand"))
    wait_for(own, "hand/1", "running")
    with parts.without(part):
        program(own, "sbatch", NEVER_ARRIVED)
        submit = own("submit", own.write("lost.yaml", gated(own, "lost")))
        assert "timed out" in submit.stderr
        own.env = {**QUICK}
        slurm_says(own, "scancel", "--full", str(last(own, "hand/1")["array_job"]))
        ends = own.finish(shell("plain", "exit $PENSTOCK_PARAM_N", params={"n": [0, 3]}))
        assert [(run["state"], run["cause"]) for run in ends] == [GOOD, ("failed", "exit")]
        own.until(lambda: not slurm_says(own, "squeue", "-h", "--me", "-t", "all"), "squeue")
        time.sleep(5)  # longer than a silence has to be
        assert "sacct" in own("tick").stderr
        assert own.json("show", "hand/1")["state"] not in ("completed", "failed", "cancelled")
        assert "being looked up" in own("resolve").stdout
    open_gate(own, "lost")
    assert states(own, "hand") == [("cancelled", "user")]
    assert states(own, "lost") == [GOOD]
    assert begun(own) == ["hand/1 0", "lost/1 0"]


def test_slurmd_that_comes_back_in_time_changes_nothing(own: Site, parts: OwnSlurm) -> None:
    own.env = {**QUICK}
    own.submit(gated(own, "stays", params={"n": [1, 2]}))
    own.until(lambda: len(begun(own)) == 2, "the commands")
    node = last(own, "stays/1")["node"]
    parts.signal(node, signal.SIGKILL)
    open_gate(own, "stays")  # their steps cannot tell their slurmd that they end
    assert states(own, "stays") == [GOOD] * 2
    parts("start", node)
    own.until(lambda: not slurm_says(own, "squeue", "-h", "--me", "-t", "all"), "squeue")
    assert states(own, "stays") == [GOOD] * 2
    assert sorted(begun(own)) == ["stays/1 0", "stays/2 0"]


def test_munge_is_away(own: Site, parts: OwnSlurm) -> None:
    """Then no program of Slurm can ask or tell anything, and no node either."""
    own.env = {**QUICK}
    own.submit(gated(own, "row", params={"n": [1, 2]}, max_parallel=1))
    wait_for(own, "row/1", "running")
    own.until(lambda: len(begun(own)) == 1, "the command")
    with parts.without("munge"):
        open_gate(own, "row", "late")
        own.until(lambda: own.json("show", "row/1")["state"] == "completed", "its record")
        submit = own("submit", own.write("late.yaml", gated(own, "late")))
        assert "not lost" in submit.stderr
        assert own.json("show", "late/1")["state"] == "ready"
        own("cancel", "--yes", "row/2")
        assert "authentication error" in own("tick").stderr
        assert own.json("show", "row/2")["state"] == "queued"
        (own.root / "row.gate").unlink()  # it may begin before it hears that it is cancelled
    assert states(own, "row") == [GOOD, ("cancelled", "user")]
    assert states(own, "late") == [GOOD]
    assert [line for line in begun(own) if line != "row/2 0"] == ["row/1 0", "late/1 0"]


def test_purged_before_anybody_looked(own: Site, parts: OwnSlurm) -> None:
    """MinJobAge is two seconds here: what ends is forgotten before the next look."""
    own.env = {**QUICK}
    own.submit(gated(own, "ends"))
    own.submit(shell("killed", "kill -9 $PPID"))
    own.submit(gated(own, "waits", request={"options": ["--hold"]}))
    program(own, "sbatch", ARRIVED.replace("arrived", f"{own.root}/arrived"))
    own.write("arrives.yaml", gated(own, "arrives"))
    assert "timed out" in own("submit", "arrives.yaml").stderr
    own.env = {**QUICK}
    own.until(lambda: len(begun(own)) == 2, "the commands")
    slurm_says(own, "scancel", str(last(own, "waits/1")["array_job"]))
    open_gate(own, "ends", "arrives")
    own.until(lambda: not slurm_says(own, "squeue", "-h", "--me", "-t", "all"), "squeue")
    assert states(own, "ends") == [GOOD]
    assert states(own, "arrives") == [GOOD]
    assert states(own, "killed") == [("failed", "signal")]
    assert states(own, "waits") == [("cancelled", "user")]
    assert sorted(begun(own)) == ["arrives/1 0", "ends/1 0"]


def test_cluster_without_accounting_asks_its_user(own: Site, parts: OwnSlurm) -> None:
    """What never arrived and what came and went look alike there: nothing is sent again unasked."""
    parts("up", "--accounting=0")
    own.env = {**QUICK, "PENSTOCK_LOST_AFTER_S": "5"}
    program(own, "sbatch", NEVER_ARRIVED)
    own("submit", own.write("never.yaml", gated(own, "never")))
    program(own, "sbatch", f"{ARRIVED} --begin=now+1hour".replace("arrived", f"{own.root}/arrived"))
    own(
        "submit",
        own.write("gone.yaml", gated(own, "gone", request={"options": ["--begin=now+1hour"]})),
    )
    own.env = {**QUICK, "PENSTOCK_LOST_AFTER_S": "5"}
    gone = (own.root / "arrived").read_text().strip()
    slurm_says(own, "scancel", gone)
    own.until(lambda: not slurm_says(own, "squeue", "-h", "--me", "-t", "all"), "squeue")
    own.submit(gated(own, "hand"))
    wait_for(own, "hand/1", "running")
    slurm_says(own, "scancel", "--full", str(last(own, "hand/1")["array_job"]))
    ends = own.finish(shell("plain", "exit $PENSTOCK_PARAM_N", params={"n": [0, 3]}))
    assert [(run["state"], run["cause"]) for run in ends] == [GOOD, ("failed", "exit")]
    assert states(own, "hand") == [("cancelled", "withdrawn")]

    def asked() -> list[str]:
        own("tick")
        found = own.json("resolve")["to_resolve"]
        return [one["token"] for one in found if "no accounting" in one["question"]]

    own.until(lambda: len(asked()) == 2, "the questions")
    never, lost = asked()
    assert all(token in own("resolve").stdout for token in (never, lost))
    assert own("status").stdout.count("penstock resolve") >= 1
    own("resolve", never, "--resend")
    own("resolve", lost, "--adopt", gone)
    open_gate(own, "never")
    assert states(own, "never") == [GOOD]
    assert states(own, "gone") == [("failed", "lost")]
    assert begun(own) == ["hand/1 0", "never/1 0"]
