"""Commands and files of this machine."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from penstock.errors import NotFoundError, TransportError
from penstock.transport import files, programs
from penstock.transport.protocol import Finished, Gathered, Tail, Wanted, one_by_one

# What a command may know of its caller. Of Slurm's variables only where its configuration is:
# SQUEUE_STATES empties an answer, SLURM_ARRAY_TASK_ID reaches the jobs of an sbatch inside a job.
# What sbatch is given here, the job gets too.
KEPT = frozenset(
    {
        "HOME", "KRB5CCNAME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH",
        "SHELL", "SLURM_CONF", "TZ", "USER",
    }
)  # fmt: skip
# Lists of array indices whole (they are cut at 64 bytes otherwise), times with their offset from
# UTC (a local time is two times when clocks are set back).
FORCED = {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%Y-%m-%dT%H:%M:%S%z"}

HINTS = {
    errno.ENOSPC: "the disk is full: free some space and try again",
    errno.EDQUOT: "your quota is used up: free some space and try again",
    errno.EROFS: "the file system is read-only: choose another folder as `home`",
    errno.EACCES: "look at the permissions of the folders above it",
}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a command is told of an environment."""
    return {key: value for key, value in environment.items() if key in KEPT} | FORCED


class LocalTransport:
    """Run commands on this machine, and see its files."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = scrubbed(os.environ if environment is None else environment)

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Run a program without a shell; at the time-out its process group is killed."""
        try:
            process = programs.begin(argv, self._environment)
            ended = programs.finish(process, stdin, timeout_s)
        except (OSError, subprocess.TimeoutExpired) as error:
            found = _unended(argv[0], error)
            raise found from found.__cause__
        return finished(*ended)

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        """Run several programs at once; an error is what became of one of them."""
        told = programs.together(list(argvs), self._environment, timeout_s)
        return [
            _unended(argv[0], one) if isinstance(one, Exception) else finished(*one)
            for argv, one in zip(argvs, told, strict=True)
        ]

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file aside, then give it its name; safe on the disk before this returns."""
        with _told(path, "written"):
            files.put(path, data, mode)

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file."""
        try:
            with _told(path, "read"):
                return files.get(path, offset, size)
        except TransportError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise NotFoundError(f"there is no file {path}") from error
            raise

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file, None where there is none."""
        with _told(path, "read"):
            return files.digest(path)

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]:
        """Yield what the spools have beyond the known offsets, at most so many bytes in all."""
        with _told(folder, "read"):
            for one in files.tails(folder, known, at_most):
                yield Tail(*one)

    def gather(self, wanted: Wanted, over: Container[str] = frozenset()) -> Iterable[Gathered]:
        """Yield folder by folder what spools have beyond the known offsets; fold what is over."""
        return one_by_one(self, wanted, over)

    def logs(self, folder: str, index: int, known: Mapping[int, int]) -> list[tuple[int, bytes]]:
        """Return restarts of an element with what their logs have beyond the known offsets."""
        with _told(folder, "read"):
            return list(files.logs(folder, index, known))

    def close(self, folder: str) -> None:
        """Take the manifest of an array away, so that nothing can start from it."""
        with _told(folder, "folded"):
            files.close(folder)

    def fold(self, folder: str) -> None:
        """Make one file of the spools of an array, and one of its logs."""
        with _told(folder, "folded"):
            files.fold(folder)


def finished(code: int, out: bytes, err: bytes) -> Finished:
    """Return what a command left behind, as text."""
    return Finished(code, out.decode(errors="replace"), err.decode(errors="replace"))


def _unended(name: str, error: Exception) -> TransportError:
    """Return the error for a program that could not be run, or did not end in time."""
    if isinstance(error, subprocess.TimeoutExpired):
        found = TransportError(
            f"{name} did not end within {error.timeout:g} s and was killed",
            hint="the machine or the scheduler is slow or does not answer: try again later",
        )
        found.__cause__ = TimeoutError(f"{error.timeout:g} s")
        return found
    found = TransportError(f"{name} cannot be run: {getattr(error, 'strerror', error)}")
    found.__cause__ = error
    return found


@contextlib.contextmanager
def _told(path: str, done: str) -> Iterator[None]:
    """Turn an OSError into a TransportError."""
    try:
        yield
    except OSError as error:
        raise unmoved(path, done, error) from error


def unmoved(path: str, done: str, error: OSError) -> TransportError:
    """Return the error for a file that could not be read, written or listed."""
    if isinstance(error, files.Damaged):
        what = f"{error.filename} cannot be read: {error.strerror}"
        return TransportError(what, hint="was it copied in part? put it back whole")
    hint = HINTS.get(error.errno or 0, "")
    path = str(error.filename or path) if done != "written" else path
    return TransportError(f"{path} cannot be {done}: {error.strerror}", hint=hint)
