"""The main job with its record in PostgreSQL; and a server that goes away while it is done."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import network, postgresql
from tests.acceptance.conftest import Site, local_site
from tests.postgresql import Server
from tests.sshd import Proxy

SECRET = "hunter2%"
SWEEP = """
experiment: swept
command:
  - sh
  - -c
  - "N=$PENSTOCK_PARAM_N; echo loss: 0.$N; echo ran >> COUNT; echo $N > model; sleep SECONDS"
params: {n: [1, 2, 3, 4, 5, 6]}
metrics: stdout
outputs: [model]
request: {cpus: 1}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if postgresql.programs() is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running() as server:
        server.sql(f"CREATE ROLE alice LOGIN PASSWORD '{SECRET}'")
        yield server


@pytest.fixture
def site(server: Server, tmp_path: Path) -> Site:
    """A project whose store is a database of alice's, reached with her password."""
    site = local_site(tmp_path)
    (site.root / ".penstock" / "penstock.db").unlink()
    database = f"s{uuid4().hex[:10]}"
    server.sql(f"CREATE DATABASE {database} OWNER alice")
    secret = SECRET.replace("%", "%25")
    site.env["PENSTOCK_STORE"] = (
        f"postgresql+psycopg://alice:{secret}@127.0.0.1:{server.port}/{database}"
    )
    site("init")
    return site


def spec(site: Site, seconds: float = 0) -> str:
    return SWEEP.replace("COUNT", str(site.root / "count")).replace("SECONDS", str(seconds))


def ran(site: Site) -> int:
    return len((site.root / "count").read_text().splitlines())


def test_main_job(site: Site) -> None:
    runs = site.finish(spec(site))
    assert [(run["state"], run["metrics"]["loss"]) for run in runs] == [
        ("completed", float(f"0.{n}")) for n in range(1, 7)
    ]
    assert ran(site) == 6
    found = site.json("runs", "metrics.loss > 0.3 and params.n < 6", "--sort", "-metrics.loss")
    assert [run["run"] for run in found] == ["swept/5", "swept/4"]
    assert "completed" in site("show", "swept/1", "--evidence").stdout
    assert "whole" in site("store", "check").stderr
    assert not (site.root / ".penstock" / "penstock.db").exists()


def test_password_stands_nowhere(site: Site) -> None:
    """Neither in what is printed, nor in any file of the project, nor in the record."""
    said = [site("submit", site.write("sweep.yaml", spec(site)))]
    site.ended("swept")
    asked = (("show", "swept/1"), ("status",), ("store", "check"), ("daemon", "status"))
    said += [site(*words) for words in asked]
    site.env["PENSTOCK_STORE"] = site.env["PENSTOCK_STORE"].replace("/s", "/none")
    said.append(site("status", code=6))
    assert "is not there" in said[-1].stderr
    for one in said:
        assert "hunter2" not in one.stdout + one.stderr
    for path in site.root.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_password_in_the_projects_file_is_refused(site: Site) -> None:
    """It is archived with the code, and often under version control."""
    with (site.root / "penstock.toml").open("a") as file:
        file.write(f"\nstore = {json.dumps(site.env['PENSTOCK_STORE'])}\n")
    said = site("status", code=4).stderr
    assert "pgpass" in said
    assert "hunter2" not in said


def test_server_that_is_restarted_again_and_again_costs_nothing(site: Site, server: Server) -> None:
    """In the middle of cycles of a daemon and of commands: clear errors, and no run twice."""
    with site.daemon():
        site.submit(spec(site, 0.5))
        for _ in range(4):
            server.stop()
            failed = tick(site)
            assert failed.returncode in (0, 6), failed.stderr  # 0: the daemon holds the lease
            assert "Traceback" not in failed.stderr
            server.start()
            tick(site)
        runs = site.ended("swept")
    assert [run["state"] for run in runs] == ["completed"] * 6
    assert ran(site) == 6
    assert "hunter2" not in site.daemon_said
    assert "whole" in site("store", "check").stderr


def test_daemon_ends_where_the_server_is_frozen(site: Site, server: Server) -> None:
    """Stopped by SIGSTOP, as a hung disk does: what waits for it gets no word, and no error."""
    site.submit(spec(site, 8))  # unended for as long: cycles come quickly
    with site.daemon() as daemon:
        # A wait to connect would end by itself: it is to be frozen in a step that has connected.
        site.until(lambda: site.json("daemon", "status")["pulse"]["cycles"], "a cycle")
        with server.frozen():
            time.sleep(3)  # the next step has begun by then
            daemon.terminate()
            assert daemon.wait(60) == 0
    assert "broken off" in site.daemon_said
    assert [run["state"] for run in site.ended("swept")] == ["completed"] * 6
    assert ran(site) == 6
    assert "whole" in site("store", "check").stderr


