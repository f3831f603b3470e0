"""Which runs of an array are held, and which only wait."""

from pathlib import Path

from penstock.reconciler.cycle import cycle
from penstock.store import search
from tests.unit.reconciler.test_send import Here


def test_held_run_is_told_from_those_that_wait_with_it(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.submit(3)
    (sent,) = cycle(here.world).sent
    begin = ("update", f"JobId={sent.job}", "StartTime=now+3600")
    here.transport.run(["scontrol", *begin])
    for verb, states in (
        ("hold", ["queued", "held", "queued"]),
        ("release", ["queued", "queued", "queued"]),
    ):
        here.transport.run(["scontrol", verb, f"{sent.job}_1"])
        cycle(here.world)
        with here.world.store.read() as view:
            runs = search.runs(view, "", project="p")
        assert [run.state for run in sorted(runs, key=lambda run: run.number)] == states
