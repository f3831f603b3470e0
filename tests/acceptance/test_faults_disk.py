"""The disk is full under the store, or under the spools of running commands, on a real Slurm."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import Site
from tests.acceptance.faults import GOOD, QUICK, begun, gated, open_gate, shell, states

pytestmark = [pytest.mark.slurm, pytest.mark.long]

TELLS = """
penstock-log loss=0.5 step=1
echo "$PENSTOCK_RUN $PENSTOCK_RESTART" >> ROOT/begun.txt
until [ -e ROOT/NAME.gate ]; do sleep 0.1; done
penstock-log loss=0.25 step=2 --tag note="$(printf %06000d 7)"
"""  # more than may still fit into the block that its spool has already


@contextmanager
def small_disk(site: Site, folder: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB; what is yielded fills it as soon as it is written by fill."""
    if os.getuid() != 0:
        pytest.skip("mount needs root")
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "none", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("may not mount here")
    site.own(folder)
    try:
        yield folder / "filler"
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_disk_is_full_under_the_spools(slurm: Site) -> None:
    slurm.env = {**QUICK, "PENSTOCK_BEAT_S": "1"}
    with small_disk(slurm, slurm.root / ".penstock" / "arrays") as filler:
        for name in ("tells", "unwanted"):
            script = TELLS.replace("ROOT", str(slurm.root)).replace("NAME", name)
            slurm.submit(shell(name, script))
        slurm.until(lambda: len(begun(slurm)) == 2, "the commands")
        slurm.until(lambda: slurm.json("show", "tells/1")["metrics"] == {"loss": 0.5}, "a metric")
        fill(filler)
        open_gate(slurm, "tells", "later")
        submit = slurm("submit", slurm.write("later.yaml", gated(slurm, "later")))
        assert "disk is full" in submit.stderr
        assert "not lost" in submit.stderr
        slurm("cancel", "unwanted")
        assert states(slurm, "unwanted") == [("cancelled", "user")]
        time.sleep(5)  # the record of the end is tried for a minute
        assert slurm.json("show", "tells/1")["state"] in ("running", "ending")
        filler.unlink()
        assert states(slurm, "tells") == [GOOD]
        assert states(slurm, "later") == [GOOD]
        assert slurm.json("show", "tells/1")["metrics"] == {"loss": 0.25}
        assert sorted(begun(slurm)) == ["later/1 0", "tells/1 0", "unwanted/1 0"]


def test_disk_is_full_under_the_store(shared: Path, installed: Path) -> None:
    shared.chmod(0o755)
    root = shared / "alice"
    root.mkdir()
    site = Site("slurm", root, installed, "alice")
    site.own(root)
    with small_disk(site, shared / "store") as filler:
        url = f"sqlite:///{filler.with_name('penstock.db')}"
        site.env = {**QUICK, "PENSTOCK_STORE": url}
        site("init")
        site.submit(gated(site, "row", params={"n": [1, 2, 3]}))
        site.until(lambda: len(begun(site)) == 3, "the commands")
        site("tick")
        fill(filler)
        open_gate(site, "row")
        site.until(lambda: not list(root.glob(".penstock/arrays/*/spool/0/*.open")), "the ends")
        assert "full" in site("tick", code=6).stderr
        assert "full" in site("submit", "sweep.yaml", code=6).stderr
        shown = site("status")
        assert "not brought up to date" in shown.stderr
        assert {run["state"] for run in site.json("runs")} <= {"queued", "running"}
        filler.unlink()
        assert states(site, "row") == [GOOD] * 3
        assert sorted(begun(site)) == ["row/1 0", "row/2 0", "row/3 0"]
        site("store", "check")
