"""The command as the runner starts and ends it: the real zip, run by a real Python."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.elements import make_array, processes, shell, wait_for

NASTY = {
    "plain": "a b",
    "quote": 'it\'s "x"',
    "shell": "$(touch /tmp/never) `x` $HOME",
    "lines": "a\nb",
    "comma": "1,2",
    "unicode": "é 漢 😀",
    "empty": "",
    "none": None,
    "number": 0.1,
    "yes": True,
    "list": [1, "x"],
}
TEXTS = {
    **{name: value for name, value in NASTY.items() if isinstance(value, str)},
    "none": "null",
    "number": "0.1",
    "yes": "true",
    "list": '[1,"x"]',
}
SHOW = """\
import json, os, sys, penstock
json.dump({"argv": sys.argv[1:], "params": dict(penstock.params), "env": dict(os.environ),
           "file": json.load(open(os.environ["PENSTOCK_PARAMS"], encoding="utf-8"))},
          open(os.environ["SHOW"], "w"))
"""


def test_parameters_arrive_unchanged_in_every_form(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    command = [sys.executable, "-c", SHOW, *(f"{{{name}}}" for name in NASTY), "{params}"]
    array = make_array(tmp_path, *command, params=[NASTY], env={"SHOW": str(shown)})
    ended = array.run(LC_ALL="C")
    assert ended.code == 0, ended.log
    seen = json.loads(shown.read_text())
    assert seen["argv"][: len(NASTY)] == [TEXTS[name] for name in NASTY]
    pairs = seen["argv"][len(NASTY) :]
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == {
        f"--{name}": text for name, text in TEXTS.items()
    }
    assert seen["params"] == seen["file"] == NASTY
    assert {name: seen["env"]["PENSTOCK_PARAM_" + name.upper()] for name in TEXTS} == TEXTS


def test_variables_are_those_of_the_run(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    array = make_array(
        tmp_path, sys.executable, "-c", SHOW, env={"SHOW": str(shown), "MINE": "$HOME x"}
    )
    array.run(restart=2, SLURM_CPUS_PER_TASK="3", PENSTOCK_FAILPOINT="none")
    env = json.loads(shown.read_text())["env"]
    assert env["MINE"] == "$HOME x"  # no shell
    assert (env["PENSTOCK_RUN"], env["PENSTOCK_ATTEMPT"], env["PENSTOCK_RESTART"]) == (
        "e/0",
        "1",
        "2",
    )
    assert env["SRUN_CPUS_PER_TASK"] == "3"
    assert env["TMPDIR"].startswith(str(array.scratch))
    assert "PENSTOCK_FAILPOINT" not in env


def test_command_ends_by_itself_sealed_with_its_code(tmp_path: Path) -> None:
    ended = shell(tmp_path, "echo out; echo err >&2; exit 3").run()
    assert ended.code == 3
    assert ended.log == "out\nerr\n"
    kept = {name: ended.exit[name] for name in ("code", "signal", "cause", "sealed", "log")}
    assert kept == {"code": 3, "signal": None, "cause": None, "sealed": True, "log": [0, 8]}


def test_command_ended_by_a_signal_is_not_sealed(tmp_path: Path) -> None:
    ended = shell(tmp_path, "kill -SEGV $$").run()
    assert ended.code == 128 + signal.SIGSEGV
    assert (ended.exit["code"], ended.exit["signal"]) == (None, signal.SIGSEGV)
    assert not ended.exit["sealed"]


@pytest.mark.parametrize(
    "name, body, mode, code, says",
    [
        ("absent", None, 0, 127, "command not found"),
        ("plain", "#!/bin/sh\n", 0o644, 126, "chmod +x"),
        ("lost", "#!/no/such/interpreter\n", 0o755, 127, "#!"),
        ("data", "\0\0\0\0", 0o755, 126, "first line"),
    ],
)
def test_command_that_cannot_be_started_says_what_to_do(
    tmp_path: Path, name: str, body: str | None, mode: int, code: int, says: str
) -> None:
    program = tmp_path / name
    if body is not None:
        program.write_text(body)
        program.chmod(mode)
    ended = make_array(tmp_path, str(program)).run()
    assert ended.code == code
    assert (ended.exit["code"], ended.exit["cause"], ended.exit["sealed"]) == (code, "setup", False)
    assert says in ended.exit["detail"]
    assert ended.log.startswith("penstock: ")
    assert says in ended.log


def test_arguments_too_long_for_the_system_name_the_file(tmp_path: Path) -> None:
    ended = make_array(tmp_path, "true", "{big}", params=[{"big": "x" * 200_000}]).run()
    assert ended.exit["cause"] == "setup"
    assert "PENSTOCK_PARAMS" in ended.exit["detail"]


def test_parameter_that_is_too_long_for_a_variable_is_in_the_file(tmp_path: Path) -> None:
    check = (
        'test "${PENSTOCK_PARAM_BIG-unset}" = unset && test $(wc -c < $PENSTOCK_PARAMS) -gt 200000'
    )
    array = shell(tmp_path, check, params=[{"big": "x" * 200_000}])
    assert array.run().code == 0


def test_signals_for_the_batch_script_are_handed_on(tmp_path: Path) -> None:
    """B: signals reach the runner alone."""
    script = "trap 'echo one; exit 5' USR1; echo ready; while :; do sleep 0.05; done"
    array = shell(tmp_path, script)
    process = array.start()
    wait_for(lambda: "ready" in log_of(array.folder), "the command")
    process.send_signal(signal.SIGUSR1)
    ended = array.end(process)
    assert "one" in ended.log
    assert ended.code == 5
    assert ended.exit["sealed"]


def log_of(folder: Path) -> str:
    path = folder / "log" / "0" / "0.0.log"
    return path.read_text() if path.exists() else ""


def test_sigterm_is_recorded_and_not_handed_on(tmp_path: Path) -> None:
    """Slurm sends it to every process: twice would end what is saving its state."""
    script = "trap 'echo once' TERM; echo ready; until test -e go; do sleep 0.05; done; echo saved"
    array = shell(tmp_path, script)
    process = array.start()
    wait_for(lambda: "ready" in log_of(array.folder), "the command")
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: any(r["k"] == "term" for r in array.records()), "the record of the signal")
    (start,) = (record for record in array.records() if record["k"] == "start")
    (Path(start["folder"]) / "go").touch()
    ended = array.end(process)
    assert ended.log == "ready\nsaved\n"
    assert ended.code == 0
    assert ended.exit["code"] == 0
    assert not ended.exit["sealed"]  # a requeue may run it again


def test_sigterm_ends_a_command_that_does_not_care(tmp_path: Path) -> None:
    """Though the batch script ignores it: the command has the defaults again."""
    array = shell(tmp_path, "echo ready $$; exec sleep 600")
    process = array.start()
    wait_for(lambda: log_of(array.folder).endswith("\n"), "the command")
    process.send_signal(signal.SIGTERM)
    os.kill(int(log_of(array.folder).split()[1]), signal.SIGTERM)
    ended = array.end(process)
    assert ended.code == 128 + signal.SIGTERM
    assert (ended.exit["signal"], ended.exit["sealed"]) == (signal.SIGTERM, False)


def test_sigterm_may_reach_the_command_first(tmp_path: Path) -> None:
    """Slurm goes from process to process: a shell's 143 is no end of its own."""
    array = shell(tmp_path, "echo ready $$; sleep 600 & trap 'exit 143' TERM; wait")
    process = array.start()
    wait_for(lambda: log_of(array.folder).endswith("\n"), "the command")
    command = int(log_of(array.folder).split()[1])
    os.kill(command, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{command}").exists(), "its end")
    process.send_signal(signal.SIGTERM)
    ended = array.end(process)
    assert (ended.exit["code"], ended.exit["sealed"]) == (143, False)


def test_sigterm_is_followed_by_sigkill_where_the_manifest_says(tmp_path: Path) -> None:
    array = shell(tmp_path, "trap '' TERM; echo ready; while :; do sleep 1; done", on_term_s=0.1)
    process = array.start()
    wait_for(lambda: "ready" in log_of(array.folder), "the command")
    process.send_signal(signal.SIGTERM)
    assert array.end(process).exit["signal"] == signal.SIGKILL


def test_what_the_command_leaves_behind_is_ended(tmp_path: Path) -> None:
    mark = f"left-{os.getpid()}-{tmp_path.name}"
    ended = shell(tmp_path, f"setsid sh -c 'sleep 600; : {mark}' {mark} & sleep 0; exit 0").run()
    assert ended.code == 0
    assert list(processes(mark)) == []
    assert "left behind" in ended.notes


def test_a_killed_runner_takes_its_command_with_it(tmp_path: Path) -> None:
    mark = f"with-{os.getpid()}-{tmp_path.name}"
    array = make_array(tmp_path, "sh", "-c", "echo ready; read x < $FIFO", mark)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = array.start(FIFO=str(fifo))
    wait_for(lambda: "ready" in log_of(array.folder), "the command")
    process.kill()
    assert array.end(process).log == "ready\n"  # what it said is there
    wait_for(lambda: not list(processes(mark)), "the end of the command")


def test_peak_memory_and_cpu_are_those_of_the_tree(tmp_path: Path) -> None:
    eat = (
        "import time; held = bytearray(120 << 20); end = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass"
    )
    array = shell(tmp_path, f'"{sys.executable}" -c "{eat}"', beat_s=0.1)
    ended = array.run()
    assert ended.code == 0, ended.log
    assert ended.exit["peak"] > 120 << 20
    assert ended.exit["cpu"] >= 0.3
    assert ended.exit["wall"] >= 0.3
    assert ended.of("beat")
