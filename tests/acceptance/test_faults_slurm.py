"""What a real Slurm does to runs: each fault is told as what it was, nothing is lost or doubled."""

import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Site, slurm_site
from tests.acceptance.faults import (
    assert_once,
    last,
    log,
    program,
    shell,
    slurm_says,
    spec,
    wait_for,
)

pytestmark = pytest.mark.slurm

HANDLER = """
import signal, sys, time
def save(number, frame):
    open("checkpoint", "w").write("saved")
    sys.exit(3)
signal.signal(signal.SIGUSR1, save)
print("ready", flush=True)
time.sleep(60)
"""


def whole_node(site: Site) -> dict[str, Any]:
    """Return a request of all of one node: the last one has gpus, so others get it last."""
    node = max(slurm_says(site, "sinfo", "--noheader", "--Node", "--format=%N").split())
    return {"cpus": 8, "options": [f"--nodelist={node}"]}


@pytest.fixture(scope="module")
def hard(installed: Path) -> Iterator[Site]:
    """A project with runs that come to a bad end; all at once, for one of them takes a minute."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as name:
        site = slurm_site(installed, Path(name), "alice")
        site.env = {"PENSTOCK_RECORD_GRACE_S": "1"}
        site.write("handler.py", HANDLER)
        eat = "x = bytearray(400 << 20); import time; time.sleep(60)"
        for text in (
            shell("timed", "echo begun; sleep 300", request={"time": "1m"}),
            spec("over", "python3", "-c", eat),
            shell("left", "(setsid sleep 4321 >/dev/null 2>&1 &); echo done"),
            spec("told", "python3", "handler.py", outputs=["checkpoint"]),
            spec("never", "true", request={"partition": "guarded"}),
        ):
            site.submit(text)
        yield site
        site("cancel", "--yes", "timed", "over", "left", "told", "never")  # where a test failed


def test_signal_reaches_the_command_which_saves_its_state(hard: Site) -> None:
    hard.until(lambda: "ready" in log(hard, "told/1"), "the handler")
    slurm_says(hard, "scancel", "--batch", "--signal=USR1", last(hard, "told/1")["job"])
    (run,) = hard.ended("told")
    assert (run["state"], run["cause"], last(hard, "told/1")["exit_code"]) == ("failed", "exit", 3)
    assert (Path(run["folder"]) / "checkpoint").read_text() == "saved"


def test_memory_is_named_as_the_cause(hard: Site) -> None:
    (run,) = hard.ended("over")
    assert (run["state"], run["cause"]) == ("failed", "memory")
    assert "request: mem:" in hard("show", "over/1").stdout


def test_process_that_was_left_behind_is_ended(hard: Site) -> None:
    assert [run["state"] for run in hard.ended("left")] == ["completed"]
    assert "left behind" in log(hard, "left/1")
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "sleep 4321" not in shown.stdout.splitlines()


def test_run_that_never_starts_says_so(hard: Site) -> None:
    # Where nodes were busy when Slurm first looked at it, 24.11 says that, and nothing else later.
    words = "never starts|kept for jobs of a partition"
    hard.until(lambda: bool(re.search(words, hard("status").stdout)), "the reason")
    assert "partition" in hard("show", "never/1").stdout  # which one, only 22.05 says
    hard("cancel", "never/1")
    wait_for(hard, "never/1", "cancelled")
    assert hard.json("show", "never/1")["cause"] == "user"


def test_preempted_run_begins_again_and_its_log_is_followed(slurm: Site) -> None:
    file = slurm.root / "begun.txt"
    script = (
        'echo "restart $PENSTOCK_RESTART"; '
        f'echo x >> {file}; test "$PENSTOCK_RESTART" = 1 || exec sleep 60'
    )
    whole = whole_node(slurm)
    slurm.submit(shell("low", script, request=whole))
    wait_for(slurm, "low/1", "running")
    follow = slurm.start("logs", "-f", "low/1")
    slurm.until(file.exists, "the command to begin")
    slurm.submit(shell("high", "true", request={**whole, "partition": "urgent"}))
    (run,) = slurm.ended("low")
    out, err = follow.communicate(timeout=60)
    assert (run["state"], run["attempt"]) == ("completed", 1)
    assert out == "restart 0\nrestart 1\n"
    assert "restart 1" in err
    assert file.read_text() == "x\nx\n"
    assert "requeued once" in slurm("show", "low/1").stdout
    assert [one["state"] for one in slurm.ended("high")] == ["completed"]


def test_held_run_names_what_lets_it_go(slurm: Site) -> None:
    name = slurm.submit(shell("held", "true", request={"options": ["--hold"]}))
    wait_for(slurm, "held/1", "held")
    assert "scontrol release" in slurm("status").stdout
    attempt = last(slurm, "held/1")
    assert attempt["job"] == f"{attempt['array_job']}_0"
    slurm_says(slurm, "scontrol", "release", str(attempt["array_job"]))
    assert [run["state"] for run in slurm.ended(name)] == ["completed"]


def test_cancelled_slice_leaves_the_others(slurm: Site) -> None:
    slurm.env = {"PENSTOCK_RECORD_GRACE_S": "1"}
    gate = slurm.root / "gate"
    text = shell("slice", f"until [ -e {gate} ]; do sleep 0.1; done", params={"n": list(range(6))})
    slurm.submit(json.dumps({**json.loads(text), "max_parallel": 1}))
    wait_for(slurm, "slice/1", "running")
    slurm("cancel", "--yes", "slice/3", "slice/4", "slice/6")
    gate.touch()
    slurm.own(gate)
    states = [run["state"] for run in slurm.ended("slice")]
    assert states == ["completed"] * 2 + ["cancelled"] * 2 + ["completed", "cancelled"]


def test_folder_of_the_log_is_gone(slurm: Site) -> None:
    """Slurm then never runs the script: 0:53. Newer ones make the folder; nothing is in it."""
    slurm.env = {"PENSTOCK_RECORD_GRACE_S": "1"}
    slurm.submit(spec("gone", "true", request={"options": ["--hold"]}))
    attempt = last(slurm, "gone/1")
    folder = slurm.root / ".penstock" / "arrays" / attempt["token"]
    folder.rename(folder.with_name("elsewhere"))
    slurm_says(slurm, "scontrol", "release", str(attempt["array_job"]))
    (run,) = slurm.ended("gone")
    cause = "no-record" if folder.exists() else "launch"
    assert (run["state"], run["cause"]) == ("failed", cause)


def test_node_without_the_python_is_no_fault_of_the_command(slurm: Site) -> None:
    slurm.env = {"PENSTOCK_RECORD_GRACE_S": "1", "PENSTOCK_PYTHON": "/no/such/python3"}
    (run,) = slurm.finish(spec("lacking", "true"))
    assert (run["state"], run["cause"]) == ("failed", "no-record")
    assert "slurm.log" in slurm("show", "lacking/1").stdout
    said = (
        slurm.root / ".penstock" / "arrays" / last(slurm, "lacking/1")["token"] / "slurm.log"
    ).read_text()
    assert "/no/such/python3" in said


def test_answer_that_got_lost_sends_nothing_twice(slurm: Site) -> None:
    real = 'case "$*" in --parsable*) ;; *) exec /usr/bin/sbatch "$@";; esac\n'
    lost = "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1"
    program(slurm, "sbatch", f'{real}/usr/bin/sbatch "$@" > /dev/null\n{lost}')
    assert_once(slurm, "lost")


@pytest.mark.parametrize("point", ["reconciler.plan", "reconciler.sent", "reconciler.accepted"])
def test_killed_submit_loses_and_doubles_nothing(slurm: Site, point: str) -> None:
    slurm.env = {"PENSTOCK_FAILPOINT": point}
    assert_once(slurm, "killed", {-signal.SIGKILL})


def test_accounting_that_is_down_stops_nothing(slurm: Site) -> None:
    """Without slurmdbd sacct does not even tell its fields; Slurm itself goes on for days."""
    down = "echo 'sacct: error: Problem talking to the database: Connection refused' >&2; exit 1"
    program(slurm, "sacct", down)
    runs = slurm.finish(shell("alone", "exit $PENSTOCK_PARAM_N", params={"n": [0, 1]}))
    assert [(run["state"], run["cause"]) for run in runs] == [
        ("completed", None),
        ("failed", "exit"),
    ]


def test_folder_with_odd_letters_works_from_end_to_end(installed: Path, shared: Path) -> None:
    odd = shared / 'o\'neil $(touch pwned) %j "q" é'
    odd.mkdir()
    shared.chmod(0o755)
    site = slurm_site(installed, odd, "alice")
    text = shell("odd", "pwd > here; echo loss=0.5", outputs=["here"], metrics="stdout")
    (run,) = site.finish(text)
    assert (run["state"], run["metrics"]) == ("completed", {"loss": 0.5})
    assert (Path(run["folder"]) / "here").is_file()
    assert site("logs", "odd/1").stdout == "loss=0.5\n"
    assert not list(shared.rglob("pwned"))


def test_project_of_another_can_be_read_and_not_changed(slurm: Site) -> None:
    gate = slurm.root / "gate"
    name = slurm.submit(shell("hers", f"until [ -e {gate} ]; do sleep 0.1; done; echo seen"))
    wait_for(slurm, "hers/1", "running")
    bob = Site("slurm", slurm.root, slurm.bin, "bob")
    assert bob.json("show", "hers/1")["state"] == "running"
    assert "hers" in bob("status").stdout
    assert [run["run"] for run in bob.json("runs", "state = running")] == ["hers/1"]
    for words, code in (
        (["submit", "sweep.yaml"], 6),
        (["cancel", "hers/1"], 2),
        (["tick"], 6),
        (["init"], 4),
    ):
        assert bob(*words, code=code).stderr.count("penstock: ") == 1
    gate.touch()
    assert [run["state"] for run in slurm.ended(name)] == ["completed"]
    assert bob("logs", "hers/1").stdout == "seen\n"


def test_sweep_over_the_largest_array_is_sent_in_parts(slurm: Site) -> None:
    text = spec("parts", "true", params={"n": {"from": 1, "to": 2500}})
    shown = slurm.json("submit", "--dry-run", slurm.write("sweep.yaml", text))
    assert [run["params"]["n"] for run in shown["runs"]] == [*range(1, 2501)]
    last_ones = [
        int(found)
        for one in shown["scripts"]
        for found in re.findall(r"--array=0-(\d+)", one["script"])
    ]
    assert len(last_ones) == 3
    assert max(last_ones) <= 1000
    assert sum(end + 1 for end in last_ones) == 2500


def test_time_limit_is_named_as_the_cause(hard: Site) -> None:
    """Last, for it was begun first, and takes a minute."""
    (run,) = hard.ended("timed")
    assert (run["state"], run["cause"]) == ("failed", "time")
    assert log(hard, "timed/1").startswith("begun\n")  # its shell may tell of the SIGTERM
