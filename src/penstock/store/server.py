"""A connection to a server of PostgreSQL, whose waits can be ended whatever the server does.

One that is frozen (its processes are stopped, its disk hangs) has a kernel that still acknowledges
what is sent to it: neither keepalives nor ``tcp_user_timeout`` end a wait for such a server.
"""

import contextlib
import os
import socket
import threading
import time
import weakref
from typing import Any

import psycopg
from psycopg import waiting

CANCEL_S = 2.0  # to ask a server to end a statement; one that is frozen does not
_INTERVAL_S = 0.1  # after which a signal is noticed


class Raw(psycopg.Connection[Any]):
    """psycopg's connection; it ends with the thread that it was of."""

    waits_since: float | None = None  # by the monotonic clock; None: nobody waits for the server

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Wait for the server. Ctrl-C ends that for good: the connection is closed then.

        psycopg's own would wait for the server to say that it has heard of it.
        """
        self.waits_since = time.monotonic()
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=_INTERVAL_S)
        except KeyboardInterrupt:
            try:
                if psycopg.capabilities.has_cancel_safe():  # else it would have no time-out
                    with contextlib.suppress(Exception):
                        self.cancel_safe(timeout=CANCEL_S)
            finally:
                self.pgconn.finish()
            raise
        finally:
            self.waits_since = None

    def cut(self) -> None:
        """End a wait of another thread: to it the server has closed the connection."""
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.pgconn.socket)) as same,
        ):
            same.shutdown(socket.SHUT_RDWR)

    def __del__(self, *_: Any) -> None:
        """Say nothing: libpq's own part closes itself, in the process that made it."""


class Open:
    """The connections of a process to a server, by all of its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[Raw] = weakref.WeakSet()

    def add(self, raw: Raw) -> None:
        """Note a connection, until it is forgotten."""
        with self._lock:
            self._all.add(raw)

    def cut(self, after_s: float) -> bool:
        """Cut those that have waited for so long; return whether there were any."""
        with self._lock:
            every = list(self._all)
        since = time.monotonic() - after_s
        late = [raw for raw in every if raw.waits_since is not None and raw.waits_since <= since]
        for raw in late:
            raw.cut()
        return bool(late)
