"""Files of the machine that this runs on: write, read, follow, fold.

Python 3.6 and the standard library: it is sent to remote machines too. Raises OSError.
"""

import contextlib
import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from penstock import failpoint
from penstock.wire import place

SPOOL = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(open|done)")
LOG = re.compile(r"([0-9]+)\.([0-9]+)\.log")
# A file that cannot be read at this moment says nothing; it is looked at again.
PASSING = frozenset([errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ESTALE])

Known = Mapping[Tuple[int, int], int]
Tail = Tuple[int, int, int, bytes, bool]  # index, restart, offset, data, is done


class Damaged(OSError):
    """A zip that is none; its second argument says which and why."""


def put(path: str, data: bytes, mode: int) -> None:
    """Write a file aside, then give it its name; safe on the disk before this returns."""
    folder, name = os.path.split(path)
    aside = os.path.join(folder, ".{}.{}.tmp".format(name, os.urandom(6).hex()))
    os.makedirs(folder, exist_ok=True)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(aside, flags, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync(folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def get(path: str, offset: int = 0, size: int = -1) -> bytes:
    """Return bytes of a file."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def digest(path: str) -> "Optional[str]":
    """Return the SHA-256 of a file, None where there is none."""
    hashed = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                hashed.update(block)
    except FileNotFoundError:
        return None
    return hashed.hexdigest()


# --- spools


def tails(folder: str, known: "Known", at_most: int) -> "Iterator[Tail]":
    """Yield what the spools have beyond the known offsets, at most so many bytes in all.

    A spool that is done and was read is skipped by its name alone. Of an array that was folded
    the spools are in one file: a store that was put back from a backup has not read them.
    """
    left = at_most
    for one in _folded(os.path.join(folder, place.SPOOLS_FOLDED), known, at_most):
        yield one
        left -= len(one[3])
    for shard in _shards(os.path.join(folder, place.SPOOLS)):
        for index, restart, path in _spools(shard):
            offset = known.get((index, restart), 0)
            if offset < 0:
                continue
            tail = _tail(path, index, restart, offset, left)
            if tail is not None:
                yield tail
                left -= len(tail[3])
            if left <= 0:
                return


def _shards(spools: str) -> "Iterator[str]":
    """Yield the shards, in order. None where the array has not begun."""
    try:
        names = [entry.name for entry in os.scandir(spools) if entry.name.isdecimal()]
    except FileNotFoundError:
        return
    for name in sorted(names, key=int):
        yield os.path.join(spools, name)


def _folded(path: str, known: "Known", at_most: int) -> "Iterator[Tail]":
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
                    yield index, restart, offset, data, is_done and is_whole
                at_most -= len(data)
    except FileNotFoundError:
        return
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(errno.EIO, str(error), path) from error


def _members(archive: zipfile.ZipFile) -> "Dict[Tuple[int, int], zipfile.ZipInfo]":
    """Return the spools of a folded array by index and restart."""
    found = {}  # type: Dict[Tuple[int, int], zipfile.ZipInfo]
    for member in sorted(archive.infolist(), key=lambda one: one.filename):  # done before open
        match = SPOOL.fullmatch(member.filename.rpartition("/")[2])
        if match is not None:
            found.setdefault((int(match.group(1)), int(match.group(2))), member)
    return found


def _spools(shard: str) -> "List[Tuple[int, int, str]]":
    """Return index, restart and path of the spools that belong in a shard; names may lie."""
    found = {}  # type: Dict[Tuple[int, int], str]
    try:
        names = sorted(entry.name for entry in os.scandir(shard))  # done stands before open
    except OSError as error:
        if error.errno in PASSING or isinstance(error, NotADirectoryError):
            return []
        raise
    for name in names:
        match = SPOOL.fullmatch(name)
        if match is None:
            continue
        index, restart = int(match.group(1)), int(match.group(2))
        if str(index // place.SHARD) == os.path.basename(shard):
            found.setdefault((index, restart), os.path.join(shard, name))
    return [(index, restart, found[index, restart]) for index, restart in sorted(found)]


def _tail(path: str, index: int, restart: int, offset: int, at_most: int) -> "Optional[Tail]":
    is_done = path.endswith(".done")
    try:
        if not is_done and os.lstat(path).st_size <= offset:
            return None
        size, data = _read(path, offset, at_most)
    except OSError as error:
        if error.errno in PASSING:
            return None
        raise
    is_whole = offset + len(data) >= size
    if size < 0 or not (data or (is_done and is_whole)):
        return None
    return index, restart, offset, data, is_done and is_whole


def _read(path: str, offset: int, at_most: int) -> "Tuple[int, bytes]":
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


# --- folding


def close(folder: str) -> None:
    """Take the manifest away from runners that may still come."""
    try:
        os.rename(os.path.join(folder, place.MANIFEST), os.path.join(folder, place.MANIFEST_ENDED))
    except FileNotFoundError:
        return
    failpoint.hit("fold.closed")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, place.OVER))


def fold(folder: str) -> None:
    """Make one file of the spools of an array, and one of its logs."""
    for source, target in ((place.SPOOLS, place.SPOOLS_FOLDED), (place.LOGS, place.LOGS_FOLDED)):
        pack(os.path.join(folder, source), os.path.join(folder, target))


def pack(source: str, target: str) -> None:
    """Make a zip of a folder, whole or not at all, then remove the folder.

    What a zip of an earlier time has, and the folder has not, is kept: an array is folded again
    where a kill came between, or where a store of before it was put back. Two may do this at once:
    a program whose connection was cut goes on beside the one that does it again. Each writes a
    file of its own, and takes those of others away: whoever lost its file fails, and removes
    nothing.
    """
    if not os.path.isdir(source):
        return
    stem = os.path.splitext(target)[0]
    aside = "{}.{}.tmp".format(stem, os.urandom(6).hex())
    with open(aside, "xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(_files(source)):
                if not path.endswith(".claim"):
                    archive.write(path, os.path.relpath(path, source))
            _keep(archive, target)
        file.flush()
        os.fsync(file.fileno())
    failpoint.hit("fold.written")
    os.rename(aside, target)
    failpoint.hit("fold.packed")
    for left in glob.glob("{}.*tmp".format(glob.escape(stem))):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left)
    shutil.rmtree(source)


def _files(folder: str) -> "Iterator[str]":
    for above, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(above, name)


def _keep(archive: zipfile.ZipFile, earlier: str) -> None:
    if not os.path.exists(earlier):
        return
    new = set(archive.namelist())
    try:
        with zipfile.ZipFile(earlier) as old:
            for name in old.namelist():
                if name not in new:
                    archive.writestr(old.getinfo(name), old.read(name), zipfile.ZIP_DEFLATED)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(errno.EIO, str(error), earlier) from error


# --- logs


def logs(folder: str, index: int, known: "Mapping[int, int]") -> "Iterator[Tuple[int, bytes]]":
    """Yield restart and what its log has beyond the known offset, in order, also of nothing.

    They are files while the array lives, and in a zip once it was folded.
    """
    shard = os.path.dirname(os.path.join(folder, place.log(index, 0)))
    try:
        found = [
            (restart, get(os.path.join(folder, place.log(index, restart)), known.get(restart, 0)))
            for restart in _restarts(os.listdir(shard), index)
        ]
    except (FileNotFoundError, NotADirectoryError):  # it may be folded just now
        found = []
    yield from found or _folded_logs(os.path.join(folder, place.LOGS_FOLDED), index, known)


def _restarts(names: "List[str]", index: int) -> "List[int]":
    found = [LOG.fullmatch(name) for name in names]
    return sorted(int(one.group(2)) for one in found if one and int(one.group(1)) == index)


def _folded_logs(
    path: str, index: int, known: "Mapping[int, int]"
) -> "Iterator[Tuple[int, bytes]]":
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
            for restart in _restarts(names, index):
                name = place.log(index, restart)[len(place.LOGS) + 1 :]
                yield restart, archive.read(name)[known.get(restart, 0) :]
    except FileNotFoundError:
        return
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged(errno.EIO, str(error), path) from error
