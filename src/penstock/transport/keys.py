"""The keys that are offered to a host: of files, and of an SSH agent."""

import base64
import contextlib
import copy
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.transport import certificate
from penstock.transport.host import Host
from penstock.transport.library import paramiko

AGENT_S = 10
# How many fields there are of a key, by its kind.
FIELDS = {
    "ssh-rsa": 2, "ssh-ed25519": 1, "ecdsa-sha2-nistp256": 2, "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2, "sk-ssh-ed25519": 2, "sk-ecdsa-sha2-nistp256": 3,
}  # fmt: skip
OWN_FORMAT = b"openssh-key-v1\0"


@dataclass(frozen=True)
class Keys:
    """What can be offered, in this order."""

    free: list[tuple[str, Any]] = field(default_factory=list)  # by name; nobody is needed
    locked: list[Path] = field(default_factory=list)  # somebody has to type a passphrase


@contextlib.contextmanager
def found(host: Host) -> Iterator[Keys]:
    """Find the keys for a host; those of its agent can sign until this is left."""
    keys, files = Keys(), [(path, *_private(path)) for path in host.keys]
    # One that may only sign with keys that we have is not asked: it might ask its user.
    is_needed = not host.is_limited or any(key is None for _, key, _ in files)
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(_of_agent(host.agent)) if host.agent and is_needed else {}
        for path, key, is_locked in files:
            half = key.asbytes() if key is not None else _public(path)
            signed = [held.pop(blob) for blob in list(held) if half and _signed(blob) == half]
            in_agent = held.pop(half, None)
            mine = _Mine(path, half, key or in_agent, " of the agent" if key is None else "")
            offers = [*mine.certified([*_beside(path), *host.certificates], signed), *mine.bare()]
            keys.free.extend(offers)
            if is_locked and not offers:
                keys.locked.append(path)
        if not host.is_limited:
            keys.free.extend((f"{key.get_name()} of the agent", key) for key in held.values())
        yield keys


@dataclass(frozen=True)
class _Mine:
    """A key that is named, and who signs with it."""

    path: Path
    half: bytes  # its public half
    signer: Any  # None: nobody does, or by a certificate of the agent alone
    whose: str

    def certified(self, files: list[Path], signed: list[Any]) -> Iterator[tuple[str, Any]]:
        """Yield it with its certificates, of the agent and of files, each of them once."""
        for key in signed:
            yield f"the certificate of {self.path} of the agent", key
        seen = {key.blob for key in signed}
        for file in dict.fromkeys(files):
            blob = _read(file)
            if self.signer is not None and blob not in seen and _signed(blob) == self.half:
                seen.add(blob)
                yield f"{file}{self.whose}", _with(self.signer, blob)

    def bare(self) -> Iterator[tuple[str, Any]]:
        """Yield it as it is, for a host that trusts no authority."""
        if self.signer is not None:
            yield f"{self.path}{self.whose}", self.signer


def _beside(path: Path) -> list[Path]:
    """Return where a key's certificate is, as ssh-keygen puts it."""
    return [path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub")]


def _with(key: Any, blob: bytes) -> Any:
    """Return a key that is offered by a certificate."""
    if isinstance(key, paramiko.AgentKey):
        made = paramiko.AgentKey(key.agent, key.blob, key.comment)
    else:
        made = copy.copy(key)
    kind: str = paramiko.Message(blob).get_text()
    made.public_blob = paramiko.pkey.PublicBlob(kind, blob)
    return made


def _signed(blob: bytes) -> bytes:
    """Return the public half that a user's certificate is for; nothing where it is none.

    Source: OpenSSH, PROTOCOL.certkeys: kind, nonce, the fields of the key, and what is said of it.
    """
    read = paramiko.Message(blob)
    try:
        kind = read.get_text()
        many = FIELDS.get(kind.removesuffix(certificate.ENDS_SO), 0)
        if not kind.endswith(certificate.ENDS_SO) or not many:
            return b""
        read.get_string()
        made = paramiko.Message()
        made.add_string(kind.removesuffix(certificate.ENDS_SO))
        for _ in range(many):
            made.add_string(read.get_string())
    except (ValueError, struct.error):
        return b""
    half: bytes = made.asbytes()
    return half


def _private(path: Path) -> tuple[Any, bool]:
    """Return the key of a file, or None; and whether a passphrase would open it."""
    try:
        key = paramiko.PKey.from_path(path)
        key.public_blob = None  # it has taken a certificate beside it, and would offer nothing else
        return key, False
    except (paramiko.PasswordRequiredException, TypeError):
        return None, True
    except (OSError, ValueError, paramiko.SSHException, paramiko.UnknownKeyType):
        return None, False


def _public(path: Path) -> bytes:
    """Return the public half of a key, as its file shows it, or the one beside that; else none."""
    for file in (path, path.with_name(f"{path.name}.pub")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = file.read_text()
            return _inside(text) if text.startswith("-----BEGIN") else _decoded(text.split()[1])
    return b""


def _read(file: Path) -> bytes:
    """Return what a file of a certificate has; nothing where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return _decoded(file.read_text().split()[1])
    return b""


def _inside(text: str) -> bytes:
    """Return the public half from a private key: OpenSSH's own format does not lock it."""
    data = _decoded("".join(line for line in text.split("\n") if not line.startswith("-----")))
    if not data.startswith(OWN_FORMAT):
        raise ValueError
    read = paramiko.Message(data.removeprefix(OWN_FORMAT))
    for _ in ("cipher", "key derivation", "its options"):
        read.get_string()
    read.get_int()  # how many keys: one
    half: bytes = read.get_string()
    return half


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


@contextlib.contextmanager
def _of_agent(agent: str) -> Iterator[dict[bytes, Any]]:
    """Return the keys of an agent by their public halves; none where it does not answer."""
    path = os.environ.get(agent, "") if agent.isidentifier() else agent
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.settimeout(AGENT_S)
            sock.connect(path)
            asked = paramiko.agent.AgentSSH()
            asked._connect(sock)  # noqa: SLF001  its own door knows one place, $SSH_AUTH_SOCK
            held = {key.blob: _whole(key) for key in asked.get_keys()}
        except (OSError, paramiko.SSHException):
            held = {}
        yield held  # the socket is open as long as one of them may be asked to sign


def _whole(key: Any) -> Any:
    """Return a key of the agent: of a certificate paramiko would show the kind, not the rest."""
    return _with(key, key.blob) if _signed(key.blob) else key
