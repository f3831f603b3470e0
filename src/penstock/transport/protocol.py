"""The seam to where the scheduler's commands run and the shared files lie."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.errors import TransportError


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


# Folders of arrays, and of each what is known: (index, restart) to the offset. May be lazy.
Wanted = Iterable[tuple[str, Mapping[tuple[int, int], int]]]


class Transport(Protocol):
    """Run a command, move a file, read what was appended.

    Raises TransportError. Of a machine that is far: Unreachable where surely nothing was done, Lost
    where that is not known.
    """

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Run a program, found on PATH, without a shell, with an environment that is allow-listed.

        An exit code other than 0 is an answer, not an error. TransportError: it could not be run
        (``FileNotFoundError`` is its cause then) or did not end in time (``TimeoutError``).
        """

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        """Run several programs that only tell; on a machine that is far, by one command.

        Return what became of each. They run at once, and again where their answers were lost.
        """

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, whole or not at all (aside, fsync, rename), and the folders above it."""

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file, None where there is none."""

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file. Raises NotFoundError where there is none."""

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]:
        """Yield what the spools of an array's folder have beyond the known offsets.

        ``known`` maps (index, restart) to the offset; -1 says that it was read to its end and is
        done. A file that is done and has nothing new is yielded once, with no data.
        """

    def gather(self, wanted: Wanted) -> Iterable[tuple[str, list[Tail] | TransportError]]:
        """Yield the tails of several folders: from a machine that is far, by one command.

        A folder that cannot be read keeps back no other. What is too much comes the next time.
        """

    def logs(self, folder: str, index: int, known: Mapping[int, int]) -> list[tuple[int, bytes]]:
        """Return restarts of an element, in order, with what their logs have beyond the offsets.

        Also of those that gained nothing, and of an array that was folded.
        """

    def close(self, folder: str) -> bool:
        """Take the manifest of an array away; return whether the array has a folder at all."""

    def fold(self, folder: str) -> None:
        """Make one file of the spools of a closed array, and one of its logs; again is no error."""


def one_by_one(
    transport: Transport, wanted: Wanted
) -> Iterator[tuple[str, list[Tail] | TransportError]]:
    """Gather folder by folder, where a question costs nothing beside its answer."""
    for folder, known in wanted:
        try:
            yield folder, list(transport.tails(folder, known))
        except TransportError as error:
            yield folder, error
