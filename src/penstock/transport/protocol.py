"""The seam to where the scheduler's commands run and the shared files lie."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Tail:
    """What a spool has that its reader has not: ``data`` begins at ``offset``."""

    index: int
    restart: int
    offset: int
    data: bytes
    is_done: bool  # the file is closed: no more will come


class Transport(Protocol):
    """Run a command, move a file, read what was appended. Raises TransportError."""

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Run a program, found on PATH, without a shell, with an environment that is allow-listed.

        An exit code other than 0 is an answer, not an error. TransportError: it could not be run
        (``FileNotFoundError`` is its cause then) or did not end in time (``TimeoutError``).
        """

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, whole or not at all (aside, fsync, rename), and the folders above it."""

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file. Raises NotFoundError where there is none."""

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]:
        """Yield what the spools of an array's folder have beyond the known offsets.

        ``known`` maps (index, restart) to the offset; -1 says that it was read to its end and is
        done. A file that is done and has nothing new is yielded once, with no data.
        """
