"""A sweep from spec to record, on the local scheduler and on the real Slurm."""

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Site, slurm_site, users_site

TRAIN = """
import sys, time
import penstock
x = float(sys.argv[1])
assert x == penstock.params["x"]
for step in range(3):
    penstock.log_metric("loss", x / (step + 1), step=step)
penstock.set_tag("kind", "test")
print("x is", x)
print("y is an error", file=sys.stderr)
open("model.txt", "w").write(str(x))
"""
SWEEP = """
experiment: train
command: [python3, train.py, "{x}"]
params: {x: [0.5, 1, 2]}
outputs: [model.txt]
request: {cpus: 1, mem: 50M, time: 5m}
tags: {who: me}
"""


@pytest.fixture(scope="module", params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def trained(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A project whose sweep has ended: the tests that only look at it share it."""
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as name:
        yield train(
            users_site(request, Path(name))
            if request.param == "local"
            else slurm_site(request.getfixturevalue("installed"), Path(name), "alice")
        )


def train(site: Site) -> Site:
    site.write("train.py", TRAIN)
    runs = site.finish(SWEEP)
    assert [run["state"] for run in runs] == ["completed"] * 3, site("show", "train/1").stdout
    return site


def test_sweep_ends_with_metrics_outputs_and_tags(trained: Site) -> None:
    runs = trained.json("runs", "experiment = train")
    assert [run["params"] for run in runs] == [{"x": 0.5}, {"x": 1}, {"x": 2}]
    assert [run["metrics"]["loss"] for run in runs] == [pytest.approx(x / 3) for x in (0.5, 1, 2)]
    assert all(run["tags"] == {"who": "me", "kind": "test"} for run in runs)
    for run in runs:
        text = (Path(run["folder"]) / "model.txt").read_text()
        assert float(text) == run["params"]["x"]


def test_runs_filters_sorts_and_chooses_columns(trained: Site) -> None:
    found = trained.json("runs", "metrics.loss > 0.2 and params.x <= 2", "--sort", "-metrics.loss")
    assert [run["run"] for run in found] == ["train/3", "train/2"]
    table = trained("runs", "--sort", "-params.x", "--limit", 1, "--columns", "run,params.x").stdout
    assert table.split() == ["RUN", "X", "train/3", "2"]
    text = trained("runs", "train", "--csv", "--columns", "run,state,metrics.loss").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["run"] for row in rows] == ["train/1", "train/2", "train/3"]
    assert float(rows[2]["metrics.loss"]) == pytest.approx(2 / 3)


def test_show_tells_what_is_known(trained: Site) -> None:
    shown = trained("show", "train/2", "--evidence").stdout
    for words in ("train/2", "completed", "loss", "model.txt", "who", "exit code 0", "sweep.yaml"):
        assert words in shown
    whole = trained.json("show", "train/2", "--evidence")
    assert whole["outputs"][0]["path"] == "model.txt"
    assert whole["metric_summaries"][0]["count"] == 3
    assert whole["attempts"][0]["exit_code"] == 0
    assert whole["evidence"]


def test_logs_are_there_while_and_after(trained: Site) -> None:
    written = trained("logs", "train/1").stdout
    assert "x is 0.5" in written
    assert "y is an error" in written
    assert trained("logs", "-f", "train/1").stdout == written


def test_status_and_watch_say_that_all_is_over(trained: Site) -> None:
    (one,) = trained.json("status")["experiments"]
    assert (one["experiment"], one["runs"], one["states"]["completed"]) == ("train", 3, 3)
    assert "3/3 ended" in trained("watch", "train").stdout
    (line,) = map(json.loads, trained("watch", "train", "--json").stdout.splitlines())
    assert (line["runs"], line["ended"], line["experiments"]) == (3, 3, [one])


def test_files_are_few_when_all_is_over(trained: Site) -> None:
    def names() -> set[str]:
        found = (trained.root / ".penstock" / "arrays").glob("*/*")
        return {path.name for path in found}

    assert trained.json("tick") == {"other": None, "sent": [], "ended": 0, "too_soon": []}
    assert names() <= {"manifest.ended", "script.sh", "slurm.log", "spools.zip", "logs.zip"}


ODD = [
    "two words",
    'it\'s "quoted"',
    "line\nbreak\n",
    "$(touch hacked)",
    "`touch hacked`; touch hacked",
    "a,b,c",
    "größe 日本 🙂",
    "--flag",
    "",
    "{braces}",
    "%A_%a %n",
    "tab\there \\n",
    "*",
    "\x1b[31mred",
]
ECHO = """
import json, os, sys
import penstock
json.dump(
    {
        "argv": sys.argv[1:],
        "env": os.environ["PENSTOCK_PARAM_VALUE"],
        "params": penstock.params["value"],
    },
    open("out.json", "w"),
)
"""


def test_odd_values_arrive_unchanged(site: Site) -> None:
    site.write("echo.py", ECHO)
    spec: dict[str, Any] = {
        "experiment": "odd",
        "command": ["python3", "echo.py", "{value}", "--all={value}"],
        "params": {"value": ODD},
        "outputs": ["out.json"],
        "request": {"mem": "50M"},
    }
    runs = site.finish(json.dumps(spec))
    assert [run["params"]["value"] for run in runs] == ODD
    for run, value in zip(runs, ODD, strict=True):
        assert run["state"] == "completed", site("logs", run["run"]).stdout
        told = json.loads((Path(run["folder"]) / "out.json").read_text())
        assert told == {"argv": [value, f"--all={value}"], "env": value, "params": value}
    assert not list(site.root.rglob("hacked"))
    shown = site("runs", "odd").stdout
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == len(ODD) + 1


def test_edit_while_runs_wait_changes_nothing(site: Site) -> None:
    site.write("said", "before\n")
    spec = """
experiment: edited
command: [sh, wait.sh, "{gate}"]
params: {gate: [GATE]}
request: {mem: 50M}
""".replace("GATE", str(site.root / "gate"))
    site.write("wait.sh", 'until [ -e "$1" ]; do sleep 0.1; done; cat said\n')
    name = site.submit(spec)
    site.write("said", "after\n")
    site.write("gate", "")
    (run,) = site.ended(name)
    assert site("logs", run["run"]).stdout == "before\n"


def test_failure_says_how_and_what_next(site: Site) -> None:
    spec = """
experiment: bad
command: [sh, -c, "echo it broke; exit 3"]
request: {mem: 50M}
"""
    (run,) = site.finish(spec)
    assert (run["state"], run["cause"]) == ("failed", "exit")
    shown = site("show", "bad/1").stdout
    assert "exit code 3" in shown
    assert "penstock logs bad/1" in shown
    assert site("watch", "bad", code=1).stderr.count("bad/1") == 1
    assert site("logs", "bad/1").stdout == "it broke\n"


def test_cancel_ends_what_waits_and_what_runs(site: Site) -> None:
    spec = """
experiment: long
command: [sleep, "600"]
params: {n: {from: 1, to: 3}}
request: {mem: 50M}
max_parallel: 1
"""
    name = site.submit(spec)
    site.until(
        lambda: any(run["state"] == "running" for run in site.json("runs", "experiment = long")),
        "a run that runs",
    )
    refused = site("cancel", name, code=2)
    assert "--yes" in refused.stderr
    asked = site.json("cancel", "--yes", name)["asked"]
    assert asked == [f"{name}/1", f"{name}/2", f"{name}/3"]
    assert {run["state"] for run in site.ended(name)} == {"cancelled"}
    assert "nothing to cancel" in site("cancel", name).stderr
    assert site.json("cancel", name) == {"asked": [], "ended_before": 3}


def test_cancel_reaches_the_scheduler_though_it_was_asked_just_now(site: Site) -> None:
    """Nobody may come after it: it has to be told by the command itself."""
    site.env = {"PENSTOCK_POLL_S": "3600", "PENSTOCK_POLL_MAX_S": "3600"}
    begun, ended = site.root / "begun", site.root / "ended"
    script = f"trap 'touch {ended}; exit' TERM; touch {begun}; while :; do sleep 0.1; done"
    name = site.submit(json.dumps({"experiment": "one", "command": ["sh", "-c", script]}))
    site.until(begun.exists, "the command")
    site("tick")
    site("cancel", f"{name}/1")
    site.until(ended.exists, "the signal")


def test_logs_follow_until_the_end(site: Site) -> None:
    spec = """
experiment: slow
command: [sh, -c, "for n in 1 2 3; do echo line $n; sleep 0.5; done"]
request: {mem: 50M}
"""
    name = site.submit(spec)
    followed = site("logs", "-f", f"{name}/1")
    assert followed.stdout == "line 1\nline 2\nline 3\n"
    assert "slow/1 completed" in followed.stderr


def test_dry_run_shows_scripts_and_stores_nothing(site: Site) -> None:
    spec = site.write("sweep.yaml", SWEEP)
    shown = site("submit", "--dry-run", spec).stdout
    assert "train: 3 runs" in shown
    assert "  x=0.5:  python3 train.py 0.5\n" in shown
    assert "#SBATCH" in shown
    assert site.json("status") == {"experiments": []}
