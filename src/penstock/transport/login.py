"""Connect and log in: checked host keys, few tries, and no wait without an end."""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from penstock.errors import Denied, Unattended, Unreachable
from penstock.transport import host as hosts
from penstock.transport.host import Host
from penstock.transport.library import paramiko

# Answers to what a server asks: a title, and questions with whether an answer may be shown.
Asker = Callable[[str, list[tuple[str, bool]]], list[str]]

MOST_KEYS = 5  # servers allow six failures, and count each key
KEEPALIVE_S = 30
# Unacknowledged data for so long, and the kernel gives the connection up (a silent firewall).
USER_TIMEOUT_S = 60
NO_TERMINAL = (
    "there is no terminal to ask on: run `penstock clusters --connect NAME` on one; "
    "the daemon and other commands then use that connection"
)

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it prints tracebacks otherwise


class Connection:
    """A connection, and those that it goes through."""

    def __init__(self, chain: "list[paramiko.Transport]", was_asked: bool) -> None:
        self._chain = chain
        self.was_asked = was_asked  # somebody had to type something

    @property
    def is_open(self) -> bool:
        """Return whether it was not closed, as far as is known."""
        return bool(self._chain[-1].is_active())

    def command(self, line: str, timeout_s: float) -> Any:
        """Return the channel of a command that begins."""
        channel = self._chain[-1].open_session(timeout=timeout_s)
        channel.settimeout(timeout_s)
        channel.exec_command(line)
        return channel

    def close(self) -> None:
        """Close it, and those that it goes through."""
        for one in reversed(self._chain):
            one.close()


def connect(host: Host, *, ask: Asker | None, timeout_s: float) -> Connection:
    """Return a connection that is logged in. Raises Unreachable, or Denied."""
    chain: list[paramiko.Transport] = []
    was_asked = []

    def noted(title: str, questions: list[tuple[str, bool]]) -> list[str]:
        was_asked.append(title)
        if ask is None:
            raise Unattended(f"{host} asks for something that is to be typed", hint=NO_TERMINAL)
        return ask(title, questions)

    try:
        for one in (*host.jumps, host):
            with _mapped(one):
                chain.append(_one(one, chain, noted, timeout_s))
    except BaseException:
        for made in reversed(chain):
            made.close()
        raise
    return Connection(chain, bool(was_asked))


@contextlib.contextmanager
def _mapped(host: Host) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unreachable(
            f"{host} does not answer",
            hint="it is down, or a firewall drops what is sent: is a VPN or a jump host needed?",
        ) from error
    except paramiko.AuthenticationException as error:
        raise Denied(f"{host} refused the login: {error}", hint=f"try `ssh {host.name}`") from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        words = str(error) or type(error).__name__
        if "protocol banner" in words:  # paramiko's word for nothing at all, or no SSH
            words = "it does not answer as an SSH server does"
        raise Unreachable(
            f"{host} cannot be reached: {words}",
            hint=f"does `ssh {host.name}` work? it is tried again after a while",
        ) from error


def _one(
    host: Host, chain: "list[paramiko.Transport]", ask: Asker, timeout_s: float
) -> "paramiko.Transport":
    if chain:
        place = (host.address, host.port)
        sock = chain[-1].open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=timeout_s)
    else:
        sock = socket.create_connection((host.address, host.port), timeout=timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_S * 1000)
    keys = hosts.known(host)
    transport = paramiko.Transport(sock)
    try:
        _prefer(transport, [one.kind for one in keys if not one.is_revoked])
        transport.banner_timeout = transport.handshake_timeout = timeout_s
        transport.auth_timeout = timeout_s
        transport.start_client(timeout=timeout_s)
        if not transport.initial_kex_done:  # it returns at its time-out, too
            raise transport.get_exception() or TimeoutError
        shown = transport.get_remote_server_key()
        hosts.check(host, shown.get_name(), shown.asbytes(), keys)
        _log_in(host, transport, ask)
        transport.set_keepalive(KEEPALIVE_S)
    except BaseException:
        transport.close()
        raise
    return transport


