"""Connect and log in: checked host keys, few tries, and no wait without an end."""

import contextlib
import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock.errors import Denied, Dropped, Unattended, Unreachable
from penstock.transport import certificate, keys
from penstock.transport import host as hosts
from penstock.transport.host import Host, Known
from penstock.transport.library import paramiko
from penstock.transport.proxy import Proxy

# Answers to what a server asks: a title, and questions with whether an answer may be shown.
Asker = Callable[[str, list[tuple[str, bool]]], list[str]]
Trying = Callable[[Host], contextlib.AbstractContextManager[None]]


class Through(Protocol):
    """The way through jump hosts that another process has logged in to."""

    def leave_terminal(self) -> None:
        """Ask nobody any more."""

    def login(self, timeout_s: float, /) -> None:
        """Let them be logged in to, if they are not. Raises TransportError."""

    def open(self, host: Host, timeout_s: float, /) -> Any:
        """Return the way to a host behind them, a socket. Raises OSError."""


MOST_KEYS = 5  # servers allow six failures, and count each key
KEEPALIVE_S = 30
TYPED_S = 300  # somebody may have to find a telephone first
# Unacknowledged data for so long, and the kernel gives the connection up (a silent firewall).
USER_TIMEOUT_S = 60
NO_TERMINAL = (
    "there is no terminal to ask on: run `penstock clusters --connect NAME` on one; "
    "the daemon and other commands then use that connection"
)

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it prints tracebacks otherwise


class Connection:
    """A connection, and those that it goes through."""

    def __init__(
        self, chain: "list[paramiko.Transport]", proxies: list[Proxy], was_asked: bool
    ) -> None:
        self._chain, self._proxies = chain, proxies
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

    def forward(self, to: tuple[str, int], timeout_s: float) -> Any:
        """Return a channel to a place that its host can reach."""
        return _forwarded(self._chain[-1], to, timeout_s)

    def close(self) -> None:
        """Close it, and those that it goes through."""
        _close(self._chain, self._proxies)


def _close(chain: "list[paramiko.Transport]", proxies: list[Proxy]) -> None:
    for one in reversed(chain):
        one.close()
    for proxy in proxies:
        proxy.close()


def connect(
    host: Host,
    *,
    ask: Asker | None,
    timeout_s: float,
    trying: Trying,
    through: Through | None = None,
) -> Connection:
    """Return a connection that is logged in. Raises Unreachable, or Denied.

    ``trying`` is around the login to each host of the way, and sees how it ends. Where there is a
    way ``through`` the jump hosts, they are logged in to already.
    """
    chain: list[paramiko.Transport] = []
    proxies: list[Proxy] = []
    asked: list[str] = []
    try:
        for one in host.chain if through is None else (host,):
            with trying(one), _mapped(one):
                if through is None:
                    sock = _socket(one, chain, proxies, timeout_s)
                else:
                    sock = through.open(one, timeout_s)
                with _proxied(one, proxies if one.proxy else []):
                    chain.append(_one(one, sock, _noted(ask, asked), timeout_s))
    except BaseException:
        _close(chain, proxies)
        raise
    return Connection(chain, proxies, bool(asked))


def _noted(ask: Asker | None, asked: list[str]) -> Asker | None:
    """Return what asks, and notes that it did; None where nobody is there."""
    if ask is None:
        return None

    def noted(title: str, questions: list[tuple[str, bool]]) -> list[str]:
        asked.append(title)
        return ask(title, questions)

    return noted


def _somebody(host: Host, ask: Asker | None) -> Asker:
    """Return whom to ask. Raises Unattended where nobody is there."""
    if ask is None:
        raise Unattended(f"{host} asks for something that is to be typed", hint=NO_TERMINAL)
    return ask


@contextlib.contextmanager
def _proxied(host: Host, proxies: list[Proxy]) -> Iterator[None]:
    """Say what a ProxyCommand said, where there is no way through it."""
    try:
        yield
    except (OSError, EOFError, paramiko.SSHException) as error:
        if not proxies or isinstance(error, paramiko.AuthenticationException):
            raise
        raise Unreachable(
            f"{host} cannot be reached: {proxies[-1].said()}",
            hint=f"does `ssh {host.name}` work? it is tried again after a while",
        ) from error


