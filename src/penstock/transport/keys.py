"""The keys that are offered to a host: of files, and of an SSH agent."""

import base64
import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.transport.host import Host
from penstock.transport.library import paramiko

AGENT_S = 10
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
            in_agent = held.pop(key.asbytes() if key is not None else _public(path), None)
            if key is not None:
                keys.free.append((str(path), key))
            elif in_agent is not None:
                keys.free.append((f"{path} of the agent", in_agent))
            elif is_locked:
                keys.locked.append(path)
        if not host.is_limited:
            keys.free.extend((f"{key.get_name()} of the agent", key) for key in held.values())
        yield keys


def _private(path: Path) -> tuple[Any, bool]:
    """Return the key of a file, or None; and whether a passphrase would open it."""
    try:
        return paramiko.PKey.from_path(path), False
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
            held = {key.asbytes(): key for key in asked.get_keys()}
        except (OSError, paramiko.SSHException):
            held = {}
        yield held  # the socket is open as long as one of them may be asked to sign
