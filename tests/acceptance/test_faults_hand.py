"""Users and administrators take Slurm's own commands to runs: each is recognised as what it was."""

import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.faults import (
    GOOD,
    QUICK,
    begun,
    gated,
    last,
    open_gate,
    root_says,
    slurm_says,
    states,
    wait_for,
)

pytestmark = [pytest.mark.slurm, pytest.mark.long]

HELD = {"options": ["--hold"]}


def job(site: Site, experiment: str) -> str:
    return str(last(site, f"{experiment}/1")["array_job"])


def test_requeued_by_hand_goes_on_as_the_same_attempt(slurm: Site) -> None:
    slurm.env = {**QUICK}
    names = ["again", "parked", "renamed", "frozen"]
    for name in names:
        slurm.submit(gated(slurm, name))
    slurm.until(lambda: len(begun(slurm)) == len(names), "the commands")
    slurm_says(slurm, "scontrol", "requeue", job(slurm, "again"))
    slurm_says(slurm, "scontrol", "requeuehold", job(slurm, "parked"))
    renamed = f"JobId={job(slurm, 'renamed')}"
    slurm_says(slurm, "scontrol", "update", renamed, "JobName=mine")
    slurm_says(slurm, "scontrol", "requeue", job(slurm, "renamed"))
    root_says("scontrol", "suspend", job(slurm, "frozen"))
    wait_for(slurm, "parked/1", "held")
    assert "scontrol release" in slurm("show", "parked/1").stdout
    wait_for(slurm, "frozen/1", "running")
    slurm_says(slurm, "scontrol", "release", job(slurm, "parked"))
    root_says("scontrol", "resume", job(slurm, "frozen"))
    open_gate(slurm, *names)
    for name in names:
        assert states(slurm, name) == [GOOD]
        attempt = last(slurm, f"{name}/1")
        assert (attempt["number"], attempt["restart"]) == (1, int(name != "frozen"))
    assert sorted(begun(slurm)) == [
        "again/1 0", "again/1 1", "frozen/1 0", "parked/1 0", "parked/1 1", "renamed/1 0",
        "renamed/1 1",
    ]  # fmt: skip


def test_held_and_changed_by_hand_says_who_lets_it_go(slurm: Site) -> None:
    slurm.env = {**QUICK}
    later = {"options": ["--begin=now+1hour"]}
    for name in ("mine", "theirs"):
        slurm.submit(gated(slurm, name, request=later))
    slurm_says(slurm, "scontrol", "hold", job(slurm, "mine"))
    wait_for(slurm, "mine/1", "held")
    assert "scontrol release" in slurm("status").stdout
    slurm_says(slurm, "scontrol", "update", f"JobId={job(slurm, 'mine')}", "StartTime=now")
    slurm_says(slurm, "scontrol", "release", job(slurm, "mine"))
    open_gate(slurm, "mine", "theirs")
    assert states(slurm, "mine") == [GOOD]
    wait_for(slurm, "theirs/1", "queued")
    changed = ("JobName=another", "Partition=urgent", "TimeLimit=3", "StartTime=now+2hour")
    slurm_says(slurm, "scontrol", "update", f"JobId={job(slurm, 'theirs')}", *changed)
    root_says("scontrol", "hold", job(slurm, "theirs"))
    wait_for(slurm, "theirs/1", "held")
    assert "by an administrator: ask them" in slurm("status").stdout
    root_says("scontrol", "update", f"JobId={job(slurm, 'theirs')}", "StartTime=now")
    root_says("scontrol", "release", job(slurm, "theirs"))
    assert states(slurm, "theirs") == [GOOD]
    assert begun(slurm) == ["mine/1 0", "theirs/1 0"]


def test_cancelled_by_hand_says_by_whom(slurm: Site) -> None:
    slurm.env = {**QUICK}
    runs = ["alice-runs", "root-runs", "part-runs"]
    waits = ["alice-waits", "root-waits"]
    for name in runs:
        three = {"params": {"n": [1, 2, 3]}, "max_parallel": 1} if name == "part-runs" else {}
        slurm.submit(gated(slurm, name, **three))
    for name in waits:
        slurm.submit(gated(slurm, name, request=HELD))
    slurm.until(lambda: len(begun(slurm)) == len(runs), "the commands")
    for name in ("alice-runs", "alice-waits"):
        slurm_says(slurm, "scancel", job(slurm, name))
    for name in ("root-runs", "root-waits"):
        root_says("scancel", job(slurm, name))
    root_says("scancel", f"{job(slurm, 'part-runs')}_1")
    open_gate(slurm, "part-runs")
    for name in ("alice-runs", "alice-waits"):
        assert states(slurm, name) == [("cancelled", "user")]
    for name in ("root-runs", "root-waits"):
        assert states(slurm, name) == [("cancelled", "admin")]
    assert "an administrator cancelled it" in slurm("show", "root-runs/1").stdout
    # Of a part of a waiting array Slurm 22.05 keeps no row, so nobody can know who it was.
    assert states(slurm, "part-runs") == [GOOD, ("cancelled", "withdrawn"), GOOD]
