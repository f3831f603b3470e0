"""Where a cluster is: from its settings and ~/.ssh/config; and which host keys are known."""

import base64
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SettingsError, TransportError, Untrusted
from penstock.settings import Cluster
from penstock.transport import agent, host
from penstock.transport.host import Host

CONFIG = """
Host big
  HostName login.big.example
  User me
  Port 2222
  IdentityFile {folder}/key
  ProxyJump you@door:2200,inner
  HostKeyAlias bigs
Host inner
  HostName inner.big.example
Host loop
  ProxyJump loop
Host proxied
  ProxyCommand exec nc "%h" %p -u %r
Host shelled
  ProxyCommand nc $(cat ~/gate) %p 2>/dev/null
Host *
  UserKnownHostsFile {folder}/known
  IdentitiesOnly yes
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("")
    (tmp_path / "other").write_text("")
    path = tmp_path / "config"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def resolve(config: Path, **said: Any) -> Host:
    return host.resolve(Cluster(**said), config=config)


def test_configuration_of_ssh_is_read(config: Path, tmp_path: Path) -> None:
    found = resolve(config, host="big")
    assert str(found) == "me@login.big.example:2222"
    assert found.keys == (tmp_path / "key",)
    assert found.known_as == "bigs"
    assert tmp_path / "known" in found.known_hosts
    assert [str(one).partition("@")[2] for one in found.jumps] == ["door:2200", "inner.big.example"]
    assert found.jumps[0].user == "you"


def test_settings_go_before_the_configuration(config: Path, tmp_path: Path) -> None:
    said = {"user": "x", "port": 22, "key": str(tmp_path / "other"), "proxy_jump": "gate"}
    found = resolve(config, host="big", known_hosts=(str(tmp_path / "mine"),), **said)
    assert str(found) == "x@login.big.example"
    assert (found.keys, found.is_limited) == ((tmp_path / "other",), True)
    assert found.known_hosts == (tmp_path / "mine",)
    assert [one.address for one in found.jumps] == ["gate"]


@pytest.mark.parametrize(
    "said, words",
    [
        ({"host": "loop"}, "through itself"),
        ({"host": "shelled"}, "ProxyCommand of shelled .* needs a shell"),
        ({"host": "big", "key": "/no/key"}, "no key /no/key"),
    ],
)
def test_what_cannot_be_is_said(config: Path, said: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        resolve(config, **said)


def test_proxy_command_has_its_words(config: Path) -> None:
    found = resolve(config, host="proxied", user="me", port=2200)
    assert found.proxy == ("nc", "proxied", "2200", "-u", "me")
    assert resolve(config, host="proxied", proxy_jump="door").proxy == ()
    assert resolve(config, host="proxied", user="me").proxy == ("nc", "proxied", "22", "-u", "me")


@pytest.mark.parametrize(
    "said, agent",
    [
        ("", "SSH_AUTH_SOCK"),
        ("IdentityAgent none", ""),
        ("IdentityAgent $MINE", "MINE"),
        ("IdentityAgent /a/socket", "/a/socket"),
        ("IdentitiesOnly yes", "SSH_AUTH_SOCK"),
    ],
)
def test_agent_is_asked_unless_it_is_said_not_to(tmp_path: Path, said: str, agent: str) -> None:
    (tmp_path / "config").write_text(f"{said}\n")
    found = resolve(tmp_path / "config", host="big")
    assert (found.agent, found.is_limited) == (agent, said.startswith("IdentitiesOnly"))
    assert resolve(tmp_path / "config", host="big", agent=False).agent == ""


# --- Include


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder whose file ``system`` is the machine's configuration."""
    monkeypatch.setattr(host, "SYSTEM_CONFIG", tmp_path / "system")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "1.conf").write_text("Host big\n  HostName one\n  Port 1\n")
    (tmp_path / "config.d" / "2.conf").write_text("Host big\n  HostName two\n  User you\n")
    return tmp_path


@pytest.mark.parametrize(
    "text, found",
    [
        ("Include config.d/*.conf\n", "you@one:1"),
        ("  include=~/config.d/2.conf # mine\n", "you@two"),
        ('INCLUDE = "{folder}/config.d/2.conf" config.d/1.conf\n', "you@two:1"),
        ("Include config.d/1.conf\nUser me\nInclude config.d/2.conf\n", "me@one:1"),
        ("User me\nInclude none.d/*\nHost big\n  HostName three\n", "me@three"),
        ("Host *\nUser me\nInclude config.d/1.conf\nPort 3\n", "me@one:1"),
        ("Match all\nPort 3\nUser me\nInclude config.d/1.conf\n", "me@one:3"),
        ("Host other\nInclude config.d/1.conf\nHost big\nUser me\n", "me@big"),
    ],
)
def test_include_stands_for_the_lines_of_its_files(folder: Path, text: str, found: str) -> None:
    (folder / "config").write_text(text.format(folder=folder))
    assert str(resolve(folder / "config", host="big")) == found


