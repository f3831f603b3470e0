"""The command line itself: documented, quick to start, honest when it is interrupted."""

import json
import os
import pwd
import re
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from penstock.cli import app
from penstock.errors import EXIT_CODES
from penstock.testing.places import SITE
from penstock.testing.served import served
from tests.acceptance.conftest import ROOT, Site, local_site
from tests.acceptance.faults import program
from tests.hosts import on_host

REFERENCE = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
# What only some commands need, and what costs a tenth of a second or more.
SLOW = ("sqlmodel", "sqlalchemy", "alembic", "jinja2", "ruamel", "apscheduler", "rich", "pydantic")


def commands() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in app.COMMANDS:
        command = app.load(name)
        below = getattr(command, "commands", None)
        found += [(f"{name} {sub}", one) for sub, one in below.items()] if below else []
        found += [] if below else [(name, command)]
    return found


@pytest.mark.parametrize("name, command", commands(), ids=[name for name, _ in commands()])
def test_every_command_and_option_is_documented(name: str, command: object) -> None:
    _, _, rest = REFERENCE.partition(f"\n## penstock {name}\n")
    assert rest, f"docs/reference/commands.md has no heading `## penstock {name}`"
    section = rest.partition("\n## ")[0]
    for param in command.params:  # type: ignore[attr-defined]
        assert param.help or param.name == "help", f"{name}: {param.name} has no help"
        for option in param.opts if param.param_type_name == "option" else []:
            assert f"`{option}" in section, f"{name}: {option} is not in its section"


def test_global_options_are_documented() -> None:
    for param in typer.main.get_command(app.app).params:
        for option in param.opts:
            assert f"`{option}" in REFERENCE


def test_reference_names_no_option_that_is_gone() -> None:
    known = {"--debug", "--project", "--version", "--help", "--install-completion"}
    known |= {"--show-completion", "--"}
    for _, command in commands():
        known |= {option for param in command.params for option in param.opts}  # type: ignore[attr-defined]
    named = set(re.findall(r"`(--[a-z-]+)", REFERENCE))
    assert named - known == set()


def test_exit_codes_are_documented() -> None:
    for code in (0, *EXIT_CODES.values(), app.BUG, app.INTERRUPTED, app.CLOSED_PIPE):
        assert f"| {code} |" in REFERENCE


def loaded(site: Site, *words: str) -> set[str]:
    code = (
        "import sys\nfrom penstock.cli.app import main\n"
        f"sys.argv = ['penstock', *{list(words)!r}]\n"
        "try: main()\nexcept SystemExit as end: code = end.code\n"
        "print(code or 0, *sys.modules, file=sys.stderr)"
    )
    run = subprocess.run(
        [site.bin / "python", "-c", code],
        **site.who(),
        capture_output=True,
        text=True,
        check=True,
    )
    code_, *modules = run.stderr.splitlines()[-1].split()
    assert code_ == "0", run.stderr
    return set(modules)


@pytest.mark.parametrize("words", [["--help"], ["status"], ["runs"], ["status", "--json"]])
def test_command_loads_no_more_than_it_needs(local: Site, words: list[str]) -> None:
    loaded(local, *words)  # the first command checks the settings, once
    assert not loaded(local, *words) & set(SLOW)


def test_ctrl_c_after_the_commit_loses_nothing(local: Site) -> None:
    """Stopped where all is stored and nothing is sent: the next cycle sends it."""
    spec = local.write("sweep.yaml", 'experiment: held\ncommand: ["true"]\nparams: {n: [1, 2]}\n')
    hold(local, "reconciler.planned")
    submit = local.start("submit", spec)
    local.until((local.root / "there").exists, "the instant after the commit")
    submit.send_signal(signal.SIGINT)
    out, err = submit.communicate(timeout=60)
    assert submit.returncode == 130, err
    assert "submitted 2 runs" in out
    assert "not lost" in err
    assert "penstock tick" in err
    assert "Traceback" not in err
    local.env = {}
    assert {run["state"] for run in local.ended("held")} == {"completed"}


