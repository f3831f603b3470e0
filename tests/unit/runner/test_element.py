"""An element from claim to exit record: the real zip, run by a real Python."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.staging import code
from penstock.wire import claim, over, place, spool
from tests.elements import PYTHON, Array, make_array, processes, shell, wait_for


def with_code(home: Path, files: dict[str, str], *command: str, **header: object) -> Array:
    folder = home / "project"
    folder.mkdir()
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body)
    kept = code.archive(folder, home=home)
    named = {"path": str(kept.path), "digest": kept.digest}
    return make_array(home, *command, code=named, params=[{}] * 3, **header)


# --- claims -------------------------------------------------------------------------------------


def test_another_job_runs_nothing(tmp_path: Path) -> None:
    array = shell(tmp_path, "echo ran >> $RAN", env={"RAN": str(tmp_path / "ran")})
    assert array.run(job=12).code == 0
    other = array.run(job=13)
    assert other.code == claim.TAKEN
    assert "12_0" in other.err
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_the_same_restart_twice_runs_nothing(tmp_path: Path) -> None:
    array = shell(tmp_path, "exit 1")
    assert array.run(restart=1).code == 1
    assert array.run(restart=1).code == claim.TAKEN
    assert array.run(restart=0).code == claim.TAKEN


def test_restart_after_a_sealed_end_takes_its_code_and_runs_nothing(tmp_path: Path) -> None:
    array = shell(tmp_path, "echo ran >> $RAN; exit 4", env={"RAN": str(tmp_path / "ran")})
    array.run()
    again = array.run(restart=1)
    assert again.code == 4
    assert again.exit["sealed"]
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_restart_after_an_end_by_signal_runs_again(tmp_path: Path) -> None:
    array = shell(tmp_path, "test $PENSTOCK_RESTART = 1 || kill -9 $$")
    assert array.run().code == 128 + signal.SIGKILL
    again = array.run(restart=1)
    assert again.code == 0
    assert again.exit["sealed"]


def test_array_that_has_ended_runs_nothing(tmp_path: Path) -> None:
    array = shell(tmp_path, "echo ran >> $RAN", env={"RAN": str(tmp_path / "ran")})
    (array.folder / place.MANIFEST).rename(array.folder / place.MANIFEST_ENDED)
    ended = array.run()
    assert ended.code == claim.TAKEN
    assert "ended" in ended.err
    assert not (tmp_path / "ran").exists()


def test_run_that_was_told_to_be_over_is_not_run_again(tmp_path: Path) -> None:
    """A user requeued by hand what had timed out: its record stands, and nothing runs twice."""
    array = shell(tmp_path, "echo ran >> $RAN; kill -9 $$", env={"RAN": str(tmp_path / "ran")})
    array.run()
    (array.folder / place.OVER).write_bytes(over.encode([0, 4, 5]))
    again = array.run(restart=1)
    assert again.code == claim.TAKEN
    assert "submit it anew" in again.err
    assert (tmp_path / "ran").read_text() == "ran\n"
    (array.folder / place.OVER).write_bytes(over.encode([1]))
    assert array.run(restart=2).code == 128 + signal.SIGKILL, "another element's end is not its"


def test_runner_that_was_superseded_is_fenced(tmp_path: Path) -> None:
    """A node that Slurm has lost goes on running: its word must not count any more."""
    mark = f"fence-{os.getpid()}-{tmp_path.name}"
    script = "echo $PENSTOCK_RESTART > o; test $PENSTOCK_RESTART = 1 || { echo ready; sleep 600; }"
    array = make_array(
        tmp_path, "sh", "-c", script.replace("{", "{{").replace("}", "}}"), mark,
        outputs=["o"], beat_s=0.1,
    )  # fmt: skip
    cut_off = array.start()
    log = array.folder / place.log(0, 0)
    wait_for(lambda: log.exists() and "ready" in log.read_text(), "the command")
    # Restart 1 runs on another node, so it cannot tidy up after the one that still runs.
    assert array.run(restart=1, SLURMD_NODENAME="other", TMPDIR=str(tmp_path)).code == 0
    fenced = array.end(cut_off)
    assert fenced.code == claim.FENCED
    assert not fenced.exit["sealed"]
    assert "fenced" in fenced.notes
    assert "fenced" in fenced.log
    assert array.result("o").read_text() == "1\n"
    assert list(processes(mark)) == []


def test_fenced_before_it_publishes_leaves_the_results_alone(tmp_path: Path) -> None:
    array = shell(tmp_path, "echo $PENSTOCK_RESTART > o; test -p $FIFO && cat $FIFO", outputs=["o"])
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cut_off = array.start(FIFO=str(fifo))
    wait_for(lambda: any(r["k"] == "start" for r in array.records()), "the command")
    assert array.run(restart=1, FIFO="/dev/null").code == 1  # no fifo: ends with 1, publishes
    assert array.result("o").read_text() == "1\n"
    fifo.write_text("go")
    fenced = array.end(cut_off)
    assert fenced.code == claim.FENCED
    assert array.result("o").read_text() == "1\n"
    assert claim.sealed(str(array.folder), 0, 1) is None


@pytest.mark.parametrize("index", ["x", "7", "-1"])
def test_wrong_index_runs_nothing(tmp_path: Path, index: str) -> None:
    ended = shell(tmp_path, "true").run(SLURM_ARRAY_TASK_ID=index)
    assert ended.code in (2, claim.UNABLE)
    assert ended.err.startswith("penstock: ")
    assert "Traceback" not in ended.err


# --- scratch and code ---------------------------------------------------------------------------


def test_each_run_starts_in_a_fresh_copy_of_the_code(tmp_path: Path) -> None:
    array = with_code(
        tmp_path,
        {"run.sh": "cat data/x; echo changed > data/x; ls -a | wc -l", "data/x": "first\n"},
        "sh", "run.sh",
    )  # fmt: skip
    first, second = array.run(0), array.run(1)
    assert first.log == second.log
    assert first.log.startswith("first\n")
    assert array.left_on_scratch() == []
    assert len(list(array.scratch.glob("penstock-*/code/*/complete"))) == 1  # unpacked once


def test_an_edit_while_runs_wait_changes_nothing(tmp_path: Path) -> None:
    array = with_code(tmp_path, {"x": "as submitted"}, "cat", "x")
    (tmp_path / "project" / "x").write_text("edited")
    assert array.run().log == "as submitted"


def test_code_that_something_took_away_is_unpacked_again(tmp_path: Path) -> None:
    array = with_code(tmp_path, {"a": "1", "b": "2"}, "cat", "a", "b")
    array.run(0)
    (gone,) = array.scratch.glob("penstock-*/code/*/tree/b")
    gone.unlink()
    assert array.run(1).log == "12"


def test_code_archive_that_is_gone_says_so(tmp_path: Path) -> None:
    array = with_code(tmp_path, {"a": "1"}, "cat", "a")
    shutil.rmtree(tmp_path / "code")
    ended = array.run()
    assert ended.exit["cause"] == "setup"
    assert "submit again" in ended.exit["detail"]
    assert "submit again" in ended.log


def test_code_archive_that_is_damaged_is_not_run(tmp_path: Path) -> None:
    array = with_code(tmp_path, {"a": "1"}, "cat", "a")
    (path,) = (tmp_path / "code").iterdir()
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(bytes(body))
    ended = array.run()
    assert ended.exit["cause"] == "setup"
    assert ended.log.startswith("penstock: the code archive")


def test_code_of_another_digest_is_not_run(tmp_path: Path) -> None:
    array = with_code(tmp_path, {"a": "1"}, "cat", "a")
    (path,) = (tmp_path / "code").iterdir()
    (tmp_path / "project" / "a").write_text("evil")
    other = code.archive(tmp_path / "project", home=tmp_path)
    shutil.copy(other.path, path)
    ended = array.run()
    assert ended.exit["cause"] == "setup"
    assert "damaged" in ended.exit["detail"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_scratch_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    array = shell(tmp_path, "true")
    planted = array.scratch / f"penstock-{os.getuid()}"
    planted.mkdir(mode=0o700)
    os.chown(planted, 65534, 65534)
    ended = array.run()
    assert ended.exit["cause"] == "setup"
    assert "not yours" in ended.exit["detail"]
    assert list(planted.iterdir()) == []


def test_scratch_folder_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    array = shell(tmp_path, "true")
    (array.scratch / f"penstock-{os.getuid()}").mkdir()
    (array.scratch / f"penstock-{os.getuid()}").chmod(0o777)
    assert "chmod 700" in array.run().exit["detail"]


def test_scratch_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    array = shell(tmp_path, "true")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (array.scratch / f"penstock-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert array.run().exit["cause"] == "setup"


def test_scratch_named_by_an_unset_variable_says_so(tmp_path: Path) -> None:
    ended = make_array(tmp_path, "true", scratch="$NOWHERE/x").run()
    assert ended.code == 125
    assert "NOWHERE" in ended.exit["detail"]


def test_scratch_of_the_job_is_taken_where_the_site_names_none(tmp_path: Path) -> None:
    slurm, local = tmp_path / "slurm", tmp_path / "local"
    slurm.mkdir()
    local.mkdir()
    array = make_array(tmp_path, "pwd", scratch=None, params=[{}] * 2)
    assert array.run(0, TMPDIR=str(local)).log.startswith(str(local))
    both = array.run(1, TMPDIR=str(local), SLURM_TMPDIR=str(slurm))
    assert both.log.startswith(str(slurm))


def test_project_storage_serves_where_there_is_no_scratch(tmp_path: Path) -> None:
    array = make_array(tmp_path, "pwd", scratch=None)
    ended = array.run(TMPDIR="/no/such/folder")
    assert ended.log.splitlines()[-1].startswith(str(tmp_path / "work"))
    assert "/no/such/folder" in ended.notes


def test_folders_of_runners_that_died_here_are_removed(tmp_path: Path) -> None:
    array = make_array(tmp_path, "true", params=[{}] * 2)
    array.run(0, PENSTOCK_FAILPOINT="runner.started")
    assert len(array.left_on_scratch()) == 1
    assert array.run(1).code == 0
    assert array.left_on_scratch() == []


def test_folders_of_runners_that_live_stay(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    array = make_array(
        tmp_path, "sh", "-c", "cat {file}; test -e here",
        params=[{"file": str(fifo)}, {"file": "/dev/null"}],
    )  # fmt: skip
    living = array.start(0)
    wait_for(lambda: any(r["k"] == "start" for r in array.records(0)), "the first")
    array.run(1)
    (folder,) = array.left_on_scratch()
    (folder / "work" / "here").touch()
    fifo.write_text("")
    assert array.end(living).code == 0


# --- outputs ------------------------------------------------------------------------------------


def test_outputs_are_copied_with_digest_and_size(tmp_path: Path) -> None:
    script = "mkdir -p d/e; printf abc > d/e/f; printf x > one.csv; : > two.csv; : > not"
    array = shell(tmp_path, script, outputs=["d", "*.csv"])
    ended = array.run()
    assert {(r["path"], r["bytes"]) for r in ended.of("output")} == {
        ("d/e/f", 3),
        ("one.csv", 1),
        ("two.csv", 0),
    }
    (record,) = (r for r in ended.of("output") if r["path"] == "d/e/f")
    assert record["digest"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert array.result("d/e/f").read_text() == "abc"
    assert not array.result("not").exists()


def test_missing_output_of_a_success_is_a_failure(tmp_path: Path) -> None:
    ended = shell(tmp_path, "true", outputs=["model.bin"]).run()
    assert (ended.exit["code"], ended.exit["cause"]) == (0, "output")
    assert "model.bin" in ended.exit["detail"]
    assert "model.bin" in ended.log


def test_outputs_of_a_failure_are_kept_and_no_cause(tmp_path: Path) -> None:
    array = shell(tmp_path, "echo part > log.txt; exit 2", outputs=["log.txt", "model.bin"])
    ended = array.run()
    assert (ended.exit["code"], ended.exit["cause"]) == (2, None)
    assert array.result("log.txt").read_text() == "part\n"


@pytest.mark.parametrize("output", ["leak", "d", "../../../secret", "/etc/hostname"])
def test_outputs_never_come_from_outside(tmp_path: Path, output: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    array = shell(
        tmp_path, f"ln -s {secret} leak; mkdir d; ln -s {secret} d/leak", outputs=[output]
    )
    ended = array.run()
    assert ended.notes
    assert not [path for path in array.results.rglob("*") if path.is_file()]


def test_outputs_never_go_outside(tmp_path: Path) -> None:
    array = shell(tmp_path, "mkdir d; echo x > d/f", outputs=["d"])
    outside = tmp_path / "outside"
    outside.mkdir()
    array.result("").mkdir(parents=True)
    array.result("d").symlink_to(outside)
    ended = array.run()
    assert ended.exit["cause"] == "output"
    assert list(outside.iterdir()) == []


def test_links_inside_are_followed_once(tmp_path: Path) -> None:
    script = "mkdir d; echo x > d/f; ln -s f d/g; ln -s . d/loop; ln -s d/f top"
    array = shell(tmp_path, script, outputs=["d", "top"])
    ended = array.run()
    assert {record["path"] for record in ended.of("output")} == {"d/f", "d/g", "top"}
    assert array.result("top").read_text() == "x\n"


def test_results_that_cannot_be_written_are_the_cause(tmp_path: Path) -> None:
    array = shell(tmp_path, "echo x > o", outputs=["o"])
    array.results.write_text("a file where the folder should be")
    ended = array.run()
    assert (ended.exit["code"], ended.exit["cause"]) == (0, "output")
    assert "Not a directory" in ended.exit["detail"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False
        ).returncode
    ):
        pytest.skip("needs to mount a small file system (root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_under_results_is_said_and_publishes_nothing(
    tmp_path: Path, small_disk: Path
) -> None:
    script = "echo small > a; head -c 100000 /dev/zero > b"
    array = shell(tmp_path, script, outputs=["a", "b"], results=str(small_disk))
    ended = array.run()
    assert ended.exit["cause"] == "output"
    assert "No space left" in ended.exit["detail"]
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_full_scratch_is_said(tmp_path: Path, small_disk: Path) -> None:
    array = with_code(tmp_path, {"a": "x" * 100_000}, "cat", "a", scratch=str(small_disk))
    ended = array.run()
    assert ended.exit["cause"] == "setup"
    assert "No space left" in ended.exit["detail"]


def test_full_disk_under_the_spool_is_waited_for(tmp_path: Path, small_disk: Path) -> None:
    """What could not be written is written when there is room again, each line whole."""
    home = small_disk / "home"
    home.mkdir()
    ballast, told = small_disk / "ballast", tmp_path / "told"
    tags = " ".join(f"--tag t{i}={'x' * 50}" for i in range(200))
    script = f"head -c 1000000 /dev/zero > {ballast}; penstock-log {tags}; touch {told}"
    array = Array(home, {"command": ["sh", "-c", script], "scratch": str(tmp_path)})
    array.zip = tmp_path / "runner.zip"
    array.write([{}])
    process = array.start()
    wait_for(told.exists, "the command")
    assert process.poll() is None
    assert not array.is_done()
    ballast.unlink()
    ended = array.end(process)
    assert ended.exit["sealed"]
    assert len(ended.of("tag")) == 200


# --- telling ------------------------------------------------------------------------------------

TELL = """\
import os, threading, penstock
def tell(name):
    for i in range(200):
        penstock.log_metric(name, i)
