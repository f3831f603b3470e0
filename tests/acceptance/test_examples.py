"""The examples do what they say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, Site


def copied(site: Site, name: str) -> Path:
    """Copy an example to where the user's project is; return its spec."""
    folder = site.root / name
    shutil.copytree(ROOT / "examples" / name, folder)
    site.own(folder, *folder.iterdir())
    return folder / "sweep.yaml"


def test_shell_command_tells_metrics_by_printing(site: Site) -> None:
    site("submit", copied(site, "shell"))
    runs = site.ended("pi")
    assert len(runs) == 9
    assert all(run["state"] == "completed" for run in runs)
    assert all(2.5 < run["metrics"]["pi"] < 3.8 for run in runs)
    text = (Path(runs[0]["folder"]) / "points.txt").read_text()
    assert text.endswith("of 1000\n")
    best = site.json("runs", "experiment = pi", "--sort", "metrics.error", "--limit", 1)
    assert best[0]["metrics"]["error"] == min(run["metrics"]["error"] for run in runs)


def test_awk_logs_through_the_command(site: Site) -> None:
    site("submit", copied(site, "awk"))
    runs = site.ended("newton")
    assert len(runs) == 6
    for run in runs:
        assert run["state"] == "completed"
        assert run["metrics"]["root"] == pytest.approx(run["params"]["n"] ** 0.5)
        assert run["tags"]["converged"] == "yes"


@pytest.mark.demo
@pytest.mark.timeout(300)
def test_demo_shows_the_best_model(tmp_path: Path) -> None:
    """Run it as `make demo` does, in a copy of what a fresh checkout has of it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = subprocess.run(
        [tmp_path / "examples" / "demo.sh"],
        env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "12/12 ended: 12 completed" in run.stdout
    table = run.stdout.partition("--sort -metrics.accuracy")[2].splitlines()[1:14]
    assert len([line for line in table if line.startswith("digits/")]) == 12
    best = table[1].split()[0]
    assert list(tmp_path.glob(f"build/demo.*/runs/{best}/model.pkl"))
    assert f"/runs/{best}:" in run.stdout
