"""Bad input and faults: one clear message, nothing half-submitted, nothing lost."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.conftest import Site, users_site

GOOD = """
experiment: good
command: ["true"]
params: {n: {from: 1, to: 3}}
request: {mem: 50M}
"""


def nothing_is_stored(site: Site) -> bool:
    found: dict[str, list[object]] = site.json("status")
    return found == {"experiments": []} and not list(site.root.glob(".penstock/arrays/*"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("command: [true", ["sweep.yaml:"]),
        ('command: ["true"]\nparms: {x: [1]}', ["sweep.yaml:2:1", "parms", "params"]),
        ('command: [run, "{lr}"]\nparams: {x: [1]}', ["sweep.yaml:1:", "lr", "x"]),
        ('command: ["true"]\nrequest: {mem: lots}', ["sweep.yaml:2:", "mem", "lots"]),
        ('command: ["true"]\nrequest: {cpus: -1}', ["sweep.yaml:2:", "cpus"]),
        ("", ["sweep.yaml", "command"]),
        ("- just\n- a list", ["sweep.yaml:1:1"]),
        ('command: ["true"]\nparams: {x: []}', ["sweep.yaml:2:", "x"]),
        ('command: ["true"]\ncommand: ["false"]', ["sweep.yaml:2:1", "command"]),
    ],
)
def test_malformed_spec_says_where(local: Site, text: str, words: list[str]) -> None:
    run = local("submit", local.write("sweep.yaml", text), code=3)
    for word in words:
        assert word in run.stderr
    assert run.stdout == ""
    assert nothing_is_stored(local)


def test_spec_that_is_not_there_is_named(local: Site) -> None:
    assert "absent.yaml" in local("submit", "absent.yaml", code=3).stderr
    local.root.joinpath("binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in local("submit", "binary.yaml", code=3).stderr


def test_no_project_says_how_to_make_one(local: Site, shared: Path) -> None:
    elsewhere = shared / "elsewhere"
    elsewhere.mkdir()
    for words in (["status"], ["runs"], ["submit", "x.yaml"], ["watch"], ["tick"]):
        assert "penstock init" in local(*words, code=4, cwd=elsewhere).stderr


def test_missing_sbatch_is_said_and_loses_nothing(local: Site) -> None:
    spec = local.write("sweep.yaml", GOOD)
    local.env = {"PENSTOCK_SCHEDULER": "slurm", "PATH": f"{local.bin}:{without_slurm(local)}"}
    run = local("submit", spec, code=7)
    assert "no program named" in run.stderr
    assert "module" in run.stderr
    local.env = {}
    assert nothing_is_stored(local)


def without_slurm(site: Site) -> Path:
    """Return a folder of programs that has no Slurm."""
    folder = site.root.parent / "programs"
    folder.mkdir(exist_ok=True)
    for name in ("sh", "python3", "git", "env", "sleep", "true"):
        found = shutil.which(name)
        if found and not (folder / name).exists():
            (folder / name).symlink_to(found)
    return folder


@pytest.mark.slurm
@pytest.mark.parametrize(
    "request_, words",
    [
        ("{partition: nowhere}", ["partition", "nowhere"]),
        ("{account: closed}", ["account"]),
        ("{options: [--no-such-option]}", ["no-such-option"]),
        ("{mem: 900G}", []),
    ],
)
def test_refused_submission_stores_nothing(slurm: Site, request_: str, words: list[str]) -> None:
    text = GOOD.replace("{mem: 50M}", request_)
    run = slurm("submit", slurm.write("sweep.yaml", text), code=7)
    for word in words:
        assert word in run.stderr
    assert run.stderr.count("\n") <= 4, "one clear message"
    assert nothing_is_stored(slurm)


@pytest.mark.slurm
def test_sweep_over_the_limit_waits_and_is_fed_in(small: Site) -> None:
    """Bob may have 20 jobs at once."""
    text = GOOD.replace("to: 3", "to: 50")
    run = small("submit", small.write("sweep.yaml", text))
    assert "50 runs" in run.stdout
    assert {one["state"] for one in small.ended("good")} == {"completed"}


def test_read_only_store_still_answers(site: Site) -> None:
    assert_read_only(site)


def test_read_only_folder_still_answers(local: Site) -> None:
    """On a mount that is read-only nobody writes."""
    if os.getuid() != 0:
        pytest.skip("mount needs root")
    local.finish(GOOD)
    if subprocess.run(["mount", "--bind", local.root, local.root], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", local.root], check=True)
        assert_queries_work(local)
        refused = local("submit", local.root / "sweep.yaml", code=6)
        assert_no_more_than_one_message(refused.stderr)
    finally:
        subprocess.run(["umount", "-l", local.root], check=True)
    assert len(local.json("runs")) == 3


def assert_read_only(site: Site) -> None:
    site.finish(GOOD)
    home = site.root / ".penstock"
    store = home / "penstock.db"
    for path, mode in ((store, 0o444), (home, 0o555)):
        path.chmod(mode)
    try:
        assert_queries_work(site)
        refused = site("submit", site.root / "sweep.yaml", code=6)
        assert "penstock.db" in refused.stderr
        assert_no_more_than_one_message(refused.stderr)
    finally:
        home.chmod(0o755)
        store.chmod(0o644)
    assert len(site.json("runs")) == 3


def assert_queries_work(site: Site) -> None:
    assert len(site.json("runs")) == 3
    assert "good" in site("status").stdout
    assert "completed" in site("show", "good/1").stdout


def assert_no_more_than_one_message(said: str) -> None:
    assert said.count("penstock: ") == 1


@pytest.fixture
def full(local: Site) -> Iterator[Site]:
    """A project on a tiny file system that is full."""
    if os.getuid() != 0:
        pytest.skip("mount needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(local.root)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        local.own(local.root)
        local("init")
        local.write("sweep.yaml", GOOD.replace("to: 3", "to: 3000"))
        with (local.root / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        yield local
    finally:
        subprocess.run(["umount", "-l", local.root], check=True)


def test_full_disk_submits_nothing_and_says_so(full: Site) -> None:
    run = full.ask("submit", "sweep.yaml")
    assert run.returncode in (6, 8, 9), run.stderr
    assert "Traceback" not in run.stderr
    assert "full" in run.stderr or "No space" in run.stderr
    (full.root / "filler").unlink()
    assert full.json("status") == {"experiments": []}
    name = full.submit(GOOD)
    assert {one["state"] for one in full.ended(name)} == {"completed"}


def test_filter_error_points_at_the_column(local: Site) -> None:
    run = local("runs", "metrics.acc >> 3", code=2)
    lines = run.stderr.splitlines()
    caret = next(line for line in lines if line.strip().startswith("^"))
    filter_line = lines[lines.index(caret) - 1]
    assert filter_line[caret.index("^") :].startswith(">")


@pytest.mark.parametrize(
    "words, code",
    [
        (["show", "nothing/1"], 5),
        (["logs", "nothing/1"], 5),
        (["cancel", "nothing"], 5),
        (["watch", "nothing"], 5),
        (["status", "nothing"], 5),
        (["cancel"], 2),
        (["runs", "--columns", "nonsense"], 2),
        (["runs", "--json", "--csv"], 2),
        (["runs", "--sort", "nonsense"], 2),
        (["no-such-command"], 2),
        (["submit"], 2),
    ],
)
def test_wrong_use_says_what_to_do(local: Site, words: list[str], code: int) -> None:
    run = local(*words, code=code)
    assert run.stdout == ""
    assert run.stderr


def test_settings_that_are_wrong_name_the_key(local: Site) -> None:
    (local.root / "penstock.toml").write_text("pol_s = 3\n")
    assert "pol_s" in local("status", code=4).stderr
    (local.root / "penstock.toml").write_text("= nonsense\n")
    assert "penstock.toml" in local("status", code=4).stderr


def test_store_that_is_gone_is_not_made_anew(local: Site) -> None:
    (local.root / ".penstock" / "penstock.db").unlink()
    assert "penstock init" in local("status", code=6).stderr
    assert not (local.root / ".penstock" / "penstock.db").exists()


def test_store_that_is_none_says_so(local: Site) -> None:
    (local.root / ".penstock" / "penstock.db").write_bytes(b"not a database" * 100)
    assert "not a Penstock store" in local("status", code=6).stderr


def test_traceback_comes_only_with_debug(local: Site) -> None:
    run = local.ask("status", "nothing", "--debug")
    assert run.returncode == 5
    assert "Traceback" in run.stderr


@pytest.mark.parametrize("point", ["reconciler.planned", "reconciler.sent", "reconciler.accepted"])
def test_killed_while_sending_loses_and_doubles_nothing(local: Site, point: str) -> None:
    local.env = {"PENSTOCK_FAILPOINT": point}
    local("submit", local.write("sweep.yaml", GOOD), code=-signal.SIGKILL)
    local.env = {"PENSTOCK_RECORD_GRACE_S": "1"}
    runs = local.ended("good")
    assert [(run["state"], run["attempt"]) for run in runs] == [("completed", 1)] * 3


def test_script_that_cannot_be_made_stores_nothing(local: Site) -> None:
    spec = local.write("sweep.yaml", GOOD)
    local.write("mine/array.sh.j2", "#!/bin/bash\n{{ no_such_thing }}\n")
    local.env = {"PENSTOCK_TEMPLATES": json.dumps([str(local.root / "mine")])}
    assert "no_such_thing" in local("submit", spec, code=4).stderr
    local.env = {}
    assert nothing_is_stored(local)


def test_path_that_slurm_cannot_write_to_stores_nothing(
    request: pytest.FixtureRequest, shared: Path
) -> None:
    shared.chmod(0o755)
    odd = shared / "back\\slash"
    odd.mkdir()
    local = users_site(request, odd)
    run = local("submit", local.write("sweep.yaml", GOOD), code=2)
    assert "backslash" in run.stderr
    assert nothing_is_stored(local)


def test_closed_pipe_is_no_error_message(local: Site) -> None:
    long = "x" * 100_000  # more than a pipe holds
    local.finish(f'experiment: long\ncommand: ["true"]\nparams: {{x: [{long}, y]}}\n')
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    how = {**local.how("runs", "--json"), **pipes}
    runs: subprocess.Popen[bytes] = subprocess.Popen(**how)
    assert runs.stdout is not None
    assert runs.stderr is not None
    runs.stdout.read(10)
    runs.stdout.close()
    assert runs.stderr.read() == b""
    runs.stderr.close()
    assert runs.wait(30) == 141


def test_params_are_stored_as_given(local: Site) -> None:
    spec = {
        "experiment": "kinds",
        "command": ["true"],
        "params": {"x": [1, 1.5, True, None, "1", [1, "a"], {"k": "v"}]},
    }
    runs = local.finish(json.dumps(spec))
    assert [run["params"]["x"] for run in runs] == [1, 1.5, True, None, "1", [1, "a"], {"k": "v"}]


def silence(local: Site, **changed: str) -> None:
    """Let good/2 be a run of which nobody has heard for ten minutes."""
    local.finish(GOOD)
    store = sqlite3.connect(local.root / ".penstock" / "penstock.db")
    with store:
        store.execute("UPDATE job_array SET intent = 'accepted'")
        for name, one in changed.items():
            for table in ("job_array", "submission"):
                store.execute(f"UPDATE {table} SET {name} = ?", (one,))
        for table in ("run", "attempt"):
            store.execute(f"UPDATE {table} SET state = 'running', ended_at = NULL")
        store.execute("UPDATE attempt SET unknown_since = ? WHERE idx = 1", (time.time() - 600,))
    store.close()
    for pace in (local.root / ".penstock").glob("pace.*"):
        pace.unlink()  # the next look is due
    local.env = {"PENSTOCK_SCHEDULER": "slurm", "PATH": f"{local.bin}:{without_slurm(local)}"}


def waited(told: dict[str, str]) -> timedelta:
    return datetime.fromisoformat(told["lost_after"]) - datetime.fromisoformat(told["since"])


def test_run_that_nobody_hears_of_is_waited_for_as_its_cluster_says(local: Site) -> None:
    silence(local, cluster="big")
    far = '[clusters.big]\nhost = "127.0.0.1"\nport = 1\n'
    settings = local.root / "penstock.toml"
    settings.write_text(f"{far}lost_after_s = 1000\n")
    (told,) = local.json("status")["experiments"]
    shown = local.json("show", "good/2")
    # By its runner's last word, ten minutes later.
    assert timedelta(seconds=1590) < waited(told["unknown"]) < timedelta(seconds=1700)
    assert waited({"since": shown["unknown_since"], **shown}) < timedelta(seconds=1800)
    assert "called lost after" in local("daemon", "status").stdout
    settings.write_text(f"{far}record_grace_s = 1000\n")
    assert local.json("status")["experiments"][0]["unknown"] is None


def test_run_that_nobody_hears_of_is_named_with_what_comes_of_it(local: Site) -> None:
    silence(local)
    shown = local("status")
    assert "1 run not heard of, the first since" in shown.stdout
    assert "called lost after" in shown.stdout
    assert "and not while the queue does not answer" in shown.stdout
    assert "penstock show good/2 --evidence" in shown.stdout
    (told,) = local.json("status")["experiments"]
    assert (told["unknown"]["runs"], told["unknown"]["example"]) == (1, "good/2")
    whole = local("show", "good/2", "--evidence").stdout
    assert "its state is the last known" in whole
    assert "if nobody hears of it, and not while the queue does not answer" in whole
    assert "sacct -j" in whole
    assert "that is final, whatever others say" in whole
    assert "its runner was heard of last at" in whole
    data = local.json("show", "good/2", "--evidence")
    assert data["lost_after"] > data["unknown_since"]
    assert data["unanswered"] == told["unknown"]["unanswered"] == "queue"
    assert data["lost_after"] == told["unknown"]["lost_after"]
    daemon = local("daemon", "status").stdout
    assert "if nobody hears of it, and not while the queue does not answer" in daemon
    assert local.json("daemon", "status")["unknown"] == told["unknown"]
    assert all(one["why"] for one in data["evidence"])
    assert "unknown_since" not in local.json("show", "good/1")