def _prefer(transport: "paramiko.Transport", kinds: list[str]) -> None:
    """Ask for a key of a kind that is known, or a known host would look like a changed one."""
    options = transport.get_security_options()
    wanted = set(kinds) | ({"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in kinds else set())
    first = [kind for kind in options.key_types if kind in wanted]
    options.key_types = first + [kind for kind in options.key_types if kind not in wanted]


# --- who we are


def _log_in(host: Host, transport: "paramiko.Transport", ask: Asker) -> None:
    offered: list[str] = []
    files = list(_files(host))
    left = _offer(host, transport, _free(host, files), offered)
    if left is None and transport.is_active():
        # What the server takes is asked late: that costs two round trips, and is seldom needed.
        left = _allowed(host, transport)
        if "publickey" in left:
            locked = [path for path, key in files if key is None][: MOST_KEYS - len(offered)]
            more = _offer(host, transport, _unlocked(locked, ask), offered)
            left = left if more is None else more
    if left == set():
        return
    left = left or set()
    if transport.is_active() and _typed(host, transport, left - {"publickey"}, ask):
        return
    raise _denied(host, transport, offered, left)


def _offer(
    host: Host,
    transport: "paramiko.Transport",
    keys: Iterable[tuple[str, Any]],
    offered: list[str],
) -> set[str] | None:
    """Offer keys until one is taken; return what is to be done beside. None: none was taken."""
    for name, key in keys:
        offered.append(name)
        try:
            return set(transport.auth_publickey(host.user, key))
        except paramiko.BadAuthenticationType as error:
            return set(error.allowed_types)
        except paramiko.AuthenticationException:
            if not transport.is_active():
                return None
    return None


def _allowed(host: Host, transport: "paramiko.Transport") -> set[str]:
    """Return the ways to log in; none where none is needed."""
    try:
        transport.auth_none(host.user)
    except paramiko.BadAuthenticationType as error:
        return set(error.allowed_types)
    return set()


def _files(host: Host) -> Iterator[tuple[Path, Any]]:
    """Yield the keys of files; None where one needs a passphrase."""
    for path in host.keys:
        try:
            yield path, paramiko.PKey.from_path(path)
        except (paramiko.PasswordRequiredException, TypeError):
            yield path, None
        except (OSError, ValueError, paramiko.SSHException, paramiko.UnknownKeyType):
            continue


def _free(host: Host, files: Iterable[tuple[Path, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield keys by name that need nobody: of files, then the agent's; a few."""
    count = 0
    for path, key in files:
        if key is not None:
            yield str(path), key
            count += 1
    for key in _of_agent(host.agent) if host.agent else ():
        if count < MOST_KEYS:
            yield f"{key.get_name()} of the agent", key
            count += 1


def _unlocked(locked: Iterable[Path], ask: Asker) -> Iterator[tuple[str, Any]]:
    """Yield keys whose passphrase somebody types."""
    for path in locked:
        answer = ask(f"{path} is locked", [(f"Passphrase of {path}: ", False)])
        try:
            yield str(path), paramiko.PKey.from_path(path, answer[0].encode())
        except (OSError, ValueError, paramiko.SSHException) as error:
            raise Denied(
                f"{path} cannot be unlocked: {error}", hint=f"`ssh-add {path}` keeps it unlocked"
            ) from error


def _of_agent(path: str) -> Iterator[Any]:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.settimeout(10)
            sock.connect(path)
            agent = paramiko.agent.AgentSSH()
            agent._connect(sock)  # noqa: SLF001  its own door knows one place, $SSH_AUTH_SOCK
            found = agent.get_keys()
        except (OSError, paramiko.SSHException):
            return
        yield from found  # the socket is open as long as one of them may be asked to sign


def _typed(host: Host, transport: "paramiko.Transport", allowed: set[str], ask: Asker) -> bool:
    """Log in by what a person types; False where the server offers no such way, or refuses."""
    if "keyboard-interactive" in allowed:

        def answers(title: str, instructions: str, questions: list[tuple[str, bool]]) -> list[str]:
            if not questions:
                return []
            head = "\n".join(filter(None, (f"{host} asks:", title, instructions)))
            return ask(head, questions)

        with contextlib.suppress(paramiko.AuthenticationException):
            return not transport.auth_interactive(host.user, answers)
    elif "password" in allowed:
        answer = ask(f"{host} asks:", [(f"Password of {host}: ", False)])
        with contextlib.suppress(paramiko.AuthenticationException):
            return not transport.auth_password(host.user, answer[0])
    return False


def _denied(
    host: Host, transport: "paramiko.Transport", offered: list[str], allowed: set[str]
) -> Denied:
    tried = ", ".join(offered) or "no key (none was found)"
    banner = (transport.get_banner() or b"").decode(errors="replace").strip()
    said = f"; it says: {banner[-300:]}" if banner else ""
    return Denied(
        f"{host} refused the login with {tried}{said}",
        hint="the key is not the right one (`key` of the cluster, IdentityFile in ~/.ssh/config), "
        f"or the account is locked or has expired; it takes: {', '.join(sorted(allowed))}. "
        f"`ssh -v {host.name}` tells more",
    )