@contextlib.contextmanager
def _mapped(host: Host) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unreachable(
            f"{host} does not answer",
            hint="it is down, or a firewall drops what is sent: is a VPN or a jump host needed?",
        ) from error
    except paramiko.AuthenticationException as error:  # no answer; an answer is said by _log_in
        raise Dropped(
            f"{host} ended the connection during the login, without a word",
            hint="the network may have, or the account is locked or has expired: "
            f"`ssh -v {host.name}` tells more",
        ) from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        words = str(error) or type(error).__name__
        if "protocol banner" in words:  # paramiko's word for nothing at all, or no SSH
            words = "it does not answer as an SSH server does"
        raise Unreachable(
            f"{host} cannot be reached: {words}",
            hint=f"does `ssh {host.name}` work? it is tried again after a while",
        ) from error


def _socket(
    host: Host, chain: "list[paramiko.Transport]", proxies: list[Proxy], timeout_s: float
) -> Any:
    """Return a way to a host: through the one before, a program, or the network."""
    place = (host.address, host.port)
    if chain:
        return _forwarded(chain[-1], place, timeout_s)
    if host.proxy:
        proxies.append(Proxy(host.proxy))
        return proxies[-1].socket
    sock = socket.create_connection(place, timeout=timeout_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # a Mac has none
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_S * 1000)
    return sock


def _forwarded(transport: "paramiko.Transport", to: tuple[str, int], timeout_s: float) -> Any:
    return transport.open_channel("direct-tcpip", to, ("127.0.0.1", 0), timeout=timeout_s)


def _one(host: Host, sock: Any, ask: Asker | None, timeout_s: float) -> "paramiko.Transport":
    known = hosts.known(host)
    transport = paramiko.Transport(sock)
    try:
        _prefer(transport, known)
        transport.banner_timeout = transport.handshake_timeout = timeout_s
        transport.auth_timeout = timeout_s
        transport.start_client(timeout=timeout_s)
        if not transport.initial_kex_done:  # it returns at its time-out, too
            raise transport.get_exception() or TimeoutError
        _check_key(host, transport.get_remote_server_key(), known)
        _log_in(host, transport, ask)
        transport.set_keepalive(KEEPALIVE_S)
    except BaseException:
        transport.close()
        raise
    return transport


