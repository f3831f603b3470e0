"""A real sshd, and all that may be wrong with it: clear errors, and nothing is done twice."""

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import (
    Denied,
    Dropped,
    Lost,
    TransportError,
    Unattended,
    Unreachable,
    Untrusted,
)
from penstock.transport import certificate, login, ssh
from penstock.transport import host as hosts
from penstock.transport import session as sessions
from penstock.transport.host import Known
from penstock.transport.login import Asker
from penstock.transport.peer import Shared
from penstock.transport.session import Session
from penstock.transport.ssh import SshTransport
from penstock.transport.trunk import Trunk
from tests import sshd
from tests.session import forget, make_session
from tests.sshd import Proxy, Sshd

USERS = {
    "penstock-csh": "/usr/bin/tcsh",
    "penstock-fish": "/usr/bin/fish",
    "penstock-loud": "/bin/bash",
    "penstock-none": "/usr/sbin/nologin",
}
LOUD = """
echo Welcome to the cluster
printf 'no newline, {"mark"'
echo beware >&2
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    if sshd.is_here():
        for name, shell in USERS.items():
            sshd.make_user(name, shell)
    with sshd.running(users=("alice", *USERS)) as found:
        yield found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def opened(server: Sshd, state: Path) -> Iterator[Callable[..., SshTransport]]:
    """Open transports of the given settings."""
    made: list[Session] = []

    def make(ask: Asker | None = None, config: Path = Path("/none"), **more: Any) -> SshTransport:
        session = make_session(server.cluster(**more), state, ask=ask, config=config)
        made.append(session)
        return SshTransport(session, "big")

    yield make
    for one in made:
        one.close()


# --- one connection


def test_all_goes_over_one_connection(
    server: Sshd, opened: Callable[..., SshTransport], tmp_path: Path
) -> None:
    before = server.connections
    transport = opened()
    threads = [threading.Thread(target=transport.run, args=(["true"],)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert transport.digest("/etc/hostname")
    assert transport.hello["home"] == "/home/alice"
    assert server.connections == before + 1


def test_connection_that_was_cut_comes_back(
    server: Sshd, opened: Callable[..., SshTransport]
) -> None:
    transport = opened()
    assert transport.run(["id", "-un"]).out == "alice\n"
    before = server.connections
    server.cut()
    assert transport.get("/etc/hostname")
    assert transport.run(["id", "-un"]).out == "alice\n"
    assert server.connections == before + 1


def test_command_whose_connection_is_cut_is_not_run_again(
    server: Sshd, opened: Callable[..., SshTransport], tmp_path: Path
) -> None:
    marks = Path("/tmp") / f"penstock-marks-{os.getpid()}"
    marks.unlink(missing_ok=True)
    transport = opened()
    assert transport.hello

    def cut() -> None:
        while not marks.exists():
            time.sleep(0.02)  # the command has not begun
        server.cut()

    threading.Thread(target=cut, daemon=True).start()
    with pytest.raises(Lost, match="lost before sh was answered"):
        transport.run(["sh", "-c", f"echo once >> {marks}; sleep 10"])
    assert transport.run(["cat", str(marks)]).out == "once\n"
    marks.unlink()


def test_program_there_that_was_killed_needs_no_new_connection(
    server: Sshd, opened: Callable[..., SshTransport]
) -> None:
    transport = opened()
    assert transport.hello
    before = server.connections
    with pytest.raises(Lost):
        transport.run(["sh", "-c", "kill -9 $PPID"])
    assert transport.run(["true"]).code == 0
    assert server.connections == before


def test_connection_that_is_cut_as_a_program_begins_comes_back(
    server: Sshd, opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was asked yet: whoever asks hears nothing of it, whatever it was."""
    transport = opened()
    with pytest.raises(Lost):
        transport.run(["sh", "-c", "kill -9 $PPID"])
    before, begin, cut = server.connections, login.Connection.command, [server.cut]

    def command(*asked: Any) -> Any:
        if cut:
            cut.pop()()
        return begin(*asked)

    monkeypatch.setattr(login.Connection, "command", command)
    assert transport.run(["id", "-un"]).out == "alice\n"
    assert server.connections == before + 1


@pytest.mark.parametrize("silent_from", ["the beginning", "a command"])
def test_silent_firewall_ends_in_time(
    server: Sshd,
    opened: Callable[..., SshTransport],
    monkeypatch: pytest.MonkeyPatch,
    silent_from: str,
) -> None:
    monkeypatch.setattr(ssh, "MARGIN_S", 0.5)
    proxy = Proxy(server.port)
    (server.folder / "known").write_text(server.known_hosts(proxy.port))
    transport = opened(port=proxy.port, connect_s=3)
    if silent_from == "a command":
        assert transport.hello
        proxy.is_silent = True
        with pytest.raises(Lost, match="does not answer any more"):
            transport.run(["true"], timeout_s=0.5)
    else:
        proxy.is_silent = True
        with pytest.raises(Unreachable, match="does not answer"):
            transport.run(["true"])
    proxy.close()


