"""Unpack a code archive once on a node, and copy it into the working folder of each run.

<own>/code/<digest>/tree/     the files
<own>/code/<digest>/complete  how many, and how many bytes; its time is when it was last used
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from penstock import failpoint
from penstock.runner.scratch import remove
from penstock.runner.trouble import Trouble, words
from penstock.wire.listing import Listing

MYPY = False  # typing takes time to import
if MYPY:
    import tarfile

KEEP_S = 7 * 86400.0  # code that nobody used for so long is removed


def copy(archive: str, digest: str, own: str, work: str) -> None:
    """Make the working folder with the files of an archive in it. Raises Trouble, OSError."""
    cache = os.path.join(own, "code")
    place = os.path.join(cache, digest)
    os.makedirs(cache, exist_ok=True)
    for is_last in (False, True):
        with _one_at_a_time(cache):
            if not os.path.exists(os.path.join(place, "complete")):
                _unpack(archive, digest, place)
        if _copy(place, work):
            return
        # Something removes old files of scratch folders, one by one.
        remove(work)
        with _one_at_a_time(cache):
            _put_away(place)
        if is_last:
            raise Trouble("%s is incomplete: something takes its files away" % place)


@contextlib.contextmanager
def _one_at_a_time(folder: str) -> "Iterator[None]":
    file = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # without locks more is done than must be, nothing wrong
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _unpack(archive: str, digest: str, place: str) -> None:
    aside = "%s.%s.%d.tmp" % (place, os.uname().nodename, os.getpid())
    remove(aside)
    try:
        os.makedirs(os.path.join(aside, "tree"))
        listing = extract(archive, os.path.join(aside, "tree"))
        if listing.digest() != digest:
            raise Trouble(
                "the code archive %s is damaged: its files are not those of its name. "
                "Remove it and submit again" % archive
            )
        with open(os.path.join(aside, "complete"), "w") as file:
            file.write("%d %d\n" % (len(listing), listing.size))
        failpoint.hit("runner.code.unpacked")
        with contextlib.suppress(OSError):  # a runner without locks was quicker
            os.rename(aside, place)
    finally:
        remove(aside)
    failpoint.hit("runner.code.cached")


def extract(archive: str, tree: str) -> Listing:
    """Unpack an archive below a folder, and nothing anywhere else; return what it held."""
    import tarfile  # noqa: PLC0415  it takes time, and once on a node is enough

    listing = Listing()
    links = []
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = _inside(member.name)
                if member.isdir():
                    os.makedirs(os.path.join(tree, path), exist_ok=True)
                elif member.isreg():
                    _file(tar, member, tree, listing)
                elif member.issym():
                    links.append((path, member.linkname))
                else:
                    raise Trouble("%s in %s is no file" % (member.name, archive))
    except FileNotFoundError:
        raise Trouble("the code archive %s is gone: submit again" % archive) from None
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Trouble("the code archive %s cannot be read: %s" % (archive, error)) from None
    _links(links, tree, listing)
    return listing


def _inside(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/") or not name:
        raise Trouble("%r in the code archive would leave its folder" % name)
    return name


def _file(tar: "tarfile.TarFile", member: "tarfile.TarInfo", tree: str, listing: Listing) -> None:
    import hashlib  # noqa: PLC0415  as above

    is_program = bool(member.mode & 0o100)
    path = os.path.join(tree, member.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    source = tar.extractfile(member)
    assert source is not None  # it is a regular file
    digest = hashlib.sha256()
    with open(os.open(path, flags, 0o777 if is_program else 0o666), "wb") as target:
        while True:
            data = source.read(1 << 20)
            if not data:
                break
            digest.update(data)
            target.write(data)
    listing.file(member.name, digest.hexdigest(), member.size, is_program)


def _links(links: "list[tuple[str, str]]", tree: str, listing: Listing) -> None:
    """Make the links when all files are there, so that no file is written through one."""
    for path, target in links:
        where = os.path.join(tree, path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        os.symlink(target, where)
        listing.link(path, target)
    top = os.path.realpath(tree)
    for path, target in links:
        end = os.path.realpath(os.path.join(tree, path))
        if os.path.isabs(target) or not (end + "/").startswith(top + "/"):
            raise Trouble("the link %s in the code archive leaves its folder" % path)


def _copy(place: str, work: str) -> bool:
    """Copy the files; say whether all were there."""
    import shutil  # noqa: PLC0415  as above

    complete = os.path.join(place, "complete")
    try:
        with open(complete) as file:
            count, size = (int(word) for word in file.read().split())
        os.utime(complete)
        shutil.copytree(os.path.join(place, "tree"), work, symlinks=True)
    except (shutil.Error, FileNotFoundError, ValueError):
        full = _free_bytes(os.path.dirname(work)) < 1 << 20
        if full:
            raise Trouble("no space left in the scratch folder %s" % work) from None
        return False
    found = _count(work)
    return found == (count, size)


def _free_bytes(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _count(folder: str) -> "tuple[int, int]":
    count = size = 0
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            inner = _count(entry.path)
            count, size = count + inner[0], size + inner[1]
        else:
            count += 1
            size += 0 if entry.is_symlink() else entry.stat().st_size
    return count, size


def _put_away(place: str) -> None:
    """Take a tree out of the cache in one step, then remove it."""
    away = "%s.%s.%d.old" % (place, os.uname().nodename, os.getpid())
    with contextlib.suppress(OSError):
        os.rename(place, away)
    remove(away)


def clean(own: str) -> None:
    """Remove code that nobody has used for days, and what was never finished."""
    cache = os.path.join(own, "code")
    try:
        names = os.listdir(cache)
    except OSError:
        return
    for name in names:
        path = os.path.join(cache, name)
        if name != "lock" and time.time() - _used_at(path) > KEEP_S:
            _put_away(path)


def _used_at(path: str) -> float:
    for file in (os.path.join(path, "complete"), path):
        try:
            return os.stat(file).st_mtime
        except OSError:
            continue
    return time.time()


def describe(error: OSError) -> Trouble:
    """Return the trouble that an error of the file system is."""
    return Trouble("the working folder could not be made: %s" % words(error))
