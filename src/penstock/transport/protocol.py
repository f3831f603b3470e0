"""The seam to where the scheduler's commands run and the shared files lie."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.errors import TransportError

MOST_BYTES = 1 << 26  # of the spools of one array that are told at a time


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


@dataclass(frozen=True)
class Gathered:
    """What was told of an array's folder, and whether it was folded; or why one of them was not."""

    folder: str
    tails: list[Tail]
    is_folded: bool = False
    error: TransportError | None = None


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

    def gather(self, wanted: Wanted, over: Container[str] = frozenset()) -> Iterable[Gathered]:
        """Yield the tails of several folders: from a machine that is far, by one command.

        A folder that cannot be read keeps back no other. What is too much comes the next time.

        Arrays that are ``over`` are folded: the manifest is taken away, so that nothing starts from
        them any more, then the tails are read, and if those were all, one file is made of the
        spools and one of the logs. Again is no error, and tells what was folded before it was read.
        """

    def logs(self, folder: str, index: int, known: Mapping[int, int]) -> list[tuple[int, bytes]]:
        """Return restarts of an element, in order, with what their logs have beyond the offsets.

        Also of those that gained nothing, and of an array that was folded.
        """


class Files(Protocol):
    """Folders of arrays where a question costs nothing beside its answer."""

    def tails(  # noqa: D102  as a transport's
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]: ...

    def close(self, folder: str) -> None:
        """Take the manifest of an array away."""

    def fold(self, folder: str) -> None:
        """Make one file of the spools of a closed array, and one of its logs; again is no error."""


def one_by_one(files: Files, wanted: Wanted, over: Container[str]) -> Iterator[Gathered]:
    """Gather folder by folder, and fold what is over."""
    for folder, known in wanted:
        tails: list[Tail] = []
        is_over = folder in over
        try:
            if is_over:
                files.close(folder)
            tails.extend(files.tails(folder, known, at_most=MOST_BYTES))
            is_over = is_over and sum(len(tail.data) for tail in tails) < MOST_BYTES
            if is_over:
                files.fold(folder)
        except TransportError as error:
            yield Gathered(folder, tails, error=error)
        else:
            yield Gathered(folder, tails, is_folded=is_over)
