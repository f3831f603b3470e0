"""What is known of a host beforehand: from the settings, ~/.ssh/config, known_hosts."""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penstock.errors import SettingsError, Untrusted
from penstock.settings import Cluster
from penstock.transport import include, proxy
from penstock.transport.library import paramiko

CONFIG = Path("~/.ssh/config")
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
KNOWN = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
KNOWN_TO_ALL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
MOST_JUMPS = 5
MARKERS = ("", "@revoked", "@cert-authority")


@dataclass(frozen=True)
class Host:
    """Where to connect to, as whom, by what, and through which others."""

    name: str  # as its user says it
    address: str
    port: int
    user: str
    keys: tuple[Path, ...]
    agent: str  # socket of an SSH agent, or the variable that has it; empty: none is asked
    known_hosts: tuple[Path, ...]
    alias: str = ""  # under which its key is known, in place of address and port
    jumps: tuple["Host", ...] = ()  # first to last
    certificates: tuple[Path, ...] = ()  # of `keys`, beside those that lie beside them
    proxy: tuple[str, ...] = ()  # a program that is the way to it
    is_limited: bool = False  # to `keys`: its agent signs with these, and offers no other

    @property
    def chain(self) -> "tuple[Host, ...]":
        """Return all hosts that are logged in to, in this order: it is the last."""
        return (*self.jumps, self)

    @property
    def before(self) -> "Host | None":
        """Return the jump host through which it is reached; None: there is none."""
        return replace(self.jumps[-1], jumps=self.jumps[:-1]) if self.jumps else None

    @property
    def way(self) -> str:
        """Return what is the same for all that reach it in the same way, whatever they call it."""
        return repr([replace(one, name="", jumps=()) for one in self.chain])

    @property
    def known_as(self) -> str:
        """Return the name that known_hosts files have for it."""
        if self.alias:
            return self.alias
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Host":
        """Return what was written as JSON."""
        more = {
            "keys": tuple(map(Path, said["keys"])),
            "known_hosts": tuple(map(Path, said["known_hosts"])),
            "certificates": tuple(map(Path, said["certificates"])),
            "jumps": tuple(map(cls.of, said["jumps"])),
            "proxy": tuple(said["proxy"]),
        }
        return cls(**{**said, **more})

    def __str__(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        return f"{self.user}@{self.address}{port}"


def resolve(cluster: Cluster, *, config: Path | None = None) -> Host:
    """Return where a cluster is. Raises SettingsError."""
    read = _Config(config)
    jump = cluster.proxy_jump or None
    found = read.host(
        cluster.host, user=cluster.user, port=cluster.port, jump=jump, agent=cluster.agent
    )
    keys = (Path(cluster.key).expanduser(),) if cluster.key else found.keys
    if cluster.key and not _is_key(keys[0]):
        raise SettingsError(f"there is no key {keys[0]}", hint="`key` of the cluster says so")
    return Host(
        **{
            **vars(found),
            "keys": keys,
            "is_limited": bool(cluster.key) or found.is_limited,
            "known_hosts": tuple(Path(one).expanduser() for one in cluster.known_hosts)
            or found.known_hosts,
        }
    )


class _Config:
    def __init__(self, path: Path | None) -> None:
        self._read = paramiko.SSHConfig()
        self._add(path or CONFIG.expanduser(), is_users=True)
        self._add(SYSTEM_CONFIG, is_users=False)

    def _add(self, file: Path, *, is_users: bool) -> None:
        for part in include.Reader(file.parent, is_users).parts(file):
            try:
                found = paramiko.SSHConfig.from_text("".join(part.lines))
            except paramiko.SSHException as error:
                if not is_users and part.file != file:
                    continue  # its words are for ssh (Red Hat's `Match final all`), not for all
                raise SettingsError(
                    f"{part.file} cannot be read: {error}", hint="mend it, or put less into it"
                ) from error
            self._read._config += found._config  # noqa: SLF001  each part begins for all hosts

    def _say(self, name: str, user: str, port: int) -> None:
        """Put what is set for a host before what the files say: tokens such as %p have it then."""
        if (user or port) and not set(name) & set("*?! "):
            said = [f"User {user}"] * bool(user) + [f"Port {port}"] * bool(port)
            mine = paramiko.SSHConfig.from_text("\n".join([f"Host {name}", *said]))
            self._read._config[:0] = mine._config  # noqa: SLF001  the first word counts in ssh

    def host(
        self, name: str, *, user: str, port: int, jump: str | None, agent: bool, depth: int = 0
    ) -> Host:
        if depth > MOST_JUMPS:
            raise SettingsError(f"{name} is reached through itself", hint="look at ProxyJump")
        self._say(name, user, port)
        try:
            said: dict[str, Any] = self._read.lookup(name)
        except paramiko.SSHException as error:
            raise SettingsError(f"~/.ssh/config, {name}: {error}") from error
        if "include" in said:
            include.refuse(name, said["include"])
        jump = said.get("proxyjump", "none") if jump is None else jump
        command = said.get("proxycommand", "none") if jump == "none" else "none"
        given = [Path(one).expanduser() for one in said.get("identityfile", ())]
        keys = given or [Path(one).expanduser() for one in KEYS]
        return Host(
            name=name,
            address=said["hostname"],
            port=port or int(said.get("port", 22)),
            user=user or said.get("user", "") or pwd.getpwuid(os.getuid()).pw_name,
            keys=tuple(key for key in keys if _is_key(key)),
            agent=_agent(said) if agent else "",
            is_limited=said.get("identitiesonly", "no") == "yes",
            known_hosts=tuple(
                Path(one).expanduser()
                for one in (
                    *said.get("userknownhostsfile", " ".join(KNOWN)).split(),
                    *said.get("globalknownhostsfile", " ".join(KNOWN_TO_ALL)).split(),
                )
            ),
            alias=said.get("hostkeyalias", ""),
            certificates=tuple(
                Path(one).expanduser()
                for one in [said.get("certificatefile", "none")]
                if one != "none"
            ),
            jumps=tuple(self._jumps(jump, agent, depth)),
            proxy=() if command == "none" else proxy.words(name, command),
        )

    def _jumps(self, text: str, agent: bool, depth: int) -> Iterator[Host]:
        if text == "none":
            return
        for one in text.split(","):
            user, _, place = one.strip().rpartition("@")
            address, _, port = place.rpartition(":") if place[-1:] != "]" else (place, "", "")
            if not address:
                address, port = place, ""
            number = int(port) if port.isdecimal() else 0
            found = self.host(
                address.strip("[]"), user=user, port=number, jump=None, agent=agent, depth=depth + 1
            )
            yield from found.jumps
            yield found


def _is_key(path: Path) -> bool:
    """Return whether there is a key, or the public half of one that an agent may have."""
    return path.is_file() or path.with_name(f"{path.name}.pub").is_file()


def _agent(said: dict[str, Any]) -> str:
    named: str = said.get("identityagent", "SSH_AUTH_SOCK")
    if named == "none":
        return ""
    if named.startswith("$"):
        named = named.strip("${}")
    return named if named.isidentifier() else str(Path(named).expanduser())


# --- host keys


@dataclass(frozen=True)
class Known:
    """A key that a file has for a host."""

    file: Path
    line: int
    kind: str
    key: bytes
    is_revoked: bool = False
    is_authority: bool = False  # it signs the keys of hosts


def known(host: Host) -> list[Known]:
    """Return the keys that the files have for a host."""
    return [one for file in host.known_hosts for one in _lines(file, host.known_as)]


def _lines(file: Path, name: str) -> Iterator[Known]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in MARKERS:
            continue
        if _matches(words[0], name):
            try:
                key = base64.b64decode(words[2], validate=True)
            except (binascii.Error, ValueError):
                continue
            is_revoked, is_authority = marker == "@revoked", marker == "@cert-authority"
            yield Known(file, number, words[1], key, is_revoked, is_authority)


def _matches(names: str, name: str) -> bool:
    if names.startswith("|1|"):
        _, _, salt, digest = names.split("|")[:4]
        try:
            made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(made, base64.b64decode(digest))
        except (binascii.Error, ValueError):
            return False
    found = False
    for pattern in names.lower().split(","):
        # Brackets stand for themselves here, and not for a set.
        glob = pattern.removeprefix("!").replace("[", "[[]")
        if fnmatch.fnmatchcase(name.lower(), glob):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def check(host: Host, kind: str, key: bytes, keys: Sequence[Known]) -> None:
    """Raise Untrusted unless the key that a host shows is known; nothing is ever added."""
    right = [one for one in keys if one.key == key and not one.is_authority]
    if revoked := [one for one in right if one.is_revoked]:
        one = revoked[0]
        raise Untrusted(
            f"{host} shows a host key that was revoked ({one.file}:{one.line})",
            hint="do not connect; ask the site's administrators",
        )
    if right:
        return
    shown = fingerprint(key)
    scan = f"ssh-keyscan -t {kind.removeprefix('ssh-')} -p {host.port} {host.address}"
    log_in = f"ssh {'' if host.port == 22 else f'-p {host.port} '}{host.user}@{host.address}"
    signers = [one for one in keys if one.is_authority]
    keys = [one for one in keys if not (one.is_authority or one.is_revoked)]
    if not keys:
        bare = [f", and it shows no certificate (as {one.file}:{one.line} asks)" for one in signers]
        raise Untrusted(
            f"the host key of {host} is not known: {kind} {shown}{''.join(bare[:1])}",
            hint=f"compare it with what the site publishes (`{scan} | ssh-keygen -lf -` shows it "
            f"too), then take it: `{log_in}`, once, and answer yes",
        )
    old = next((one for one in keys if one.kind == kind), keys[0])
    raise Untrusted(
        f"the host key of {host} has CHANGED: it shows {kind} {shown}, and {old.file}:{old.line} "
        f"has {old.kind} {fingerprint(old.key)}. Somebody may be in between",
        hint="ask the site whether the key is new. If it is, forget the old one: "
        f"`ssh-keygen -f {old.file} -R '{host.known_as}'`, then `{log_in}`, compare, answer yes",
    )


def fingerprint(key: bytes) -> str:
    """Return a key's fingerprint as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
