"""Commands and files of this machine."""

import contextlib
import errno
import os
import re
import secrets
import signal
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from penstock.errors import NotFoundError, TransportError
from penstock.transport.protocol import Finished, Tail
from penstock.wire import place

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

SPOOL = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(open|done)")
AFTER_KILL_S = 5  # what a killed command may leave in its pipes is waited for no longer
# A file that cannot be read at this moment says nothing; it is looked at again.
PASSING = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ESTALE})
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
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for us, and a time-out for all it started
            )
        except OSError as error:
            raise TransportError(f"{argv[0]} cannot be run: {error.strerror}") from error
        with process:
            return self._wait(process, argv[0], stdin, timeout_s)

    def _wait(
        self, process: subprocess.Popen[bytes], name: str, stdin: bytes, timeout_s: float
    ) -> Finished:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            cause = TimeoutError(f"{timeout_s:g} s")
            raise TransportError(
                f"{name} did not end within {timeout_s:g} s and was killed",
                hint="the machine or the scheduler is slow or does not answer: try again later",
            ) from cause
        except BaseException:
            _kill(process)
            raise
        return Finished(
            process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file aside, then give it its name; safe on the disk before this returns."""
        target = Path(path)
        aside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(aside, data, mode)
            aside.replace(target)
            _sync(target.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise _unmoved(path, "written", error) from error

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file."""
        try:
            with Path(path).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {path}") from error
        except OSError as error:
            raise _unmoved(path, "read", error) from error

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]:
        """Yield what the spools have beyond the known offsets, at most so many bytes in all.

        A spool that is done and was read is skipped by its name alone. Of an array that was folded
        the spools are in one file: a store that was put back from a backup has not read them.
        """
        left = at_most
        for one in _folded(Path(folder) / place.SPOOLS_FOLDED, known, at_most):
            yield one
            left -= len(one.data)
        for shard in _folders(Path(folder) / place.SPOOLS):
            for index, restart, path in _spools(shard):
                offset = known.get((index, restart), 0)
                if offset < 0:
                    continue
                tail = _tail(path, index, restart, offset, left)
                if tail is not None:
                    yield tail
                    left -= len(tail.data)
                if left <= 0:
                    return


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command with all of its process group, and do not wait long for their output."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=AFTER_KILL_S)
    except (subprocess.TimeoutExpired, ValueError):  # a child in another session holds the pipes
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _write(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unmoved(path: str, done: str, error: OSError) -> TransportError:
    hint = HINTS.get(error.errno or 0, "")
    return TransportError(f"{path} cannot be {done}: {error.strerror}", hint=hint)


def _folders(spools: Path) -> Iterator[Path]:
    """Yield the shards, in order. None where the array has not begun."""
    try:
        names = [entry.name for entry in os.scandir(spools) if entry.name.isdecimal()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unmoved(str(spools), "listed", error) from error
    for name in sorted(names, key=int):
        yield spools / name


def _folded(path: Path, known: Mapping[tuple[int, int], int], at_most: int) -> Iterator[Tail]:
    """Yield what the spools of a folded array have beyond the known offsets."""
    try:
        with zipfile.ZipFile(path) as archive:
            for (index, restart), member in _members(archive).items():
                offset = known.get((index, restart), 0)
                is_done = member.filename.endswith(".done")
                if offset < 0 or not (is_done or member.file_size > offset):
                    continue
                data = archive.read(member)[offset:][: max(at_most, 0)]
                is_whole = offset + len(data) >= member.file_size
                if data or (is_done and is_whole):
                    yield Tail(index, restart, offset, data, is_done and is_whole)
                at_most -= len(data)
    except FileNotFoundError:
        return
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise TransportError(
            f"{path} cannot be read: {error}", hint="was it copied in part? put it back whole"
        ) from error


def _members(archive: zipfile.ZipFile) -> dict[tuple[int, int], zipfile.ZipInfo]:
    """Return the spools of a folded array by index and restart."""
    found: dict[tuple[int, int], zipfile.ZipInfo] = {}
    for member in sorted(archive.infolist(), key=lambda one: one.filename):  # done before open
        match = SPOOL.fullmatch(member.filename.rpartition("/")[2])
        if match is not None:
            found.setdefault((int(match[1]), int(match[2])), member)
    return found


def _spools(shard: Path) -> list[tuple[int, int, Path]]:
    """Return index, restart and path of the spools that belong in a shard; names may lie."""
    found: dict[tuple[int, int], Path] = {}
    try:
        names = sorted(entry.name for entry in os.scandir(shard))  # done stands before open
    except OSError as error:
        if error.errno in PASSING or isinstance(error, NotADirectoryError):
            return []
        raise _unmoved(str(shard), "listed", error) from error
    for name in names:
        match = SPOOL.fullmatch(name)
        if match is None:
            continue
        index, restart = int(match[1]), int(match[2])
        if str(index // place.SHARD) == shard.name:
            found.setdefault((index, restart), shard / name)
    return [(index, restart, found[index, restart]) for index, restart in sorted(found)]


def _tail(path: Path, index: int, restart: int, offset: int, at_most: int) -> Tail | None:
    is_done = path.name.endswith(".done")
    try:
        if not is_done and path.lstat().st_size <= offset:
            return None
        size, data = _read(path, offset, at_most)
    except OSError as error:
        if error.errno in PASSING:
            return None
        raise _unmoved(str(path), "read", error) from error
    is_whole = offset + len(data) >= size
    if size < 0 or not (data or (is_done and is_whole)):
        return None
    return Tail(index, restart, offset, data, is_done and is_whole)


def _read(path: Path, offset: int, at_most: int) -> tuple[int, bytes]:
    """Return the size of a spool, and bytes of it; size -1 for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return -1, b""
        wanted = max(min(status.st_size - offset, at_most), 0)
        return status.st_size, os.pread(descriptor, wanted, offset)
    finally:
        os.close(descriptor)
