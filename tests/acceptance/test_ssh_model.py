"""Clusters by SSH on the model of Slurm: settings of their own, and a home folder with no room."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.settings import Cluster
from penstock.testing.places import as_user
from penstock.transport.peer import Shared
from tests import sshd
from tests.acceptance.conftest import Site, local_site
from tests.sshd import Sshd

INSTALL = """
import sys
from pathlib import Path
from penstock.testing import programs
programs.install(Path(sys.argv[1]) / "bin", Path(sys.argv[1]) / "state", execute=True)
"""
SWEEP = """
experiment: far
command: [sh, work.sh, "{x}", "WITNESS"]
params: {x: [1, 2, 3]}
outputs: [out.txt]
"""
WORK = 'echo once >> "$2/ran.$1"; echo "$1" > out.txt\n'


@dataclass
class Far:
    """A project here, and a small file system there, which is the home."""

    site: Site
    home: Path
    witness: Path

    def fill(self, left_bytes: int = 0) -> None:
        """Leave so much room, about."""
        size = os.statvfs(self.home)
        (self.home / "filler").write_bytes(bytes(size.f_bavail * size.f_frsize - left_bytes))

    def make_room(self) -> None:
        (self.home / "filler").unlink()

    def is_done_once(self) -> None:
        """Look whether all runs completed, and each ran once."""
        assert [run["state"] for run in self.site.ended("far")] == ["completed"] * 3
        found = {one.name: one.read_text() for one in self.witness.glob("ran.*")}
        assert found == {f"ran.{x}": "once\n" for x in (1, 2, 3)}
        assert len(list(self.home.glob("arrays/*"))) == 1
        assert "is whole" in self.site("store", "check").stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd.running(users=("alice",)) as found:
        yield found


@pytest.fixture
def far(server: Sshd, installed: Path, tmp_path: Path) -> Iterator[Far]:
    there = Path(tempfile.mkdtemp(prefix="penstock-there-"))
    for one in (there, there / "home", there / "witness"):
        one.mkdir(exist_ok=True)
        shutil.chown(one, "alice")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "none", str(there / "home")]
    if subprocess.run(mount, check=False).returncode:
        shutil.rmtree(there)
        pytest.skip("may not mount here")
    argv = [str(installed / "python"), "-c", INSTALL, str(there)]
    subprocess.run(argv, check=True, cwd="/", **as_user("alice"))
    site = local_site(tmp_path)
    (tmp_path / "known").write_text(server.known_hosts())
    with (site.root / "penstock.toml").open("a") as settings:
        settings.write(
            f'[clusters.big]\nhost = "127.0.0.1"\nport = {server.port}\nuser = "alice"\n'
            f'key = "{server.folder}/id"\nknown_hosts = ["{tmp_path}/known"]\n'
            f'home = "{there}/home"\npath = ["{there}/bin"]\n'
        )
    runtime = Path(tempfile.mkdtemp(prefix="penstock-run-"))
    site.env = {"XDG_RUNTIME_DIR": str(runtime), "PENSTOCK_ACCOUNTING_LAG_S": "2"}
    site.write("work.sh", WORK)
    site.write("s.yaml", SWEEP.replace("WITNESS", str(there / "witness")))
    yield Far(site, there / "home", there / "witness")
    for path in runtime.glob("penstock/*.socket"):
        link = Shared("big", Cluster(host="127.0.0.1"), tmp_path)
        link.path = path
        link.end()
    subprocess.run(["umount", "-l", there / "home"], check=True)
    shutil.rmtree(there)
    shutil.rmtree(runtime)


TEMPLATE = """{% extends "penstock/array.sh.j2" %}
{% block before %}
# of the other cluster
{% endblock %}
"""


def test_two_clusters_are_sent_to_each_by_its_settings(far: Far) -> None:
    site, other = far.site, far.home.with_name("other")
    settings = site.root / "penstock.toml"
    big = settings.read_text()[settings.read_text().index("[clusters.big]") :]
    own = big.replace("clusters.big", "clusters.other").replace(str(far.home), str(other))
    templates = site.write("templates/array.sh.j2", TEMPLATE).parent
    with settings.open("a") as file:
        file.write(f'{own}beat_s = 7\ntemplates = ["{templates}"]\n')
    other.mkdir()
    shutil.chown(other, "alice")
    for name in ("big", "other"):
        site("submit", "--cluster", name, "--name", name, "s.yaml")
    for home, beat_s, is_own in ((far.home, 30, False), (other, 7, True)):
        (folder,) = home.glob("arrays/*")
        (manifest,) = folder.glob("manifest*")
        assert json.loads(manifest.read_bytes().splitlines()[0])["beat_s"] == beat_s
        assert ("# of the other cluster" in (folder / "script.sh").read_text()) is is_own
    for name in ("big", "other"):
        assert [run["state"] for run in site.ended(name)] == ["completed"] * 3


def is_said_once(said: str, path: str) -> None:
    assert said.count("penstock: ") + said.count("warning: ") == 1
    assert said.count(path) == 1
    assert "cannot be written: No space left on device" in said
    assert "big: big:" not in said
    assert "the disk is full: free some space" in said


def test_no_room_for_the_code_stores_nothing(far: Far) -> None:
    far.fill()
    said = far.site("submit", "--cluster", "big", "s.yaml", code=8)
    assert said.stdout == ""
    is_said_once(said.stderr, f"big:{far.home}/code")
    assert far.site.json("status") == {"experiments": []}
    far.make_room()
    far.site("submit", "--cluster", "big", "s.yaml")
    far.is_done_once()


def test_no_room_for_what_is_sent_stores_the_runs_and_sends_them_later(far: Far) -> None:
    far.fill(left_bytes=16_384)  # for the code, and not for the runner
    said = far.site("submit", "--cluster", "big", "s.yaml")
    assert "submitted 3 runs" in said.stdout
    is_said_once(said.stderr, f"big:{far.home}")
    assert "stored, and not lost" in said.stderr
    assert "`penstock tick` or the daemon sends the rest" in said.stderr
    is_said_once(far.site("tick").stderr, f"big:{far.home}")
    assert "3 runs queued: not sent yet" in far.site("status").stdout
    assert not list(far.home.glob("arrays/*"))
    far.make_room()
    far.site("tick")
    far.is_done_once()