def test_command_ends_by_ctrl_c_where_the_server_is_frozen(site: Site, server: Server) -> None:
    """While it waits for a statement, or to connect."""
    site.submit(spec(site, 30).replace("swept", "slow"))
    watching = site.start("watch", "slow")
    site.until(lambda: network.is_connected(watching.pid, server.port), "its first look")
    with server.frozen():
        time.sleep(3)  # it looks each second: its next statement waits by then
        ended = [interrupted(watching)]
        looking = site.start("status")
        site.until(lambda: network.is_connected(looking.pid, server.port), "its connection")
        ended.append(interrupted(looking))
    assert ended == ["interrupted", "interrupted"]
    site("cancel", "slow", "--yes")
    site.ended("slow")


def interrupted(process: "subprocess.Popen[str]") -> str:
    """Send Ctrl-C; return what the command says last."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "psycopg" not in said
    return said.splitlines()[-1]


@pytest.fixture
def firewall(site: Site, server: Server) -> Iterator[Proxy]:
    """Something before the server that can drop all silently; two seconds are waited for it."""
    proxy = Proxy(server.port)
    site.env["PENSTOCK_STORE"] = (
        site.env["PENSTOCK_STORE"].replace(f":{server.port}/", f":{proxy.port}/")
        + "?connect_timeout=2"
    )
    yield proxy
    proxy.close()


def test_firewall_that_drops_silently_is_waited_for_no_longer_than_asked(
    site: Site, firewall: Proxy
) -> None:
    site.finish(spec(site))
    firewall.is_silent = True
    for words in (("status",), ("submit", "sweep.yaml"), ("tick",)):
        began = time.monotonic()
        said = site(*words, code=6)
        assert time.monotonic() - began < 10
        assert said.stdout == ""
        assert said.stderr.count("penstock: ") == 1
        assert "does not answer" in said.stderr
        assert "a firewall between?" in said.stderr
        assert "hunter2" not in said.stderr
    firewall.is_silent = False
    assert len(site.json("runs")) == 6
    assert ran(site) == 6


def tick(site: Site) -> "subprocess.CompletedProcess[str]":
    done = site.start("tick")
    out, err = done.communicate(timeout=60)
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@pytest.mark.parametrize("name", ["copy.dump", "copy.db"])
def test_backup_is_put_back(site: Site, name: str) -> None:
    site.finish(spec(site))
    backup = site.root.parent / name
    how = site("store", "backup", backup).stderr
    assert ("pg_dump" if name.endswith("dump") else "SQLite") in how
    site("submit", site.write("later.yaml", spec(site).replace("swept", "later")))
    site.ended("later")
    site("store", "restore", backup, "--yes")
    site("tick")
    assert {run["experiment"] for run in site.json("runs")} == {"swept"}
    assert "whole" in site("store", "check").stderr
    site("submit", site.write("again.yaml", spec(site).replace("swept", "again")))
    assert [run["state"] for run in site.ended("again")] == ["completed"] * 6


def shown(site: Site) -> dict[str, Any]:
    """Return all of a run that is in the store: when the queue was looked at is not."""
    found = site.json("show", "swept/3", "--evidence")
    return {key: value for key, value in found.items() if not key.startswith("queue_")}


def test_store_is_moved_to_sqlite_and_back(site: Site, server: Server) -> None:
    site.finish(spec(site))
    url, file = site.env["PENSTOCK_STORE"], site.root / ".penstock" / "moved.db"
    before = shown(site)
    said = site("store", "copy", url, file)
    assert "hunter2" not in said.stdout + said.stderr
    assert "run          6" in said.stdout
    site.env["PENSTOCK_STORE"] = f"sqlite:///{file}"
    assert shown(site) == before
    site("submit", site.write("more.yaml", spec(site).replace("swept", "more")))
    site.ended("more")
    database = f"s{uuid4().hex[:10]}"
    server.sql(f"CREATE DATABASE {database}")
    assert "not empty" in site("store", "copy", file, url, code=6).stderr
    site("store", "copy", file, server.url(database))
    site.env["PENSTOCK_STORE"] = server.url(database)
    assert len(site.json("runs")) == 12
    assert shown(site) == before
    assert "whole" in site("store", "check").stderr


def test_database_of_another_project_is_refused(site: Site) -> None:
    site.finish(spec(site))
    site.env["PENSTOCK_PROJECT"] = "another"
    assert "a database for each project" in site("status", code=6).stderr