def _prefer(transport: "paramiko.Transport", known: list[Known]) -> None:
    """Ask for a key of a kind that is known, or a known host would look like a changed one.

    Where an authority signs the keys of hosts a certificate is asked for, before all others.
    """
    options = transport.get_security_options()
    kinds = {one.kind for one in known if not (one.is_revoked or one.is_authority)}
    wanted = kinds | ({"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in kinds else set())
    usual = list(options.key_types)
    is_signed = any(one.is_authority for one in known)
    signed = [kind + certificate.ENDS_SO for kind in usual if kind != "ssh-rsa" and is_signed]
    first = [kind for kind in usual if kind in wanted]
    options.key_types = signed + first + [kind for kind in usual if kind not in wanted]


def _check_key(host: Host, shown: Any, known: list[Known]) -> None:
    """Raise Untrusted unless the key that a host shows is known, or signed by who is."""
    blob = shown.public_blob  # of a certificate
    if blob is None:
        hosts.check(host, shown.get_name(), shown.asbytes(), known)
    else:
        certificate.check(host, blob.key_type, blob.key_blob, known, time.time())


# --- who we are


@dataclass
class _Tried:
    """What was tried, and what the server said meanwhile."""

    offered: list[str] = field(default_factory=list)
    banner: str = ""
    was_refused: bool = False  # by an answer, not by the end of the connection

    def hear(self, transport: "paramiko.Transport") -> None:
        """Keep a server's greeting, which comes once: paramiko forgets it with each try."""
        said = (transport.get_banner() or b"").decode(errors="replace").strip()
        self.banner = said or self.banner


def _log_in(host: Host, transport: "paramiko.Transport", ask: Asker | None) -> None:
    tried = _Tried()
    with keys.found(host) as mine:
        # What the server takes costs two round trips to ask, which one right key need not wait
        # for. It is asked before others are offered: servers count tries, and asking later is one.
        is_one = len(mine.free) == 1
        left = _offer(host, transport, mine.free, tried) if is_one else None
        if left is None and transport.is_active():
            left = _allowed(host, transport)
            tried.hear(transport)
            if "publickey" in left:
                free = () if is_one else mine.free
                more = itertools.chain(free, _unlocked(host, mine.locked, ask))
                taken = _offer(host, transport, more, tried)
                left = left if taken is None else taken
    if left == set():
        return
    left = left or set()
    if transport.is_active() and _typed(host, transport, left - {"publickey"}, ask):
        return
    if not (transport.is_active() or tried.was_refused or tried.banner):
        raise paramiko.AuthenticationException
    raise _denied(host, tried, left)


def _offer(
    host: Host,
    transport: "paramiko.Transport",
    offers: Iterable[tuple[str, Any]],
    tried: "_Tried",
) -> set[str] | None:
    """Offer keys until one is taken; return what is to be done beside. None: none was taken."""
    for name, key in itertools.islice(offers, MOST_KEYS - len(tried.offered)):
        tried.offered.append(name)
        try:
            return set(transport.auth_publickey(host.user, key))
        except paramiko.BadAuthenticationType as error:
            return set(error.allowed_types)
        except paramiko.AuthenticationException:
            if not transport.is_active():
                return None
            tried.was_refused = True
        finally:
            tried.hear(transport)
    return None


def _allowed(host: Host, transport: "paramiko.Transport") -> set[str]:
    """Return the ways to log in; none where none is needed."""
    try:
        transport.auth_none(host.user)
    except paramiko.BadAuthenticationType as error:
        return set(error.allowed_types)
    return set()


def _unlocked(host: Host, locked: Iterable[Path], ask: Asker | None) -> Iterator[tuple[str, Any]]:
    """Yield keys whose passphrase somebody types."""
    for path in locked:
        asking = _somebody(host, ask)
        answer = asking(f"{path} is locked", [(f"Passphrase of {path}: ", False)])
        try:
            yield str(path), paramiko.PKey.from_path(path, answer[0].encode())
        except (OSError, ValueError, paramiko.SSHException) as error:
            raise Denied(
                f"{path} cannot be unlocked: {error}", hint=f"`ssh-add {path}` keeps it unlocked"
            ) from error


def _typed(
    host: Host, transport: "paramiko.Transport", allowed: set[str], ask: Asker | None
) -> bool:
    """Log in by what a person types; False where the server offers no such way, or refuses."""
    if not allowed & {"keyboard-interactive", "password"}:
        return False
    asking = _somebody(host, ask)  # before it begins: that may ring a telephone
    transport.auth_timeout = TYPED_S  # a person's time, in place of a machine's
    if "keyboard-interactive" in allowed:

        def answers(title: str, instructions: str, questions: list[tuple[str, bool]]) -> list[str]:
            if not questions:
                return []
            head = "\n".join(filter(None, (f"{host} asks:", title, instructions)))
            return asking(head, questions)

        with contextlib.suppress(paramiko.AuthenticationException):
            return not transport.auth_interactive(host.user, answers)
    else:
        answer = asking(f"{host} asks:", [(f"Password of {host}: ", False)])
        with contextlib.suppress(paramiko.AuthenticationException):
            return not transport.auth_password(host.user, answer[0])
    return False


def _denied(host: Host, tried: _Tried, allowed: set[str]) -> Denied:
    offered = ", ".join(tried.offered) or "no key (none was found)"
    said = f"; it says: {tried.banner[-300:]}" if tried.banner else ""
    return Denied(
        f"{host} refused the login with {offered}{said}",
        hint="the key is not the right one (`key` of the cluster, IdentityFile in ~/.ssh/config), "
        f"or the account is locked or has expired; it takes: {', '.join(sorted(allowed))}. "
        f"`ssh -v {host.name}` tells more",
    )