def hold(site: Site, point: str) -> None:
    """Make the command wait at a failpoint: a sitecustomize of the test's own."""
    folder = site.root.parent / "held"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import pathlib, time\n"
        "def trip(name):\n"
        f"    if name == {point!r}:\n"
        f"        pathlib.Path({str(site.root / 'there')!r}).touch()\n"
        "        time.sleep(60)\n"
        "from penstock import failpoint\n"
        "failpoint.trip = trip\n"
    )
    site.env = {"PYTHONPATH": str(folder)}


def test_ctrl_c_in_watch_leaves_the_runs_alone(local: Site) -> None:
    spec = 'experiment: watched\ncommand: [sh, -c, "until [ -e GATE ]; do sleep 0.1; done"]\n'
    gate = local.root / "gate"
    name = local.submit(spec.replace("GATE", str(gate)))
    watch = local.start("watch", name)
    assert watch.stdout is not None
    assert "0/1 ended" in watch.stdout.readline()
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=60)
    assert watch.returncode == 130
    assert "the runs go on" in err
    gate.touch()
    assert local.ended(name)[0]["state"] == "completed"


def test_daemon_keeps_it_up_to_date_and_ends_at_sigterm(local: Site) -> None:
    with local.daemon():
        name = local.submit('experiment: kept\ncommand: ["true"]\nparams: {n: [1, 2, 3]}\n')
        assert len(local.ended(name)) == 3


def looks(site: Site) -> int:
    """Return how often the queue was looked at."""
    many: int = site.json("daemon", "status")["load"]["questions"].get("observe", 0)
    return many


def test_tick_looks_no_more_often_than_the_site_allows(local: Site) -> None:
    gate = local.root / "gate"
    local.env["PENSTOCK_SITE"] = str(local.write("site.toml", "poll_s = 3600\n"))
    name = local.submit(
        f'experiment: kept\ncommand: [sh, -c, "until [ -e {gate} ]; do sleep 0.1; done"]\n'
        "params: {n: [1, 2]}\n"
    )
    local("tick")
    assert looks(local) == 1
    said = local("tick").stdout
    assert re.search(r"looked at \d+ s ago, and the site allows it each 3600 s", said)
    assert "allows it" in local.json("tick")["too_soon"][0]
    local("cancel", f"{name}/1", "--yes")
    local("status")
    assert looks(local) == 1
    local.write("gate", "")
    local.until(lambda: local.json("show", f"{name}/2")["state"] == "completed", "its end")
    assert looks(local) == 1


def test_tick_looks_whatever_its_user_set(local: Site) -> None:
    local.env["PENSTOCK_POLL_S"] = "3600"
    local.submit('experiment: kept\ncommand: [sleep, "60"]\n')
    for number in (1, 2, 3):
        assert local.json("tick")["too_soon"] == []
        assert looks(local) == number
    local("cancel", "kept/1", "--yes")


def test_nothing_to_resolve_is_an_empty_list(local: Site) -> None:
    assert local.json("resolve") == {"to_resolve": []}
    assert "nothing to resolve" in local("resolve").stderr


def test_hint_to_find_a_job_finds_one_that_has_ended_too(local: Site) -> None:
    """By itself squeue shows none, and who sees none resends it."""
    said = local("resolve", "ps-0123", code=2).stderr
    assert "squeue --me -t all --format='%A %j' | grep ps-0123" in said


def test_daemon_without_a_project_says_so(local: Site, shared: Path) -> None:
    elsewhere = shared / "elsewhere"
    elsewhere.mkdir()
    assert "penstock init" in local("daemon", "run", code=4, cwd=elsewhere).stderr


