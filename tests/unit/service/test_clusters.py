"""How it is with clusters: what is waited for, and what is forgotten by who mended it."""

from dataclasses import replace
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.errors import Denied, Unreachable
from penstock.service import clusters, init
from penstock.service.project import Project
from penstock.settings import Cluster
from penstock.transport.cooldown import Cooldown, record_path
from penstock.transport.peer import state_folder
from tests.sshd import free_port


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a jump host that nobody can reach, and make this a user without a connection."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return f"me@127.0.0.1:{free_port()}"


@pytest.fixture
def project(tmp_path: Path, door: str) -> Project:
    """A project with two clusters behind the same jump host."""
    names = ("one", "two")
    known = {name: Cluster(host=name, user="me", port=22, proxy_jump=door) for name in names}
    settings = replace(init.init(tmp_path / "project").settings, clusters=known)
    return Project(settings, SystemClock())


def test_wait_for_a_jump_host_is_one_for_all_behind_it_until_it_was_mended(
    project: Project, door: str
) -> None:
    waiting = Cooldown(record_path(state_folder(), door))
    with pytest.raises(Denied), waiting.trying(door):
        raise Denied("the key is wrong")
    for one in clusters.standings(project):
        assert 110 < one.wait_s <= 120
        assert one.why == "the key is wrong"
    with pytest.raises(Unreachable, match="cannot be reached") as caught:
        clusters.connect(project, "one")  # it is tried, and not waited for
    assert door in caught.value.what
    assert not isinstance(caught.value, Denied)
    assert all(0 < one.wait_s <= 5 for one in clusters.standings(project))
