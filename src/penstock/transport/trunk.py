"""The trunk to a host: one connection that comes back by itself, for all programs that serve there.

Programs differ by their Python and by what they find on PATH, and each has a channel of its own.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from penstock import failpoint
from penstock.errors import Unreachable
from penstock.transport import login
from penstock.transport.cooldown import Cooldown, record_path
from penstock.transport.host import Host
from penstock.transport.library import paramiko

COUNTED_BYTES = 1 << 18
BROKEN = (OSError, EOFError, paramiko.SSHException, ValueError)

Begun = TypeVar("Begun")


class Trunk:
    """Have a connection to a host, from when it is needed first."""

    def __init__(
        self,
        host: Host,
        state: Path,
        *,
        ask: login.Asker | None = None,
        hop: login.Through | None = None,
    ) -> None:
        """``state`` is a folder of this machine that all processes of the user share.

        ``hop`` is the way through the host's jump hosts; else they are logged in to from here.
        """
        self._hop = hop
        self.host, self._folder, self._ask_user = host, state, ask
        self.state = state / str(host).replace("/", "_")
        self._lock = threading.RLock()
        self._connection: login.Connection | None = None
        self._heard_at = 0.0

    @property
    def was_asked(self) -> bool:
        """Return whether somebody typed something for this connection."""
        return self._connection is not None and self._connection.was_asked

    @property
    def is_open(self) -> bool:
        """Return whether there is a connection that was not closed, as far as is known."""
        return self._connection is not None and self._connection.is_open

    def leave_terminal(self) -> None:
        """Ask nobody any more: whoever could answer has gone on."""
        if self._hop is not None:
            self._hop.leave_terminal()
        self._ask_user = None

    def connection(self, timeout_s: float) -> login.Connection:
        """Return the connection; one at a time makes it where there is none."""
        with self._lock:
            if self._connection is None or not self._connection.is_open:
                self.close()
                self._connection = self._connect(timeout_s)
            return self._connection

    def begin(self, begin: Callable[[login.Connection], Begun], timeout_s: float) -> Begun:
        """Begin something on the connection: on a new one where that was cut, which is seen then.

        What fails on a connection that stays, which others use, or on a new one, is raised.
        """
        for is_last in (not self.is_open, True):
            connection = self.connection(timeout_s)
            try:
                return begin(connection)
            except (Unreachable, *BROKEN):
                if is_last or connection.is_open:
                    raise
        raise AssertionError

    def channel(self, to: tuple[str, int], timeout_s: float) -> Any:
        """Return a channel to a place that the host can reach."""
        return self.begin(lambda connection: connection.forward(to, timeout_s), timeout_s)

    def hear(self) -> None:
        """Note that the host has just said something."""
        self._heard_at = time.monotonic()

    def give_up(self, connection: login.Connection, since: float) -> None:
        """Close a connection that was silent since then, unless others heard of it meanwhile.

        What does not answer then is a program, not the host: others go on.
        """
        with self._lock:
            if connection.is_open and self._heard_at > since:
                return
            if connection is self._connection:
                self._connection = None
        with contextlib.suppress(*BROKEN):
            connection.close()

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._connection is not None:
                self.give_up(self._connection, time.monotonic())

    def count(self, what: str) -> None:
        """Note a connection, or a remote command: a line of a small file for each."""
        path = self.state.with_name(self.state.name + ".asked")
        with contextlib.suppress(OSError):  # a count is not worth a failure
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists() and path.stat().st_size > COUNTED_BYTES:
                path.replace(path.with_name(path.name + ".1"))
            with path.open("a") as file:
                file.write(f"{time.time():.3f} {what}\n")

    def _connect(self, timeout_s: float) -> login.Connection:
        is_attended = self._ask_user is not None
        for one in self.host.chain:  # or a jump host hears of each try that will come to nothing
            self._cooldown(one).check(str(one), is_attended=is_attended)
        if self._hop is not None:
            self._hop.login(timeout_s)
        self.count("connect")
        made = login.connect(
            self.host,
            ask=self._ask_user,
            timeout_s=timeout_s,
            trying=lambda one: self._cooldown(one).trying(str(one), is_attended=is_attended),
            through=self._hop,
        )
        failpoint.hit("ssh.connected")
        return made

    def _cooldown(self, host: Host) -> Cooldown:
        return Cooldown(record_path(self._folder, str(host)))