def test_daemon_in_the_background_from_start_to_stop(local: Site) -> None:
    assert not local.json("daemon", "status")["running"]
    assert "no daemon runs" in local("daemon", "stop").stdout
    assert "no log" in local("daemon", "logs", code=5).stderr
    assert "started: process" in local("daemon", "start").stdout
    try:
        told = local.json("daemon", "status")
        assert told["running"]
        assert f"process {told['pid']} on" in local("daemon", "start", code=2).stderr
        assert "lives already" in local("daemon", "run", code=2).stderr
        assert os.getsid(told["pid"]) == told["pid"]
        name = local.submit('experiment: kept\ncommand: ["true"]\nparams: {n: [1, 2, 3]}\n')
        assert len(local.ended(name)) == 3
        local.until(lambda: local.json("daemon", "status")["pulse"]["cycles"] > 0, "a pulse")
        told = local.json("daemon", "status")
        assert told["load"]["questions"]["submit"] == 1
        assert told["pulse"]["failures"] == 0
        assert told["last_look"]
        shown = local("daemon", "status").stdout
        assert "since" in shown
        assert "RPCs in the last hour" in shown
    finally:
        assert "stopped: process" in local("daemon", "stop").stdout
    assert not local.json("daemon", "status")["running"]
    lines = local("daemon", "logs").stdout.splitlines()
    whats = [line.split(" ", 2)[2] for line in lines]
    assert whats[0].startswith("started project=")
    assert "stopping after the step in hand signal=SIGTERM" in whats
    assert whats[-1].startswith("stopped")


def test_daemon_that_was_killed_is_not_in_the_way(local: Site) -> None:
    local("daemon", "start")
    os.kill(local.json("daemon", "status")["pid"], signal.SIGKILL)
    local.until(lambda: not local.json("daemon", "status")["running"], "its end")
    local("daemon", "start")
    local("daemon", "stop")


def notice(site: Site) -> Path:
    """Return the file in which the daemon of the project's user says who it is."""
    user = site.user or pwd.getpwuid(os.getuid()).pw_name
    return site.root / ".penstock" / f"daemon.{user}"


def test_daemon_of_another_host_is_named_and_left_alone(local: Site) -> None:
    file = notice(local)
    file.write_text(json.dumps({"holder": "login2:1:5", "since": time.time()}))
    assert "on login2" in local("daemon", "stop", code=2).stderr
    assert "on login2" in local("daemon", "start", code=2).stderr
    assert local.json("daemon", "status")["host"] == "login2"


SLOW_SBATCH = """
case "$1" in --parsable) touch {root}/began; sleep 4 ;; esac
exec {real} "$@"
"""


def test_sigterm_in_the_middle_of_sbatch_leaves_what_was_sent_on_record(shared: Path) -> None:
    with served(shared, site=SITE) as programs:
        site = replace(local_site(shared), scheduler="slurm")
        program(site, "sbatch", SLOW_SBATCH.format(real=programs / "sbatch", root=site.root))
        site.env["PATH"] = f"{site.root}/programs:{programs}:{site.env['PATH']}"
        spec = site.write("slow.yaml", 'experiment: slow\ncommand: ["true"]\n')
        site.env["PENSTOCK_FAILPOINT"] = "reconciler.collected"
        with site.start("submit", spec) as submit:  # it stores; the daemon is to send
            submit.communicate(timeout=60)
        assert submit.returncode == -signal.SIGKILL
        del site.env["PENSTOCK_FAILPOINT"]
        with ExitStack() as stack:
            daemon = stack.enter_context(site.start("daemon", "run"))
            stack.callback(daemon.kill)
            site.until((site.root / "began").exists, "sbatch")
            daemon.terminate()
            _, said = daemon.communicate(timeout=60)
        assert daemon.returncode == 0, said
        assert said.index("stopping after the step in hand") < said.index("sent runs=1")
        with closing(sqlite3.connect(site.root / ".penstock" / "penstock.db")) as store:
            ((intent, job),) = store.execute("SELECT intent, job FROM job_array").fetchall()
        assert intent == "accepted"
        assert job
        assert site.ended("slow")[0]["attempt"] == 1