def test_dead_connection_is_found_before_a_command_is_trusted_to_it(
    server: Sshd, opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "IDLE_S", 0)
    monkeypatch.setattr(sessions, "PING_S", 0.5)
    proxy = Proxy(server.port)
    transport = opened(port=proxy.port)
    assert transport.hello
    proxy.forget()
    assert transport.run(["id", "-un"]).out == "alice\n"  # and not Lost
    proxy.close()


def test_look_after_any_quiet_time_costs_no_ping_and_each_ping_is_counted(
    opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    now_s = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now_s[0], time=time.time)
    monkeypatch.setattr(sessions, "time", clock)
    transport = opened()
    for wait_s in (0, 299, 300, 3000):
        now_s[0] += wait_s
        assert transport.hello
        assert list(transport.gather([("/none", {})]))
        transport.run(["true"])  # as squeue is: close behind what may be done twice
    now_s[0] += 300
    transport.run(["true"])  # may not be done twice
    (asked,) = state.glob("*.asked")
    verbs = [line.split(" ", 1)[1] for line in asked.read_text().splitlines()]
    assert verbs == ["connect", *["gather", "run true"] * 4, "ping", "run true"]


def test_look_over_a_connection_that_is_gone_comes_back(
    server: Sshd, opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "FILES_S", 1)  # the kernel would tell within a minute
    proxy = Proxy(server.port)
    transport = opened(port=proxy.port)
    assert transport.hello
    proxy.forget()
    assert transport.digest("/etc/hostname")
    proxy.close()


