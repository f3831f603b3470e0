"""A ProxyCommand: a program that is the way to a host, on its stdin and stdout.

It is started without a shell, as paramiko does; with a socket, so that waiting for it has an end.
"""

import contextlib
import os
import shlex
import socket
import subprocess
import tempfile

from penstock.errors import SettingsError

SHELLS_OWN = frozenset("|&;<>()$`*?[")
AFTER_TERM_S = 2
SAID_BYTES = 300


def words(name: str, command: str) -> tuple[str, ...]:
    """Return the words of a ProxyCommand. Raises SettingsError for one that needs a shell."""
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise SettingsError(
            f"the ProxyCommand of {name} in ~/.ssh/config cannot be read: {error}", hint="mend it"
        ) from error
    if found[:1] == ["exec"]:
        del found[0]
    if not found or any(set(word) & SHELLS_OWN for word in found):
        raise SettingsError(
            f"the ProxyCommand of {name} in ~/.ssh/config needs a shell, and is run without one: "
            f"{command}",
            hint="put it into a script, and name that with %h, %p and %r; or use ProxyJump",
        )
    return tuple(found)


class Proxy:
    """A ProxyCommand that was started. Raises OSError where it can't be."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self._name = argv[0]
        self.socket, other = socket.socketpair()
        self._err = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        try:
            with other:
                self._process = subprocess.Popen(
                    argv,
                    stdin=other.fileno(),
                    stdout=other.fileno(),
                    stderr=self._err,
                    start_new_session=True,  # Ctrl-C is for us
                )
        except OSError:
            self.socket.close()
            self._err.close()
            raise

    def said(self) -> str:
        """Return what it printed on stderr, the end of it, and how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        size = os.fstat(self._err.fileno()).st_size
        text = os.pread(self._err.fileno(), SAID_BYTES, max(0, size - SAID_BYTES))
        code = self._process.poll()
        end = "" if code is None else f" (it ended with {code})"
        return f"its ProxyCommand {self._name} says: {text.decode(errors='replace').strip()}{end}"

    def close(self) -> None:
        """End it."""
        self.socket.close()
        self._process.terminate()
        try:
            self._process.wait(AFTER_TERM_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._err.close()
