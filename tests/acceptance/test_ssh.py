"""The command on a laptop: runs of a real Slurm by SSH, and connections that are cut anywhere."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.connection import Store
from tests import sshd
from tests.acceptance.laptop import Laptop, laptop_of
from tests.sshd import Sshd

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    more = f"SetEnv SLURM_CONF={os.environ.get('SLURM_CONF', '')}"
    with sshd.running(users=("alice",), more=more) as found:
        yield found


@pytest.fixture
def laptop(server: Sshd, tmp_path: Path) -> Iterator[Laptop]:
    with laptop_of(server, tmp_path) as found:
        yield found


def test_main_job_by_ssh(laptop: Laptop) -> None:
    site = laptop.site
    out = site("submit", "--cluster", "big", "--dry-run", site.write("s.yaml", laptop.sweep()))
    assert f"{laptop.home}/arrays/" in out.stdout
    assert "submitted 4 runs" in site("submit", "--cluster", "big", "-f", "s.yaml").stdout
    laptop.is_right()
    assert site("logs", "far/3").stdout == "x is 3\n"
    shown = site("show", "far/3").stdout
    assert f"big:{laptop.home}/arrays/" in shown
    fetched = site("fetch", "far/3", "deep").stdout.split()
    assert fetched == [str(site.root / "runs" / "far" / "3" / "deep" / "out.txt")]
    assert Path(fetched[0]).read_text() == "3"
    assert "1 here already" in site("fetch", "far/3").stderr
    Path(fetched[0]).write_text("spoilt")
    site("fetch", "far/3")
    assert Path(fetched[0]).read_text() == "3"
    (laptop.home / "runs" / "far" / "2" / "deep" / "out.txt").write_text("changed")
    assert "is not what the run left" in site("fetch", "far/2", code=9).stderr
    assert "has no result nope" in site("fetch", "far/2", "nope", code=5).stderr
    assert "up" in site("clusters").stdout
    assert "is whole" in site("store", "check").stderr
    assert laptop.proxy.connections == 1, "submit, watch, logs and fetch share a connection"
    assert "disconnected from big" in site("clusters", "--disconnect", "big").stderr
    assert site.json("clusters")["clusters"][0]["is_connected"] is False


def test_image_is_a_file_of_the_cluster(laptop: Laptop) -> None:
    site = laptop.site
    for path, why in (("x.sif", "is relative, and images are not sent to big"),
                      (f"{laptop.home}/x.sif", "on big that you may read")):  # fmt: skip
        spec = site.write("s.yaml", laptop.sweep() + f"env: {{apptainer: {path}}}\n")
        said = site("submit", "--cluster", "big", spec, code=3).stderr
        assert "s.yaml:7:18: env.apptainer: " in said
        assert why in said


def test_code_is_brought_once(laptop: Laptop) -> None:
    spec = laptop.site.write("s.yaml", laptop.sweep())
    laptop.site("submit", "--cluster", "big", spec)
    (archive,) = (laptop.home / "code").iterdir()
    written = archive.stat().st_mtime_ns
    laptop.site("submit", "--cluster", "big", spec)
    assert [one.stat().st_mtime_ns for one in (laptop.home / "code").iterdir()] == [written]
    laptop.finish()


def test_two_clusters_and_this_machine_share_a_store(laptop: Laptop) -> None:
    site = laptop.site
    with (site.root / "penstock.toml").open("a") as settings:
        settings.write(f'[clusters.other]\nhost = "login"\nhome = "{laptop.home}2"\n')
    spec = site.write("s.yaml", laptop.sweep().replace("x: [1, 2, 3, 4]", "x: [1]"))
    (laptop.witness / "ran.1").touch()  # by two users: alice there, and who runs the tests here
    shutil.chown(laptop.witness / "ran.1", "alice")
    site("submit", "--cluster", "big", "--name", "one", spec)
    site("submit", "--cluster", "other", "--name", "two", spec)
    site("submit", "--name", "three", spec)
    for name in ("one", "two", "three"):
        site("watch", name)
    assert laptop.ran() == {"ran.1": 3}
    assert len(list((laptop.home / "arrays").iterdir())) == 1
    assert len(list(Path(f"{laptop.home}2/arrays").iterdir())) == 1
    assert laptop.proxy.connections == 1, "two clusters of one host share its connection"
    wanted = {"one": "big", "two": "other"}
    for name, cluster in wanted.items():
        assert len(site.json("runs", f"experiment = {name} and cluster = {cluster}")) == 1


def test_cluster_that_cannot_be_reached_keeps_back_no_other(laptop: Laptop) -> None:
    site = laptop.site
    spec = site.write("s.yaml", laptop.sweep())
    site("submit", "--cluster", "big", spec)
    laptop.leave()
    laptop.proxy.close()
    site("submit", "--name", "here", site.write("h.yaml", "command: [hostname]\n"))
    for _ in range(60):
        out = site("tick")
        assert "big: alice@127.0.0.1" in out.stderr
        if site.json("runs", "experiment = here")[0]["state"] == "completed":
            return
        time.sleep(0.2)
    raise AssertionError("the run of this machine never ended")


def test_unknown_cluster_is_said(laptop: Laptop) -> None:
    spec = laptop.site.write("s.yaml", laptop.sweep())
    error = laptop.site("submit", "--cluster", "bgi", spec, code=4).stderr
    assert "there is no cluster 'bgi'" in error
    assert "big" in error


# --- cut anywhere: nothing is lost, nothing is doubled

# The requests of a submit, in order; the 12th is sbatch, and with the 13th a watch begins.
REQUESTS = 13
SHORT = (1, 7, 12, 13)  # the others take too long for every day
POINTS = [
    pytest.param(f"ssh.{name}:{count}", marks=() if count in SHORT else pytest.mark.long)
    for name in ("asking", "answered")
    for count in range(1, REQUESTS + 1)
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_request_all_is_done_once(laptop: Laptop, point: str) -> None:
    """The process that has the connection is killed at each of its requests in turn."""
    site = laptop.site
    site.env["PENSTOCK_FAILPOINT"] = point
    spec = site.write("s.yaml", laptop.sweep())
    site.start("submit", "--cluster", "big", spec).communicate(timeout=60)
    site.env.pop("PENSTOCK_FAILPOINT")
    if not site.json("runs"):  # killed before anything was stored, and that was said
        site("submit", "--cluster", "big", spec)
    laptop.finish()
    laptop.is_right()


@pytest.mark.parametrize("how", ["cut", "kill"])
def test_connection_lost_at_random_all_is_done_once(laptop: Laptop, how: str) -> None:
    site = laptop.site
    is_over = threading.Event()

    def break_it() -> None:
        while not is_over.wait(1.3):
            if how == "kill":
                laptop.server.cut()
            else:
                laptop.proxy.cut()

    spec = site.write("s.yaml", laptop.sweep())
    thread = threading.Thread(target=break_it)
    thread.start()
    try:
        for _ in range(20):  # a busy machine may take longer to log in than it is left in peace
            site.start("submit", "--cluster", "big", spec).communicate(timeout=90)
            if site.json("runs"):
                break
            laptop.forget()  # one that was cut in its login is waited for
        watch = site.start("watch", "far")
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for long, cut in a login
            watch.communicate(timeout=30)
        watch.kill()
        watch.communicate()
    finally:
        is_over.set()
        thread.join()
    laptop.forget()  # so many connections are waited for otherwise
    if not site.json("runs"):
        site("submit", "--cluster", "big", spec)
    laptop.finish()
    laptop.is_right()


# --- a backup that is put back, and arrays of which nobody knows


def stored_and_not_sent(laptop: Laptop) -> Path:
    """Submit, but let the command be killed before it plans; return a backup of then."""
    site = laptop.site
    site.env["PENSTOCK_FAILPOINT"] = "reconciler.collected"
    spec = site.write("s.yaml", laptop.sweep())
    site.start("submit", "--cluster", "big", spec).communicate(timeout=60)
    site.env.pop("PENSTOCK_FAILPOINT")
    backup = Path(site("store", "backup").stdout.strip())
    with Store(f"sqlite:///{backup}").read() as view:  # commands would go on with them
        assert list(view.execute("SELECT DISTINCT state FROM run")) == [("ready",)]
    return backup


def test_restored_store_finds_what_was_sent_to_a_cluster_since(laptop: Laptop) -> None:
    site = laptop.site
    backup = stored_and_not_sent(laptop)
    site("tick")
    assert len(list((laptop.home / "arrays").iterdir())) == 1
    said = site("store", "restore", backup, "--yes").stderr
    assert "before anything is sent" not in said
    laptop.finish()
    laptop.is_right()
    assert len(list((laptop.home / "arrays").iterdir())) == 1


def test_restored_store_sends_nothing_until_the_cluster_was_searched(laptop: Laptop) -> None:
    site = laptop.site
    with (site.root / "penstock.toml").open("a") as settings:
        settings.write("connect_s = 2\n")
    backup = stored_and_not_sent(laptop)
    site("tick")
    laptop.leave()
    laptop.proxy.is_silent = True
    said = site("store", "restore", backup, "--yes").stderr
    assert "it is searched for what was sent since, before anything is sent" in said
    site("tick")
    assert {run["state"] for run in site.json("runs", "experiment = far")} == {"ready"}
    laptop.proxy.is_silent = False
    laptop.forget()
    laptop.finish()
    laptop.is_right()
    assert len(list((laptop.home / "arrays").iterdir())) == 1


def test_resolve_asks_the_cluster_on_which_the_array_is(laptop: Laptop) -> None:
    site = laptop.site
    site.env["PENSTOCK_FAILPOINT"] = f"ssh.answered:{REQUESTS - 1}"  # sbatch's answer is lost
    spec = site.write("s.yaml", laptop.sweep())
    site.start("submit", "--cluster", "big", spec).communicate(timeout=60)
    site.env.pop("PENSTOCK_FAILPOINT")
    (token,) = (line.split()[0] for line in site("resolve").stdout.splitlines()[1:])
    error = site("resolve", token, "--resend", code=2).stderr
    assert f"the scheduler has {token} as job" in error
    assert "`penstock tick` adopts it" in error
    laptop.finish()
    laptop.is_right()