@pytest.mark.parametrize("block", ["Host big", "Host b*", "Match host big", "host=big"])
def test_include_in_the_block_of_a_host_is_refused(folder: Path, block: str) -> None:
    (folder / "config").write_text(f"# mine\n{block}\n  Port 3\n  Include=config.d/1.conf\n")
    with pytest.raises(SettingsError, match=f"{folder}/config:4: .* for big, is not") as caught:
        resolve(folder / "config", host="big")
    assert "[clusters.NAME]" in caught.value.hint
    with pytest.raises(SettingsError, match="config:4"):
        resolve(folder / "config", host="small", proxy_jump="big")


@pytest.mark.parametrize(
    "text, words",
    [
        ("Include config", "too deep"),
        ('Include "config.d', "config:1: this Include cannot be read"),
        ("Include ${X}/1.conf", "config:1: an Include with"),
        ("Include bad", "bad cannot be read: Unparsable"),
    ],
)
def test_include_that_cannot_be_read_is_said(folder: Path, text: str, words: str) -> None:
    (folder / "bad").write_text("what?\n")
    (folder / "config").write_text(text)
    with pytest.raises(SettingsError, match=words):
        resolve(folder / "config", host="big")


def test_system_includes_what_can_be_read(folder: Path) -> None:
    (folder / "config").write_text("Host big\n  User me\n")
    (folder / "config.d" / "0.conf").write_text("Match final all\n  Include policy\n  Port 9\n")
    (folder / "system").write_text(f"Include {folder}/config.d/*.conf\nHost big\nInclude none\n")
    assert str(resolve(folder / "config", host="big")) == "me@one:1"


KEY = base64.b64encode(b"one key").decode()


@pytest.mark.parametrize(
    "names, is_known",
    [
        ("host", False),
        ("[host]:2222", True),
        ("x,[host]:2222,y", True),
        ("[HOST]:2222", True),
        ("[h*]:2222", True),
        ("[h*]:2222,![host]:2222", False),
        ("*", True),
        ("@cert-authority [host]:2222", False),
        ("#[host]:2222", False),
    ],
)
def test_known_hosts_are_matched_as_openssh_does(
    tmp_path: Path, names: str, is_known: bool
) -> None:
    (tmp_path / "known").write_text(f"{names} ssh-ed25519 {KEY} a comment\n")
    here = Host("h", "host", 2222, "me", (), "", (tmp_path / "none", tmp_path / "known"))
    found = host.known(here)
    assert any(not one.is_authority for one in found) is is_known
    assert any(one.is_authority for one in found) is names.startswith("@cert")


def test_one_of_several_keys_of_a_kind_is_enough(tmp_path: Path) -> None:
    other = base64.b64encode(b"another").decode()
    lines = [f"host ssh-rsa {other}", f"host ssh-ed25519 {other}", f"host ssh-ed25519 {KEY}"]
    (tmp_path / "known").write_text("\n".join(lines))
    here = Host("h", "host", 22, "me", (), "", (tmp_path / "known",))
    host.check(here, "ssh-ed25519", b"one key", host.known(here))
    with pytest.raises(Untrusted, match=r"CHANGED.*known:2"):
        host.check(here, "ssh-ed25519", b"a third", host.known(here))


@pytest.mark.parametrize("python", ["python3", "/opt/py-3.9/bin/python3.9", "~/env/bin/python"])
def test_command_has_nothing_that_a_shell_would_change(python: str) -> None:
    line = agent.command(python)
    outer = line.removeprefix("/bin/sh -c ")
    assert outer.startswith("'")
    assert outer.endswith("'")
    assert not set("'!\\`\n") & set(outer[1:-1])


@pytest.mark.parametrize("python", ["", "a b", "x'y", "$HOME/x", "x;y", "a\nb", "!x", "-c~"])
def test_python_that_a_shell_would_change_is_refused(python: str) -> None:
    with pytest.raises(TransportError, match="cannot be"):
        agent.command(python)
