"""Talk with the program that serves on the remote: send it there, ask it, read what it answers."""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Protocol

from penstock.errors import TransportError
from penstock.transport.local import FORCED, KEPT

# What is sent, in this order. The packages themselves stay empty.
SOURCES = (
    "failpoint.py", "wire/place.py", "transport/files.py", "transport/programs.py",
    "transport/remote.py",
)  # fmt: skip
PACKAGES = ("penstock", "penstock.wire", "penstock.transport")
# The only text that a login shell reads, in single quotes: it means the same to sh, csh, fish. sh
# replaces nothing but $0; the rest comes as data on stdin, once a mark was seen.
COMMAND = "/bin/sh -c 'exec {python} -u -c \"import sys;i=sys.stdin.buffer;{first}\"'"
FIRST = "exec(i.read(int(i.readline())))"
BOOT = """
if sys.version_info < (3, 6):
    sys.stdout.write("%s old %s\\n" % (MARK, sys.version.split()[0]))
    sys.exit(0)
import types
def module(name, text):
    made = types.ModuleType(name)
    sys.modules[name] = made
    if name in PACKAGES:
        made.__path__ = []
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, made)
    exec(compile(text, "<%s>" % name, "exec"), made.__dict__)
for name, text in SOURCES:
    module(name, text)
sys.modules["penstock.transport.remote"].serve(BEGIN)
"""
PLAIN = re.compile(r"~?[A-Za-z0-9_./+-]+")
NOISE_BYTES = 1 << 20  # more than any greeting
START_S = 60.0

Said = dict[str, Any]


class Stream(Protocol):
    """Bytes to and from the remote; TimeoutError where none come in time, empty at the end."""

    def sendall(self, data: bytes, /) -> None: ...  # noqa: D102
    def recv(self, size: int, /) -> bytes: ...  # noqa: D102
    def settimeout(self, seconds: float, /) -> None: ...  # noqa: D102


class Gone(EOFError):
    """The stream ended; ``noise`` is what was said before."""

    def __init__(self, noise: bytes) -> None:
        super().__init__("the connection was closed")
        self.noise = noise


class Silence(TransportError):
    """The remote shell printed things, but our program did not begin."""


class Agent:
    """Ask the program that serves at the other end of a stream, one thing at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = b""
        self.hello: Said = {}

    def begin(
        self,
        *,
        path: Sequence[str],
        is_login: bool,
        login: Mapping[str, str],
        timeout_s: float = START_S,
    ) -> Said:
        """Send the program, and return what it says first. Raises Gone, OSError, or Silence."""
        mark = f"penstock-{secrets.token_hex(16)}"
        begin = {
            "mark": mark,
            "kept": sorted(KEPT),
            "forced": FORCED,
            "path": path,
            "is_login": is_login,
            "login": dict(login),
        }
        text = boot(mark, begin).encode()
        self._stream.settimeout(timeout_s)
        try:
            self._stream.sendall(b"%d\n%s" % (len(text), text))
        except TimeoutError:
            raise
        except OSError:
            pass  # what should read it has ended already: what it printed tells why
        line = self._until_marked(mark.encode())
        if b" old " in line and not line.startswith(b"{"):
            version = line.rpartition(b" ")[2].decode(errors="replace").strip()
            raise Silence(
                f"its Python is {version}: 3.6 or later is needed",
                hint="name another in the settings of this cluster, such as "
                '`python = "/usr/bin/python3.9"`',
            )
        self.hello = json.loads(line)
        return self.hello

    def _until_marked(self, mark: bytes) -> bytes:
        """Return the line with the mark, and drop what came before: greetings, a noisy .bashrc."""
        while True:
            while b"\n" not in self._left:
                self._more()
                if len(self._left) > NOISE_BYTES:
                    raise Gone(self._left)
            at = self._left.find(mark)
            end = self._left.find(b"\n", at)
            if at >= 0 and end >= 0:
                start = self._left.rfind(b'{"mark"', 0, at)
                line = self._left[start if start >= 0 else at : end]
                self._left = self._left[end + 1 :]
                return line
            if len(self._left) > NOISE_BYTES:
                raise Gone(self._left)
            self._more()

    def ask(self, said: Said, body: bytes, timeout_s: float) -> tuple[Said, bytes]:
        """Return an answer. Raises Gone or OSError (TimeoutError among them)."""
        self._stream.settimeout(timeout_s)
        self._stream.sendall(json.dumps({**said, "size": len(body)}).encode() + b"\n" + body)
        while b"\n" not in self._left:
            self._more()
        line, _, self._left = self._left.partition(b"\n")
        answer: Said = json.loads(line)
        pieces, missing = [self._left[: answer["size"]]], answer["size"] - len(self._left)
        self._left = self._left[answer["size"] :]
        while missing > 0:
            piece = self._stream.recv(min(missing, 1 << 18))
            if not piece:
                raise Gone(b"")
            pieces.append(piece)
            missing -= len(piece)
        return answer, b"".join(pieces)

    def _more(self) -> None:
        piece = self._stream.recv(1 << 16)
        if not piece:
            raise Gone(self._left)
        self._left += piece


def command(python: str) -> str:
    """Return the command that a login shell is given, whichever shell that is.

    Raises TransportError for a path that would not mean the same to all of them.
    """
    if not PLAIN.fullmatch(python):
        raise TransportError(
            f"`python` of a cluster cannot be {python!r}",
            hint="a path of letters, digits and ._+-/ is safe whatever the login shell is",
        )
    home = '"$HOME"' if python.startswith("~/") else ""
    return COMMAND.format(python=home + python.removeprefix("~"), first=FIRST)


def boot(mark: str, begin: Mapping[str, object]) -> str:
    """Return the program that the remote's Python runs."""
    package = files("penstock")
    sources = [(name, "") for name in PACKAGES]
    for name in SOURCES:
        module = f"penstock.{name.removesuffix('.py').replace('/', '.')}"
        sources.append((module, (package / name).read_text(encoding="utf-8")))
    head = f"import sys\nMARK={mark!r}\nPACKAGES={PACKAGES!r}\nBEGIN={dict(begin)!r}\n"
    return f"{head}SOURCES={sources!r}\n{BOOT}"
