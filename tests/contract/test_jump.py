"""Hosts behind a jump host, by real servers: it is logged in to once, and each goes its own way."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import Denied, TransportError, Unattended, Unreachable
from penstock.transport.peer import Shared
from penstock.transport.ssh import SshTransport
from tests import network, sshd
from tests.session import forget
from tests.sshd import Sshd
from tests.terminal import typed

USERS = ("alice", "penstock-csh")
CONFIG = """\
Host one two gone second
  HostName 127.0.0.1
  ProxyJump door
Host one two
  Port {server}
Host gone
  Port 1
Host two
  User penstock-csh
Host second
  Port {door}
Host far
  HostName 127.0.0.1
  Port {server}
  ProxyJump second
Host door
  HostName 127.0.0.1
  Port {door}
Host *
  User alice
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  IdentityFile {folder}/id
"""
CODED = """\
Host behind beside
  HostName 127.0.0.1
  Port {server}
  ProxyJump coded
Host beside
  User penstock-csh
Host coded
  HostName 127.0.0.1
  Port {coded}
  User penstock-loud
"""
# What a command does on a terminal.
WHO = """\
import json, sys
from pathlib import Path
from penstock.settings import Cluster
from penstock.transport.peer import Shared
from penstock.transport.ssh import SshTransport
cluster = Cluster.of(json.loads(sys.argv[1]))
found = SshTransport(Shared("behind", cluster, Path(sys.argv[2])), "behind").run(["id", "-un"])
print("it is", found.out)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    if sshd.is_here():
        sshd.make_user("penstock-csh", "/bin/bash")
    with sshd.running(users=USERS) as found:
        yield found


@pytest.fixture(scope="module")
def door() -> Iterator[Sshd]:
    with sshd.running(users=USERS) as found:
        yield found


@pytest.fixture
def to(
    server: Sshd, door: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Shared]]:
    """Reach hosts of a ~/.ssh/config, each in the way that commands do."""
    for name in USERS:  # one key for both servers
        (door.folder / f"authorized.{name}").write_text((server.folder / "id.pub").read_text())
    home = tmp_path / ".ssh"
    home.mkdir()
    (home / "id").write_bytes((server.folder / "id").read_bytes())
    (home / "id").chmod(0o600)
    (home / "known").write_text(server.known_hosts() + door.known_hosts())
    text = CONFIG.format(server=server.port, door=door.port, folder=home)
    (home / "config").write_text(text)
    runtime = server.folder / tmp_path.name[-40:]
    runtime.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made: list[Shared] = []

    def make(host: str, **more: Any) -> Shared:
        made.append(Shared(host, server.cluster(**behind(host, **more)), tmp_path / "state"))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.end()
    for path in sockets(runtime):
        path.unlink(missing_ok=True)  # it ends when that is away


def sockets(runtime: Path) -> list[Path]:
    """Return the sockets of processes; names that point to none are left."""
    every = (runtime / "penstock").glob("*.socket")
    return [path for path in every if path.exists() and not path.is_symlink()]


def until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)


def behind(host: str, **more: Any) -> dict[str, Any]:
    """Return settings that leave all to the configuration."""
    said = {"host": host, "port": 0, "user": "", "key": "", "known_hosts": (), "connect_s": 10}
    return {**said, **more}


def who(shared: Shared) -> str:
    return SshTransport(shared, "big").run(["id", "-un"]).out.strip()


def test_hosts_behind_a_jump_host_log_in_to_it_once(
    server: Sshd, door: Sshd, to: Callable[..., Shared]
) -> None:
    before = door.connections, server.connections
    one, two = to("one"), to("two")
    assert (who(one), who(two)) == ("alice", "penstock-csh")
    assert (door.connections, server.connections) == (before[0] + 1, before[1] + 2)
    assert one.end()  # what one leaves is the other's still
    assert who(two) == "penstock-csh"
    assert who(one) == "alice"
    assert (door.connections, server.connections) == (before[0] + 1, before[1] + 3)


def test_jump_host_that_is_a_cluster_too_has_one_connection(
    door: Sshd, to: Callable[..., Shared]
) -> None:
    before = door.connections
    assert who(to("one")) == "alice"
    itself = to("door")
    assert who(itself) == "alice"
    assert who(to("two")) == "penstock-csh"
    assert door.connections == before + 1
    assert itself.end()  # it ends for those behind it, too, and comes back for them
    assert who(to("two")) == "penstock-csh"
    assert door.connections == before + 2


def test_jump_host_behind_another_is_shared_as_well(
    server: Sshd, door: Sshd, to: Callable[..., Shared]
) -> None:
    before = door.connections, server.connections
    assert who(to("far")) == "alice"
    assert who(to("one")) == "alice"
    assert (door.connections, server.connections) == (before[0] + 2, before[1] + 2)