@pytest.mark.parametrize("is_after_a_crash", [False, True])
def test_of_daemons_started_at_once_on_several_hosts_one_lives(
    shared: Path, *, is_after_a_crash: bool
) -> None:
    """And `stop` reaches it: the one that is left is the one that is named."""
    site = local_site(shared)
    if is_after_a_crash:
        notice(site).write_text(json.dumps({"holder": "login9:1:5", "since": 0}))
    with ExitStack() as stack:
        many = [
            stack.enter_context(
                subprocess.Popen(
                    on_host(f"login{number}", how.pop("args")),
                    **how,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for number, how in enumerate(site.how("daemon", "run") for _ in range(3))
        ]
        for one in many:
            stack.callback(one.kill)
        site.until(lambda: len(ended(many)) >= len(many) - 1, "one to be left")
        time.sleep(1)
        (left,) = set(many) - set(ended(many))
        assert site.json("daemon", "status")["pid"] == left.pid
        for one in ended(many):
            assert one.stderr is not None
            assert f"lives already: process {left.pid} on" in one.stderr.read()
            assert one.returncode == 2
        left.terminate()
        assert left.wait(60) == 0
        assert not notice(site).exists()


def ended(many: "list[subprocess.Popen[str]]") -> "list[subprocess.Popen[str]]":
    return [one for one in many if one.poll() is not None]


def test_another_process_is_never_signalled(local: Site) -> None:
    """Not even one that has the number and the time of start that the file names."""
    with subprocess.Popen(["sleep", "60"]) as other:
        began = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        holder = f"{socket.gethostname()}:{other.pid}:{began}"
        file = notice(local)
        file.write_text(json.dumps({"holder": holder, "since": time.time()}))
        assert "no daemon runs" in local("daemon", "stop").stdout
        assert other.poll() is None
        other.kill()


def test_daemon_that_does_not_start_says_why(local: Site) -> None:
    (local.root / ".penstock" / "penstock.db").unlink()
    assert "no store at" in local("daemon", "start", code=6).stderr


def test_install_prints_and_writes_only_when_asked(local: Site) -> None:
    run = local("daemon", "install", "--kind", "systemd")
    assert "ExecStart=" in run.stdout
    assert "nothing is written" in run.stderr
    assert not (local.root.parent / ".config").exists()
    assert "*/5 * * * *" in local("daemon", "install", "--kind", "cron").stdout
    assert "no kind" in local("daemon", "install", "--kind", "launchd", code=2).stderr


def test_project_may_be_named_from_elsewhere(local: Site, shared: Path) -> None:
    local.finish('experiment: far\ncommand: ["true"]\n')
    assert "far" in local("status", "--project", local.root, cwd=shared).stdout
    inside = local.root / "a" / "b"
    inside.mkdir(parents=True)
    assert "far" in local("status", cwd=inside).stdout


def test_init_again_changes_nothing(local: Site) -> None:
    (local.root / "penstock.toml").write_text('project = "mine"\n')
    assert "already" in local("init").stdout
    assert (local.root / "penstock.toml").read_text() == 'project = "mine"\n'


def test_version_is_the_packages(local: Site) -> None:
    import penstock

    assert local("--version").stdout == f"penstock {penstock.__version__}\n"


def test_output_without_a_terminal_has_no_colours(local: Site) -> None:
    local.env = {"TERM": "xterm-256color"}
    local.finish('experiment: plain\ncommand: ["false"]\n')
    for words in (["status"], ["runs"], ["show", "plain/1"], ["watch"]):
        run = local.ask(*words)
        assert "\x1b" not in run.stdout + run.stderr


def test_terminal_shows_colours_and_fits(local: Site) -> None:
    local.finish('experiment: wide\ncommand: ["true"]\nparams: {x: ["' + "y" * 200 + '", b]}\n')
    shown = on_terminal(local, "runs", columns=80)
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert all(len(line) <= 80 for line in plain.splitlines())
    assert "wide/1" in plain
    local.env = {"NO_COLOR": "1"}
    assert "\x1b[" not in on_terminal(local, "runs", columns=80)


def on_terminal(site: Site, *words: str, columns: int) -> str:
    """Return what the command writes to a terminal."""
    import pty

    parent, child = pty.openpty()
    how = site.how(*words)
    how["env"] |= {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
    run = subprocess.Popen(**how, stdout=child, stderr=child, stdin=child)
    os.close(child)
    out = b""
    try:
        while data := os.read(parent, 65536):
            out += data
    except OSError:  # Linux: the other end is closed
        pass
    os.close(parent)
    assert run.wait(30) == 0
    return out.decode().replace("\r\n", "\n")
