"""A node of a real Slurm is cut off under running commands, which go on there."""

import signal
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
    shell,
    slurm_says,
    states,
    wait_for,
)
from tests.own_slurm import OwnSlurm

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.parts,
    pytest.mark.long,
    pytest.mark.timeout(600),
]


def test_node_is_cut_off_and_its_commands_go_on(own: Site, parts: OwnSlurm) -> None:
    """Slurm gives it up after SlurmdTimeout; what may be requeued begins on another node."""
    own.env = {**QUICK, "PENSTOCK_BEAT_S": "1"}
    script = (
        f'echo "$PENSTOCK_RUN $PENSTOCK_RESTART" >> {own.root}/begun.txt; '
        f'until [ "$PENSTOCK_RESTART" = 1 -o -e {own.root}/moved.gate ]; do sleep 0.1; done; '
        'echo "by $PENSTOCK_RESTART" > out'
    )
    own.submit(shell("moved", script, outputs=["out"]))
    wait_for(own, "moved/1", "running")
    node = last(own, "moved/1")["node"]
    here = f"--nodelist={node}"
    own.submit(gated(own, "ends", request={"options": [here]}))
    own.submit(gated(own, "stays", request={"options": [here]}))
    own.until(lambda: len(begun(own)) == 3, "the commands")
    stays = last(own, "stays/1")["array_job"]
    slurm_says(own, "scontrol", "update", f"JobId={stays}", "Requeue=0")
    parts.signal(node, signal.SIGKILL)
    open_gate(own, "ends")
    assert states(own, "ends") == [GOOD]  # its own word, and Slurm still calls it running
    assert states(own, "stays") == [("failed", "node")]
    assert states(own, "moved") == [GOOD]
    assert last(own, "moved/1")["node"] != node
    assert "requeued once" in own("show", "moved/1").stdout
    gates = ("moved.gate", "stays.gate")
    own.until(lambda: not any(map(is_running, gates)), "runners that end what has lost its say")
    parts("up")  # Slurm now starts the requeued ones of that node: there is nothing left to run
    own.until(lambda: not slurm_says(own, "squeue", "-h", "--me", "-t", "all"), "squeue")
    own("tick")
    assert {run["run"]: (run["state"], run["attempt"]) for run in own.json("runs")} == {
        "moved/1": ("completed", 1),
        "ends/1": ("completed", 1),
        "stays/1": ("failed", 1),
    }
    assert sorted(begun(own)) == ["ends/1 0", "moved/1 0", "moved/1 1", "stays/1 0"]
    assert (own.root / "runs" / "moved" / "1" / "out").read_text() == "by 1\n"


def is_running(words: str) -> bool:
    """Return whether the command line of some process has these words."""
    return any(words in cmdline(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def cmdline(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