threads = [threading.Thread(target=tell, args=("t%d" % n,)) for n in range(4)]
for thread in threads: thread.start()
if os.fork() == 0:
    penstock.log_metric("child", 1, step=3)
    os._exit(0)
os.wait()
for thread in threads: thread.join()
penstock.log_params({"depth": 3, "odd": object})
penstock.set_tag("note", "é")
penstock.log_metrics({"a": 1, "b": float("nan")}, step=5)
open("f.txt", "w").write("as it was")
penstock.log_artifact("f.txt", "kept/f.txt")
open("f.txt", "w").write("later")
os.mkdir("folder"); open("folder/x", "w").write("x")
penstock.log_artifact("folder")
"""


def test_user_code_tells_from_threads_and_forks(tmp_path: Path) -> None:
    array = make_array(tmp_path, sys.executable, "-W", "ignore", "-c", TELL)
    ended = array.run()
    assert ended.code == 0, ended.log
    for name in ("t0", "t1", "t2", "t3"):
        assert ended.points(name) == [(i, float(i)) for i in range(200)]
    assert ended.points("child") == [(3, 1.0)]
    assert ended.points("a") == [(5, 1.0)]
    assert {r["name"]: r["value"] for r in ended.of("tag")} == {"note": "é"}
    assert {r["name"]: r["value"] for r in ended.of("param")}["depth"] == 3
    assert array.result("kept/f.txt").read_text() == "as it was"
    assert array.result("folder/x").read_text() == "x"
    assert {r["path"] for r in ended.of("output")} == {"kept/f.txt", "folder/x"}


def test_rubbish_among_events_is_counted_and_harms_nothing(tmp_path: Path) -> None:
    rubbish = [
        "nonsense", "[]", "{}", '{"k":"m"}', '{"k":"m","values":{"x":"high"}}', "[" * 40000,
        '{"k":"m","values":{"x":1},"step":1e400}', '{"k":"m","values":{"\\u0000":1}}',
        '{"k":"tag","values":{"":1}}', '{"k":"file","path":"/etc/passwd","name":"../up"}',
        '{"k":"exit","code":0,"sealed":true}', "x" * 100_000, "\udcff\udcfe",
    ]  # fmt: skip
    good = json.dumps({"k": "m", "values": {"x": 2}, "at": "yesterday", "step": None})
    told = tmp_path / "told"
    told.write_bytes("\n".join([*rubbish, good]).encode("utf-8", "surrogateescape"))
    ended = shell(tmp_path, f"cat {told} >> $PENSTOCK_EVENTS").run()
    assert ended.code == 0
    assert ended.points("x") == [(0, 2.0)]
    assert f"{len(rubbish)} bad lines" in ended.notes


def test_events_cannot_name_files_of_others(tmp_path: Path) -> None:
    event = json.dumps({"k": "file", "path": "/etc/passwd", "name": "x"})
    array = shell(tmp_path, f"echo '{event}' >> $PENSTOCK_EVENTS")
    ended = array.run()
    assert not array.result("x").exists()
    assert Path("/etc/passwd").exists()
    assert "/etc/passwd" in ended.notes


def test_metrics_are_read_from_what_is_printed(tmp_path: Path) -> None:
    script = (
        "echo 'epoch 1 loss: 0.5 acc=0.25'; printf 'loss: 0.4\\r'; echo \"{'loss': 3e-1}\";"
        "echo 'at 12:30 on host:80'; printf 'loss=nan'"
    )
    ended = shell(tmp_path, script, metrics={"stdout": True}).run()
    assert [step for step, _ in ended.points("loss")] == [0, 1, 2, 3]
    assert [value for _, value in ended.points("loss")][:3] == [0.5, 0.4, 0.3]
    assert ended.points("acc") == [(0, 0.25)]
    assert {record["key"] for record in ended.of("m")} == {"loss", "acc"}


def test_catastrophic_expression_cannot_hang_the_runner(tmp_path: Path) -> None:
    pattern = r"(?P<x>(a+)+)b"
    ended = shell(tmp_path, f"echo {'a' * 60}", metrics={"stdout": pattern}).run()
    assert ended.code == 0
    assert "metrics.stdout took more than" in ended.notes


def test_wrong_expression_is_said_before_anything_runs(tmp_path: Path) -> None:
    ended = shell(tmp_path, "true", metrics={"stdout": "("}).run()
    assert ended.exit["cause"] == "setup"
    assert "metrics.stdout" in ended.exit["detail"]


# --- the zip ------------------------------------------------------------------------------------


def test_runner_needs_nothing_installed(tmp_path: Path) -> None:
    """Not even site-packages."""
    array = shell(tmp_path, "echo ran")
    env = {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0", "PATH": os.environ["PATH"]}
    argv = [PYTHON, "-S", "-E", str(array.zip), str(array.folder)]
    subprocess.run(argv, env=env, check=True)
    assert array.end(array.start(job=2)).code == claim.TAKEN
    done = array.folder / place.spool(0, 0, done=True)
    assert spool.decode(done.read_bytes())[0][-1]["code"] == 0


def test_zip_says_how_it_is_used(tmp_path: Path) -> None:
    array = shell(tmp_path, "true")
    done = subprocess.run(
        [PYTHON, str(array.zip)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
