"""Certificates of users, by a real server that trusts their authority, and a real agent."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.errors import Denied
from penstock.transport.ssh import SshTransport
from tests import sshd
from tests.session import make_session
from tests.sshd import Sshd


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    """Start a server that knows no key of alice, and trusts an authority."""
    with tempfile.TemporaryDirectory(prefix="penstock-authority-") as name:
        authority = sshd.keygen(Path(name) / "authority")
        with sshd.running(more=f"TrustedUserCAKeys {authority}.pub") as found:
            (found.folder / "authorized.alice").write_text("")
            shutil.copy(authority, found.folder / "authority")
            yield found


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Start an agent, and give it keys, with the certificates beside them."""
    place = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))

    def make(*words: object) -> None:
        subprocess.run(["ssh-add", "-q", *map(str, words)], check=True)

    while not place.exists():
        time.sleep(0.02)
    yield make
    agent.terminate()
    agent.wait(10)


@pytest.fixture(params=["ed25519", "rsa", "ecdsa"])
def key(request: pytest.FixtureRequest, server: Sshd, tmp_path: Path) -> Path:
    """Return a key that the authority signed."""
    path = sshd.keygen(tmp_path / "mine", request.param)
    sign(server, path)
    return path


def sign(server: Sshd, path: Path, *words: str) -> None:
    argv = ["ssh-keygen", "-q", "-s", str(server.folder / "authority"), "-I", "test", "-n", "alice"]
    subprocess.run([*argv, *words, str(path.with_suffix(".pub"))], check=True, capture_output=True)


def other(path: Path) -> Path:
    """Return a file for a key whose private half is somewhere else."""
    found = path.with_name("named")
    shutil.copy(path.with_suffix(".pub"), found.with_suffix(".pub"))
    return found


@pytest.fixture
def who(server: Sshd, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Log in as a configuration says, and return who one is there."""
    made = []

    def make(*lines: str) -> str:
        config = tmp_path / "config"
        config.write_text("\n".join(["IdentitiesOnly yes", *lines, ""]))
        session = make_session(server.cluster(key=""), tmp_path / "state", config=config)
        made.append(session)
        return SshTransport(session, "big").run(["id", "-un"]).out.strip()

    yield make
    for one in made:
        one.close()


def test_certificate_of_the_agent_is_one_of_the_named_key(
    who: Callable[..., str], add: Callable[..., None], key: Path, server: Sshd
) -> None:
    add(*(sshd.keygen(key.with_name(f"many{number}")) for number in range(7)))
    add(key)  # and its certificate, which lies beside it
    at = len(server.log.read_text())
    assert who(f"IdentityFile {other(key)}") == "alice"
    said = server.log.read_text()[at:]
    assert "Failed publickey" not in said
    assert "CERT" in said


def test_certificate_beside_a_key_is_offered(who: Callable[..., str], key: Path) -> None:
    assert who(f"IdentityFile {key}", "IdentityAgent none") == "alice"


@pytest.mark.parametrize("where", ["file", "agent"])
def test_certificate_file_of_the_configuration_is_offered(
    who: Callable[..., str], add: Callable[..., None], key: Path, where: str
) -> None:
    shutil.move(key.with_name("mine-cert.pub"), key.with_name("elsewhere.pub"))
    path = key
    if where == "agent":
        add(key)
        path = other(key)
    assert who(f"IdentityFile {path}", f"CertificateFile {key.parent}/elsewhere.pub") == "alice"


def test_certificate_that_has_expired_leaves_the_key(
    who: Callable[..., str], add: Callable[..., None], key: Path, server: Sshd
) -> None:
    sign(server, key, "-V", "20200101:20200201")
    authorized = server.folder / "authorized.alice"
    authorized.write_text(key.with_suffix(".pub").read_text())
    try:
        assert who(f"IdentityFile {key}") == "alice"
        add(key)
        assert who(f"IdentityFile {other(key)}") == "alice"
    finally:
        authorized.write_text("")


def test_certificate_of_another_key_is_not_offered(
    who: Callable[..., str], key: Path, server: Sshd, tmp_path: Path
) -> None:
    bare = sshd.keygen(tmp_path / "bare")
    at = len(server.log.read_text())
    with pytest.raises(Denied, match=f"refused the login with {bare}"):
        who(f"IdentityFile {bare}", f"CertificateFile {key}-cert.pub")
    assert server.log.read_text()[at:].count("Failed publickey") <= 1