def test_laptop_may_be_no_linux(
    opened: Callable[..., SshTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    assert opened().run(["id", "-un"]).out == "alice\n"


def test_unused_connection_is_kept_alive_by_both_layers(server: Sshd) -> None:
    host = hosts.resolve(server.cluster(), config=Path("/none"))
    connection = login.connect(
        host, ask=None, timeout_s=20, trying=lambda _: contextlib.nullcontext()
    )
    (transport,) = connection._chain
    assert transport.packetizer._Packetizer__keepalive_interval == login.KEEPALIVE_S
    assert transport.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    connection.close()


# --- login shells


@pytest.mark.parametrize("user", ["penstock-csh", "penstock-fish", "penstock-loud"])
def test_login_shell_may_be_any_and_may_print(
    server: Sshd, opened: Callable[..., SshTransport], user: str
) -> None:
    if not Path(USERS[user]).exists():
        pytest.skip(f"needs {USERS[user]} (tests/run installs it)")
    home = Path(f"~{user}").expanduser()
    (home / ".bashrc").write_text(LOUD)
    (home / ".cshrc").write_text("echo Welcome to csh\n")
    (home / ".config" / "fish").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "fish" / "config.fish").write_text("echo Welcome to fish\n")
    transport = opened(user=user)
    word = 'it\'s $HOME !! `id` \\ "x"\n'
    assert transport.run(["printf", "%s", word]).out == word
    assert transport.run(["id", "-un"]).out == f"{user}\n"
    path = str(home / "a b" / "x")
    transport.put(path, b"\x00data")
    assert transport.get(path) == b"\x00data"


def test_banner_of_a_site_hinders_nothing(state: Path, tmp_path: Path) -> None:
    text = "This computer is for work.\n" * 200
    (tmp_path / "banner").write_text(text)
    with sshd.running(more=f"Banner {tmp_path}/banner") as server:
        session = make_session(server.cluster(), state)
        assert SshTransport(session, "big").run(["id", "-un"]).out == "alice\n"
        session.close()
        wrong = str(sshd.keygen(server.folder / "wrong"))
        session = make_session(server.cluster(key=wrong), state)
        with pytest.raises(Denied, match=r"(?s)it says: .*for work"):
            session.hello()


def test_account_without_a_shell_is_said(opened: Callable[..., SshTransport]) -> None:
    with pytest.raises(Denied, match="not available") as caught:
        opened(user="penstock-none").run(["true"])
    assert "account may be locked" in caught.value.hint


def test_locked_account_is_said(state: Path) -> None:
    with sshd.running(more="") as server:
        text = (server.folder / "config").read_text().replace("UsePAM yes", "UsePAM no")
        server.stop()
        (server.folder / "config").write_text(text)
        server.restart()
        subprocess.run(["usermod", "--lock", "penstock-csh"], check=True)
        (server.folder / "authorized.penstock-csh").write_text(
            (server.folder / "id.pub").read_text()
        )
        session = make_session(server.cluster(user="penstock-csh"), state)
        with pytest.raises(Denied, match="refused the login") as caught:
            session.hello()
        assert "account is locked" in caught.value.hint
        assert "account is locked" in server.log.read_text()


# --- programs there


def test_python_that_is_missing_is_said(opened: Callable[..., SshTransport]) -> None:
    with pytest.raises(Unreachable, match="has no /opt/python9") as caught:
        opened(python="/opt/python9").run(["true"])
    assert "`python` in [clusters.big]" in caught.value.hint


def test_python_that_is_too_old_is_said(opened: Callable[..., SshTransport], server: Sshd) -> None:
    old = server.folder / "python3.5"
    head = "import sys; sys.version_info = (3, 5, 2); sys.version = '3.5.2 (old)'; "
    old.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -u -c "{head}$3"\n')
    old.chmod(0o755)
    with pytest.raises(Unreachable, match=r"Python is 3\.5\.2"):
        opened(python=str(old)).run(["true"])


def test_python_that_is_no_path_is_refused(opened: Callable[..., SshTransport]) -> None:
    with pytest.raises(TransportError, match="cannot be"):
        opened(python="python3'; touch /tmp/x; '").run(["true"])


def test_program_is_found_as_a_login_shell_does_and_that_is_remembered(
    opened: Callable[..., SshTransport],
) -> None:
    home = Path("~penstock-loud").expanduser()
    (home / "tools").mkdir(exist_ok=True)
    (home / "tools" / "my-sbatch").write_text("#!/bin/sh\necho mine\n")
    (home / "tools" / "my-sbatch").chmod(0o755)
    counted = home / "counted"
    counted.write_text("")
    counted.chmod(0o666)
    profile = "echo noise; echo x >> $HOME/counted; PATH=$HOME/tools:$PATH\n"
    (home / ".bash_profile").write_text(profile)
    for _ in range(2):
        transport = opened(user="penstock-loud")
        assert transport.run(["my-sbatch"]).out == "mine\n"
    assert counted.read_text() == "x\n"
    (home / "tools").rename(home / "tools2")  # what was remembered is wrong now
    (home / ".bash_profile").write_text("PATH=$HOME/tools2:$PATH\n")
    try:
        assert opened(user="penstock-loud").run(["my-sbatch"]).out == "mine\n"
    finally:
        shutil.rmtree(home / "tools2")
        (home / ".bash_profile").unlink()


def test_path_of_the_settings_goes_first(opened: Callable[..., SshTransport]) -> None:
    found = opened(path=["/opt/slurm/bin", "~/x"]).run(["printenv", "PATH"]).out
    assert found.startswith("/opt/slurm/bin:/home/alice/x:")


def test_full_disk_there_is_said(opened: Callable[..., SshTransport], tmp_path: Path) -> None:
    full = Path("/tmp/penstock-full")
    full.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(full)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs leave to mount a small file system")
    try:
        with pytest.raises(TransportError, match="big:/tmp/penstock-full/x cannot be") as caught:
            opened().put(str(full / "x"), os.urandom(1 << 20))
        assert "free some space" in caught.value.hint
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
        full.rmdir()


# --- host keys


def test_unknown_host_key_is_refused_and_never_added(
    server: Sshd, opened: Callable[..., SshTransport]
) -> None:
    asked: list[str] = []

    def ask(title: str, _questions: list[tuple[str, bool]]) -> list[str]:
        asked.append(title)
        return []

    transport = opened(ask=ask)  # at a terminal: no wait is needed
    (server.folder / "known").write_text("other.example ssh-ed25519 AAAA\n")
    before = server.connections
    for _ in range(2):
        with pytest.raises(Untrusted, match="is not known: ssh-ed25519 SHA256:"):
            transport.run(["true"])
    with pytest.raises(Untrusted) as caught:
        transport.run(["true"])
    assert f"ssh-keyscan -t ed25519 -p {server.port} 127.0.0.1" in caught.value.hint
    assert (server.folder / "known").read_text() == "other.example ssh-ed25519 AAAA\n"
    assert server.connections == before
    server.cluster()  # writes the right key
    assert transport.run(["true"]).code == 0
    assert asked == []


def test_daemon_waits_where_the_host_key_is_not_known(
    server: Sshd, opened: Callable[..., SshTransport], state: Path
) -> None:
    transport = opened()
    (server.folder / "known").write_text("")
    with pytest.raises(Untrusted, match="is not known"):
        transport.run(["true"])
    server.cluster()
    with pytest.raises(Untrusted, match=r"not tried again for [56][0-9] s.* is not known"):
        transport.run(["true"])
    forget(state)
    assert transport.run(["true"]).code == 0


def test_changed_host_key_is_refused(
    server: Sshd, opened: Callable[..., SshTransport], state: Path
) -> None:
    transport = opened()
    before = server.connections
    (server.folder / "known").write_text(server.known_hosts(key="id"))
    with pytest.raises(Untrusted, match="has CHANGED") as caught:
        transport.run(["true"])
    assert f"-R '[127.0.0.1]:{server.port}'" in caught.value.hint
    assert f"{server.folder}/known:1" in caught.value.what
    assert server.connections == before
    (server.folder / "known").write_text("@revoked " + server.known_hosts() + server.known_hosts())
    forget(state)
    with pytest.raises(Untrusted, match="revoked"):
        transport.run(["true"])


def test_hashed_host_key_is_known(server: Sshd, opened: Callable[..., SshTransport]) -> None:
    transport = opened()
    argv = ["ssh-keygen", "-q", "-H", "-f", str(server.folder / "known")]
    subprocess.run(argv, check=True, capture_output=True)
    assert (server.folder / "known").read_text().startswith("|1|")
    assert transport.run(["true"]).code == 0


# --- certificates of hosts


@pytest.fixture
def signed(state: Path) -> Iterator[Callable[..., tuple[Sshd, SshTransport]]]:
    """Start servers whose host key an authority has signed, with words for ssh-keygen."""
    with contextlib.ExitStack() as stack:

        def make(
            *words: str, known: str = "@cert-authority * {ca}\n", kind: str = "ed25519"
        ) -> tuple[Sshd, SshTransport]:
            server = stack.enter_context(sshd.running())
            server.stop()
            sshd.keygen(server.folder / "host_key", kind)
            sshd.keygen(server.folder / "ca")
            argv = ["ssh-keygen", "-q", "-s", str(server.folder / "ca"), "-I", "it", *words]
            argv.append(str(server.folder / "host_key.pub"))
            subprocess.run(argv, check=True, capture_output=True)
            with (server.folder / "config").open("a") as config:
                config.write(f"HostCertificate {server.folder}/host_key-cert.pub\n")
            server.restart()
            cluster = server.cluster()
            keys = {
                name: " ".join((server.folder / f"{name}.pub").read_text().split()[:2])
                for name in ("ca", "host_key", "id")
            }
            (server.folder / "known").write_text(known.format(**keys))
            session = make_session(cluster, state)
            stack.callback(session.close)
            return server, SshTransport(session, "big")

        yield make


HOST = ("-h", "-n", "127.0.0.1,login.example")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_host_key_that_an_authority_signed_is_known(
    signed: Callable[..., tuple[Sshd, SshTransport]], kind: str
) -> None:
    _, transport = signed(*HOST, kind=kind)
    assert transport.run(["id", "-un"]).out == "alice\n"


@pytest.mark.parametrize(
    "words, known, why",
    [
        (HOST, "@cert-authority * {id}\n", "an authority signed it that known_hosts has not"),
        (HOST, "@cert-authority other.example {ca}\n", "the host key of .* is not known"),
        (HOST, "@cert-authority * {ca}\n@revoked * {ca}\n", "revoked .*known:2"),
        (HOST, "@cert-authority * {ca}\n@revoked * {host_key}\n", "revoked .*known:2"),
        ((*HOST, "-V", "20200101:20200102"), "@cert-authority * {ca}\n", "it has expired"),
        (("-h", "-n", "other"), "@cert-authority * {ca}\n", "for other, and not for 127.0.0.1"),
    ],
)
def test_host_certificate_that_is_not_right_is_refused(
    signed: Callable[..., tuple[Sshd, SshTransport]],
    words: tuple[str, ...],
    known: str,
    why: str,
) -> None:
    server, transport = signed(*words, known=known)
    with pytest.raises(Untrusted, match=why):
        transport.run(["true"])
    assert server.connections == 0


def test_certificate_of_a_user_is_none_of_a_host(
    signed: Callable[..., tuple[Sshd, SshTransport]],
) -> None:
    server, _ = signed(*HOST)
    argv = ["ssh-keygen", "-q", "-s", str(server.folder / "ca"), "-I", "it", "-n", "127.0.0.1"]
    subprocess.run([*argv, str(server.folder / "id.pub")], check=True, capture_output=True)
    kind, text = (server.folder / "id-cert.pub").read_text().split()[:2]
    key = (server.folder / "ca.pub").read_text().split()[1]
    known = Known(Path("known"), 1, "ssh-ed25519", base64.b64decode(key), is_authority=True)
    host = hosts.resolve(server.cluster(), config=Path("/none"))
    with pytest.raises(Untrusted, match="it is one of a user"):
        certificate.check(host, kind, base64.b64decode(text), [known], time.time())
    with pytest.raises(Untrusted, match="it is none"):
        certificate.check(host, kind, base64.b64decode(text)[:-1] + b"x", [known], time.time())


def test_authority_whose_host_shows_no_certificate_is_named(
    server: Sshd, opened: Callable[..., SshTransport], state: Path
) -> None:
    transport = opened()
    authority = "@cert-authority * " + server.known_hosts(key="id").partition(" ")[2]
    (server.folder / "known").write_text(authority)
    with pytest.raises(Untrusted, match=r"is not known: .* and it shows no certificate"):
        transport.run(["true"])
    (server.folder / "known").write_text(authority + server.known_hosts())
    forget(state)
    assert transport.run(["true"]).code == 0  # a key of its own will do


# --- who we are


def test_wrong_key_is_tried_once_by_all_processes(
    server: Sshd, opened: Callable[..., SshTransport]
) -> None:
    wrong = str(sshd.keygen(server.folder / "wrong"))
    with pytest.raises(Denied, match="refused the login with"):
        opened(key=wrong).run(["true"])
    before = server.log.read_text().count("Connection from")
    for _ in range(5):
        with pytest.raises(Denied, match=r"not tried again for 1[12][0-9] s"):
            opened(key=wrong).run(["true"])
    assert server.log.read_text().count("Connection from") == before


def test_login_that_is_cut_is_not_called_refused(state: Path) -> None:
    with sshd.running(more="MaxAuthTries 1") as server:  # at the first wrong key it hangs up
        wrong = str(sshd.keygen(server.folder / "wrong"))
        session = make_session(server.cluster(key=wrong), state)
        with pytest.raises(Dropped, match="without a word"):
            session.hello()
        with pytest.raises(Denied, match=r"not tried again for [23][0-9] s"):
            session.hello()


@pytest.fixture
def add(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Start an agent, and give it keys."""
    place = server.folder / "agent"
    argv = ["ssh-agent", "-D", "-a", str(place)]
    agent = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    monkeypatch.setattr("penstock.transport.host.KEYS", ())

    def make(*words: object) -> None:
        subprocess.run(["ssh-add", "-q", *map(str, words)], check=True)

    while not place.exists():
        time.sleep(0.02)
    try:
        yield make
    finally:
        agent.terminate()
        agent.wait(10)
        place.unlink(missing_ok=True)


@pytest.fixture
def many(server: Sshd) -> list[Path]:
    """Make more keys than a server lets one try; it takes none of them."""
    return [sshd.keygen(server.folder / f"many{number}") for number in range(9)]


def test_many_keys_of_an_agent_are_not_all_offered(
    server: Sshd,
    opened: Callable[..., SshTransport],
    state: Path,
    add: Callable[..., None],
    many: list[Path],
) -> None:
    add(*many)
    at = len(server.log.read_text())
    with pytest.raises(Denied, match="of the agent"):
        opened(key="").run(["true"])
    assert server.log.read_text()[at:].count("Failed publickey") <= 5
    add("-D")
    add(server.folder / "id")
    forget(state)
    assert opened(key="").run(["id", "-un"]).out == "alice\n"  # by the agent's key


@pytest.fixture(params=["with its public half", "by itself", "PEM", "public half alone"])
def locked(request: pytest.FixtureRequest, server: Sshd, tmp_path: Path) -> Path:
    """Return a file for the key that the server takes, which needs a passphrase or an agent."""
    path = tmp_path / "mine"
    shutil.copy(server.folder / "id", path)
    if request.param == "PEM":  # nothing of such a file can be read
        sshd.keygen(path, "rsa", "-m", "PEM")
        with (server.folder / "authorized.alice").open("a") as file:
            file.write(path.with_suffix(".pub").read_text())
    else:
        shutil.copy(server.folder / "id.pub", path.with_suffix(".pub"))
    shutil.copy(path, tmp_path / "open")
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    if request.param == "by itself":
        path.with_suffix(".pub").unlink()
    if request.param == "public half alone":
        path.unlink()
        return path.with_suffix(".pub")
    return path


@pytest.mark.parametrize("how", ["setting", "IdentityFile"])
def test_agent_signs_with_the_named_key_and_offers_no_other(
    server: Sshd,
    opened: Callable[..., SshTransport],
    add: Callable[..., None],
    many: list[Path],
    locked: Path,
    how: str,
) -> None:
    add(*many, locked.with_name("open"))
    config = locked.with_name("config")
    config.write_text(f"IdentitiesOnly yes\nIdentityFile {locked}\n")
    at = len(server.log.read_text())
    said = {"key": str(locked)} if how == "setting" else {"key": "", "config": config}
    assert opened(**said).run(["id", "-un"]).out == "alice\n"
    assert "Failed publickey" not in server.log.read_text()[at:]


def test_named_key_goes_before_others_of_the_agent(
    server: Sshd,
    opened: Callable[..., SshTransport],
    add: Callable[..., None],
    many: list[Path],
    tmp_path: Path,
) -> None:
    add(*many, server.folder / "id")
    config = tmp_path / "config"
    config.write_text(f"IdentityFile {server.folder}/id.pub\n")
    assert opened(key="", config=config).run(["id", "-un"]).out == "alice\n"


def test_named_key_that_its_agent_has_not_needs_a_passphrase(
    opened: Callable[..., SshTransport],
    state: Path,
    add: Callable[..., None],
    many: list[Path],
    locked: Path,
) -> None:
    add(*many)
    is_public = locked.suffix == ".pub"
    kind, words = (Denied, "with no key") if is_public else (Unattended, "asks for something")
    with pytest.raises(kind, match=words):
        opened(key=str(locked)).run(["true"])
    forget(state)
    add(locked.with_name("open"))
    with pytest.raises(kind, match=words):
        opened(key=str(locked), agent=False).run(["true"])


@pytest.fixture
def coded() -> Iterator[Sshd]:
    with sshd.coded() as server:
        yield server


def test_code_is_asked_for_once_and_never_without_a_terminal(coded: Sshd, state: Path) -> None:
    asked: list[str] = []

    def ask(title: str, questions: list[tuple[str, bool]]) -> list[str]:
        asked.append(title)
        return [sshd.CODE for _ in questions]

    daemon = make_session(coded.cluster(), state)
    with pytest.raises(Unattended, match="asks for something") as caught:
        daemon.hello()
    assert "on one" in caught.value.hint
    assert "keyboard-interactive for" not in coded.log.read_text()  # no telephone rang
    with pytest.raises(Unattended, match=r"not tried again for [56][0-9] s"):
        daemon.hello()
    session = make_session(coded.cluster(), state, ask=ask)
    transport = SshTransport(session, "big")
    for _ in range(3):
        assert transport.run(["true"]).code == 0
    assert len(asked) == 1
    session.close()


def test_person_may_take_longer_than_a_machine(coded: Sshd, state: Path) -> None:
    def ask(_title: str, questions: list[tuple[str, bool]]) -> list[str]:
        time.sleep(6)  # more than connect_s
        return [sshd.CODE for _ in questions]

    cluster = coded.cluster(connect_s=5)
    session = make_session(cluster, state, ask=ask)
    assert SshTransport(session, "big").run(["id", "-un"]).out == "penstock-loud\n"
    session.close()


# --- the way there


def test_jump_host_of_the_configuration_is_gone_through(
    server: Sshd, opened: Callable[..., SshTransport], tmp_path: Path
) -> None:
    with sshd.running(users=("alice",)) as jump:
        known = server.folder / "both"
        known.write_text(server.known_hosts() + jump.known_hosts())
        config = tmp_path / "config"
        config.write_text(
            f"Host inner\n  HostName 127.0.0.1\n  Port {server.port}\n  User alice\n"
            f"  IdentityFile {server.folder}/id\n  ProxyJump door\n"
            f"Host door\n  HostName 127.0.0.1\n  Port {jump.port}\n  User alice\n"
            f"  IdentityFile {jump.folder}/id\n"
            f"Host *\n  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n"
        )
        named = {"host": "inner", "port": 0, "user": "", "key": "", "known_hosts": []}
        transport = opened(config=config, **named)
        assert transport.run(["id", "-un"]).out == "alice\n"
        assert jump.connections == 1
        known.write_text(server.known_hosts())  # the key of the jump host is looked at, too
        jump.cut()
        time.sleep(0.2)
        with pytest.raises(Untrusted, match=f":{jump.port} is not known"):
            transport.digest("/etc/hostname")


@pytest.fixture
def jump(server: Sshd, tmp_path: Path) -> Iterator[Sshd]:
    """Start another server, through which the hosts ``one`` and ``two`` of ``config`` are found."""
    with sshd.running(users=("alice", "penstock-csh")) as found:
        (tmp_path / "known").write_text(server.known_hosts() + found.known_hosts())
        (tmp_path / "config").write_text(
            f"Host one two\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump door\n"
            "Host one\n  User alice\nHost two\n  User penstock-csh\n"
            f"Host door\n  HostName 127.0.0.1\n  Port {found.port}\n  User alice\n"
            f"  IdentityFile {found.folder}/id\n"
            f"Host *\n  IdentitiesOnly yes\n  UserKnownHostsFile {tmp_path}/known\n"
            f"  IdentityFile {server.folder}/id\n"
        )
        yield found


THROUGH = {"port": 0, "user": "", "key": "", "known_hosts": []}


def tries(server: Sshd) -> int:
    return server.log.read_text().count("Connection from 127.0.0.1")


def test_failure_at_a_jump_host_is_waited_for_by_all_behind_it(
    server: Sshd,
    opened: Callable[..., SshTransport],
    state: Path,
    tmp_path: Path,
    jump: Sshd,
) -> None:
    right = (jump.folder / "id").read_bytes()
    sshd.keygen(jump.folder / "id")
    one, two = (opened(host=name, config=tmp_path / "config", **THROUGH) for name in ("one", "two"))
    with pytest.raises(Denied, match=f"127.0.0.1:{jump.port} refused the login"):
        one.run(["true"])
    before = tries(jump)
    for transport in (one, two):
        with pytest.raises(Denied, match=f":{jump.port} is not tried again for 1[12][0-9] s"):
            transport.run(["true"])
    assert tries(jump) == before
    assert opened().run(["true"]).code == 0  # what is behind it waits for nothing by itself
    (jump.folder / "id").write_bytes(right)
    forget(state)
    assert [one.run(["id", "-un"]).out for one in (one, two)] == ["alice\n", "penstock-csh\n"]


def test_failure_behind_a_jump_host_is_not_one_of_it(
    server: Sshd, opened: Callable[..., SshTransport], tmp_path: Path, jump: Sshd
) -> None:
    (tmp_path / "known").write_text(jump.known_hosts())
    one, two = (opened(host=name, config=tmp_path / "config", **THROUGH) for name in ("one", "two"))
    with pytest.raises(Untrusted, match=f":{server.port} is not known"):
        one.run(["true"])
    assert jump.connections == 1
    with pytest.raises(Untrusted, match=f"alice@127.0.0.1:{server.port} is not tried again"):
        one.run(["true"])
    assert jump.connections == 1  # nobody logs in there for nothing
    (tmp_path / "known").write_text(server.known_hosts() + jump.known_hosts())
    assert two.run(["id", "-un"]).out == "penstock-csh\n"
    assert jump.connections == 2


RELAY = """#!/usr/bin/python3
import os, select, socket, sys
sys.stderr.write("relay to %s as %s\\n" % (sys.argv[1], sys.argv[3]))
open(sys.argv[4], "a").write("%d\\n" % os.getpid())
to = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for one in select.select([0, to], [], [])[0]:
        data = os.read(0, 65536) if one == 0 else to.recv(65536)
        if not data:
            sys.exit(0)
        to.sendall(data) if one == 0 else os.write(1, data)
"""


def test_proxy_command_is_the_way_and_is_ended(server: Sshd, state: Path, tmp_path: Path) -> None:
    relay, seen = tmp_path / "a relay", tmp_path / "seen"
    relay.write_text(RELAY)
    relay.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(
        "Host inner\n  HostName 127.0.0.1\n  Port 1\n"
        f"  ProxyCommand exec '{relay}' %h %p %r {seen}\n"
    )
    cluster = server.cluster(host="inner")  # its port goes before that of the file, in %p too
    session = make_session(cluster, state, config=config)
    assert SshTransport(session, "big").run(["id", "-un"]).out == "alice\n"
    pid = int(seen.read_text())
    session.close()
    assert not Path(f"/proc/{pid}").exists()
    relay.write_text("#!/bin/sh\necho no way there >&2; exit 3\n")
    with pytest.raises(Unreachable, match=r"a relay says: no way there \(it ended with 3\)"):
        session.hello()
    forget(state)
    relay.unlink()
    with pytest.raises(Unreachable, match="No such file"):
        session.hello()


def test_proxy_command_that_says_nothing_ends_in_time(
    server: Sshd, state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("Host inner\n  HostName 127.0.0.1\n  ProxyCommand sleep 600\n")
    session = make_session(server.cluster(host="inner", connect_s=1), state, config=config)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="ProxyCommand sleep says"):
        session.hello()
    assert time.monotonic() - began < 20


# --- one connection for several processes


@pytest.fixture
def shared(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Shared]]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(server.folder))
    made: list[Shared] = []

    def make(name: str = "big", **more: Any) -> Shared:
        made.append(Shared(name, server.cluster(**more), tmp_path / "state"))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.end()


def test_commands_share_a_connection(server: Sshd, shared: Callable[[], Shared]) -> None:
    before = server.connections
    peers = [shared() for _ in range(3)]
    assert all(SshTransport(one, "big").run(["id", "-un"]).out == "alice\n" for one in peers)
    assert server.connections == before + 1
    assert peers[0].end()
    while peers[0].is_up():
        time.sleep(0.05)
    assert SshTransport(peers[1], "big").digest("/etc/hostname")  # safe: by a new connection
    assert server.connections == before + 2


def test_clusters_of_one_host_share_a_connection(
    server: Sshd, shared: Callable[..., Shared], tmp_path: Path
) -> None:
    before = server.connections
    others: list[dict[str, Any]] = [
        {"home": "~/other", "results": "~/r", "scratch": "/tmp", "poll_s": 9, "keep_s": 1},
        {"path": ("/opt/other/bin",)},
        {"python": "/usr/bin/python3"},
    ]
    peers = [shared(), *(shared(f"other{number}", **one) for number, one in enumerate(others))]
    found = [SshTransport(one, "x").run(["printenv", "PATH"]).out for one in peers]
    assert [one.startswith("/opt/other/bin:") for one in found] == [False, False, True, False]
    assert server.connections == before + 1
    with pytest.raises(Unreachable, match=r"`python` in \[clusters.third\]"):
        shared("third", python="/opt/python9").hello()
    assert server.connections == before + 1
    assert peers[0].end()
    assert not any(one.is_up() for one in peers)


def test_host_that_has_two_names_has_one_connection(
    server: Sshd, shared: Callable[..., Shared], tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host login door\n  HostName 127.0.0.1\n")
    before = server.connections
    threads = [
        threading.Thread(target=shared(name, host=name).hello)
        for name in ("127.0.0.1", "login", "door")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.connections == before + 1
    last = shared("last", host="door", keep_s=0)
    assert last.is_up()
    assert last.end()
    assert not shared(host="login").is_up()


@pytest.mark.parametrize("what", ["user", "key", "jump"])
def test_host_that_is_reached_in_another_way_has_another_connection(
    server: Sshd, shared: Callable[..., Shared], tmp_path: Path, what: str
) -> None:
    other = {"user": "penstock-csh"}
    if what == "key":
        shutil.copy(server.folder / "id", tmp_path / "copy")
        other = {"key": str(tmp_path / "copy")}
    if what == "jump":
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh" / "config").write_text(
            f"Host door\n  HostName 127.0.0.1\n  Port {server.port}\n  User alice\n"
            f"  IdentityFile {server.folder}/id\n  UserKnownHostsFile {server.folder}/known\n"
        )
        other = {"proxy_jump": "door"}
    before = server.connections
    assert shared().hello()["home"] == "/home/alice"
    home = "/home/penstock-csh" if what == "user" else "/home/alice"
    assert shared(**other).hello()["home"] == home
    assert server.connections == before + (3 if what == "jump" else 2)


def test_program_that_does_not_answer_leaves_others_their_connection(
    server: Sshd, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "MARGIN_S", 4)
    cluster = server.cluster()
    trunk = Trunk(hosts.resolve(cluster, config=Path("/none")), state)
    one, two = (SshTransport(Session(name, cluster, trunk), name) for name in ("one", "two"))
    before = server.connections
    pid = int(one.run(["sh", "-c", "echo $PPID"]).out)
    assert two.hello
    looking = threading.Timer(0.5, two.digest, ("/etc/hostname",))
    looking.start()
    with pytest.raises(Lost, match="does not answer any more"):
        one.run(["sh", "-c", "kill -STOP $PPID"], timeout_s=1)
    looking.join()
    os.kill(pid, signal.SIGKILL)
    assert [each.run(["id", "-un"]).out for each in (one, two)] == ["alice\n"] * 2
    assert server.connections == before + 1
    trunk.close()


def test_code_is_asked_for_once_for_all_clusters_of_a_host(coded: Sshd, state: Path) -> None:
    asked: list[str] = []

    def ask(title: str, questions: list[tuple[str, bool]]) -> list[str]:
        asked.append(title)
        return [sshd.CODE for _ in questions]

    trunk = Trunk(hosts.resolve(coded.cluster(), config=Path("/none")), state, ask=ask)
    sessions = [Session(name, coded.cluster(path=(f"/{name}",)), trunk) for name in "abc"]
    threads = [threading.Thread(target=session.hello) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(SshTransport(one, "x").run(["true"]).code == 0 for one in sessions)
    assert len(asked) == 1
    assert trunk.was_asked
    trunk.close()


def test_server_that_allows_one_program_keeps_the_first(state: Path) -> None:
    with sshd.running(more="MaxSessions 1") as server:
        trunk = Trunk(hosts.resolve(server.cluster(), config=Path("/none")), state)
        one, two = (Session(name, server.cluster(), trunk) for name in ("one", "two"))
        assert one.hello()
        with pytest.raises(Unreachable, match="begins no command"):
            two.hello()
        assert SshTransport(one, "one").run(["true"]).code == 0
        assert server.connections == 1
        trunk.close()


def test_errors_of_the_shared_connection_are_those_of_ones_own(
    server: Sshd, shared: Callable[[], Shared], state: Path
) -> None:
    transport = SshTransport(shared(), "big")
    (server.folder / "known").write_text("")
    with pytest.raises(Untrusted, match="is not known") as caught:
        transport.run(["true"])
    assert "ssh-keyscan" in caught.value.hint
    server.cluster()
    forget(state)
    assert transport.run(["true"]).code == 0


def test_link_that_is_killed_leaves_a_command_lost_and_comes_back(
    server: Sshd, shared: Callable[[], Shared]
) -> None:
    peer = shared()
    transport = SshTransport(peer, "big")
    assert transport.hello
    threading.Timer(0.5, kill_link).start()
    with pytest.raises(Lost):
        transport.run(["sleep", "10"])
    assert transport.run(["true"]).code == 0


def kill_link() -> None:
    mine = subprocess.run(
        ["pgrep", "-f", "penstock.transport.link"], capture_output=True, text=True, check=False
    ).stdout.split()
    runtime = os.environ["XDG_RUNTIME_DIR"]
    for pid in mine:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"XDG_RUNTIME_DIR={runtime}".encode() in variables:
            os.kill(int(pid), 9)