def test_large_files_pass(to: Callable[..., Shared], tmp_path: Path) -> None:
    transport = SshTransport(to("one"), "big")
    data = os.urandom(5_000_000)
    path = f"/tmp/penstock-jump-{os.getpid()}"
    transport.put(path, data)
    assert transport.get(path) == data
    assert transport.run(["rm", path]).code == 0


def test_host_that_fails_leaves_the_others_theirs(door: Sshd, to: Callable[..., Shared]) -> None:
    before = door.connections
    two = to("two")
    assert who(two) == "penstock-csh"
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        who(to("gone"))
    assert who(two) == "penstock-csh"
    assert door.connections == before + 1


def test_jump_host_that_was_cut_comes_back_for_all(
    server: Sshd, door: Sshd, to: Callable[..., Shared]
) -> None:
    every = [to("one"), to("two")]
    assert [who(each) for each in every] == ["alice", "penstock-csh"]
    before = door.connections
    door.cut()
    found = [SshTransport(each, "big").digest("/etc/hostname") for each in every]
    assert None not in found
    assert [who(each) for each in every] == ["alice", "penstock-csh"]
    assert door.connections == before + 1


def test_process_of_a_jump_host_that_is_killed_comes_back(
    door: Sshd, to: Callable[..., Shared]
) -> None:
    one = to("one")
    assert who(one) == "alice"
    before = door.connections
    os.kill(holder(door), signal.SIGKILL)
    assert SshTransport(one, "big").digest("/etc/hostname")
    assert door.connections == before + 1


def holder(server: Sshd) -> int:
    """Return the process that has the connection to a server."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            runtime = f"XDG_RUNTIME_DIR={os.environ['XDG_RUNTIME_DIR']}".encode()
            is_mine = runtime in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        pid = int(folder.name)
        is_link = b"penstock.transport.link" in words and is_mine
        if is_link and network.is_connected(pid, server.port):
            return pid
    raise AssertionError("nobody has one")


def test_login_that_is_refused_there_is_that_hosts_and_waited_for_by_all(
    door: Sshd, to: Callable[..., Shared]
) -> None:
    for name in USERS:
        (door.folder / f"authorized.{name}").write_text("")
    with pytest.raises(Denied, match=f"127.0.0.1:{door.port} refused the login"):
        who(to("one"))
    with pytest.raises(Denied, match=f":{door.port} is not tried again for"):
        who(to("two"))


def test_process_of_a_jump_host_ends_when_nobody_goes_through_it(to: Callable[..., Shared]) -> None:
    one = to("one")
    assert who(one) == "alice"
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    assert len(sockets(runtime)) == 2
    one.end()
    until(lambda: not sockets(runtime), "their end")


def test_error_of_a_jump_host_is_one_of_ours(to: Callable[..., Shared], tmp_path: Path) -> None:
    (tmp_path / ".ssh" / "known").write_text("")
    with pytest.raises(TransportError, match="is not known"):
        who(to("one"))


@pytest.fixture
def coded(server: Sshd, to: Callable[..., Shared], tmp_path: Path) -> Iterator[Sshd]:
    """Start a jump host that asks for a code, too."""
    with sshd.coded() as found:
        key = (server.folder / "id.pub").read_text()
        (found.folder / "authorized.penstock-loud").write_text(key)
        mine = tmp_path / ".ssh"
        with (mine / "known").open("a") as file:
            file.write(found.known_hosts())
        config = (mine / "config").read_text()
        (mine / "config").write_text(CODED.format(server=server.port, coded=found.port) + config)
        yield found


def test_code_of_a_jump_host_is_typed_once_for_all_behind_it(
    server: Sshd, coded: Sshd, to: Callable[..., Shared], tmp_path: Path
) -> None:
    """On a terminal, by who began the connection; all others go through what that left."""
    with pytest.raises(Unattended, match="asks for something"):
        who(to("behind"))
    assert "keyboard-interactive for" not in coded.log.read_text()  # no telephone rang
    forget(tmp_path / "state")
    cluster = json.dumps(asdict(server.cluster(**behind("behind"))))
    said = typed(sshd.CODE, [sys.executable, "-c", WHO, cluster, str(tmp_path / "state")])
    assert f"penstock-loud@127.0.0.1:{coded.port} asks:" in said
    assert "it is alice" in said
    assert (who(to("behind")), who(to("beside"))) == ("alice", "penstock-csh")
    assert coded.log.read_text().count("Accepted keyboard-interactive") == 1
