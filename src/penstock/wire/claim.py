r"""The claim: at most one job runs an element, and of that job only the highest restart.

The header (an ``open`` record) is written to a file of its own, which is linked to ``<i>.claim``
and then renamed to ``<i>.<restart>.open``. ``link()`` is the one call that is exclusive on every
file system. A claim is never freed: another job finds it and runs nothing. A higher restart of the
same job takes over: it links its own ``.open`` and then closes the spools of the lower ones by
renaming them to ``.done``. By that a runner that Slurm lost sight of, and that still runs, is
fenced: its own spool has no longer the name by which it would close it.

So: the highest restart rules; what a lower one writes after a higher has opened has no force.
"""

import contextlib
import errno
import os
from collections.abc import Callable

from penstock.wire import place, spool

# Exit codes of a runner that are not its command's.
TAKEN = 85  # nothing was run: the element is another's, or its array has ended
FENCED = 86  # a higher restart took over while the command ran
UNABLE = 87  # nothing was run: manifest or claim could not be read or written
UNRECORDED = 88  # it has run, and its exit record could not be written

TAIL = 1 << 16  # bytes at the end of a spool where its exit record is


class Taken(Exception):
    """Nothing may be run here; the message says why."""


def _pass(name: str) -> None:
    """Stand for a failpoint: this layer has none of its own."""


def take(folder: str, header: "dict[str, object]", hit: "Callable[[str], None]" = _pass) -> str:
    """Claim an element of the array in ``folder``; return the path of its open spool.

    ``header`` is the ``open`` record. Raises Taken where it must not be run, OSError where the
    files cannot be written.
    """
    index, restart = int(str(header["index"])), int(str(header["restart"]))
    claim = os.path.join(folder, place.claim(index))
    opened = os.path.join(folder, place.spool(index, restart))
    name = "%d.%d.%s.%s.tmp" % (index, restart, header["node"], header["pid"])
    aside = os.path.join(os.path.dirname(claim), name.replace("/", "_"))
    _write(aside, spool.encode(header))
    hit("runner.claim.written")
    try:
        if _link(aside, claim):
            hit("runner.claim.linked")
            os.rename(aside, opened)
            hit("runner.claim.renamed")
        else:
            _may_take_over(claim, header)
            if not _link(aside, opened):
                raise Taken("restart %d of %s is there already" % (restart, header["job"]))
            hit("runner.takeover.linked")
    finally:
        _unlink(aside)
    # Whoever is higher and came in between saw our file or is seen: each lists after it linked.
    highest = max(restarts(folder, index))
    if highest > restart:
        raise Taken("restart %d has taken over" % highest)
    for lower in restarts(folder, index):
        if lower < restart:
            _close(folder, index, lower)
            hit("runner.takeover.closed")
    return opened


def _may_take_over(claim: str, header: "dict[str, object]") -> None:
    holder = owner(claim)
    if holder is None:
        raise Taken("%s is no claim that can be read" % claim)
    if [holder.get("job"), holder.get("cluster")] != [header.get("job"), header.get("cluster")]:
        raise Taken("job %s has claimed it before" % holder.get("job"))
    folder = os.path.dirname(os.path.dirname(os.path.dirname(claim)))
    index, restart = int(str(header["index"])), int(str(header["restart"]))
    highest = max([*restarts(folder, index), int(str(holder["restart"]))])
    if restart <= highest:
        raise Taken("restart %d of job %s was here before" % (highest, holder["job"]))


def owner(claim: str) -> "dict[str, object] | None":
    """Return the header of a claim or spool, or None where there is none that can be read."""
    try:
        with open(claim, "rb") as file:
            records, _, bad = spool.decode(file.readline(TAIL))
    except OSError:
        return None
    return records[0] if records and not bad else None


def restarts(folder: str, index: int) -> "list[int]":
    """Return the restarts of an element that have a spool, in order.

    Lists the folder, which makes an NFS client ask its server.
    """
    names = os.listdir(os.path.dirname(os.path.join(folder, place.claim(index))))
    split = [name.split(".") for name in names if name.endswith((".open", ".done"))]
    return sorted(int(parts[1]) for parts in split if parts[0] == str(index))


def sealed(folder: str, index: int, below: int) -> "dict[str, object] | None":
    """Return the sealed exit record of the highest restart below ``below`` that has one.

    Only what is closed is looked at: call it after ``take``, which closes the lower ones.
    """
    for restart in reversed(restarts(folder, index)):
        if restart < below:
            record = _exit(os.path.join(folder, place.spool(index, restart, done=True)))
            if record is not None and record.get("sealed") is True:
                return record
    return None


def _exit(path: str) -> "dict[str, object] | None":
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            records, _, _ = spool.decode(file.read())
    except OSError:
        return None
    exits = [record for record in records if record["k"] == "exit"]
    return exits[-1] if exits else None


def is_held(path: str, file: int, ask: bool = False) -> bool:
    """Say whether an open spool is still the one that rules: ``file`` is its descriptor.

    With ``ask`` an NFS client asks its server; without, it may answer from a cache that is up to a
    minute old.
    """
    try:
        if ask:
            os.listdir(os.path.dirname(path))
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def close(path: str) -> bool:
    """Give an open spool its closed name; say whether it was still the one that rules."""
    folder, name = os.path.split(path)
    index, restart = (int(part) for part in name.split(".")[:2])
    try:
        os.rename(path, path[: -len("open")] + "done")
    except FileNotFoundError:
        # A higher restart has closed it; or it was us, and an NFS server's answer was lost.
        array = os.path.dirname(os.path.dirname(folder))
        return max(restarts(array, index)) == restart
    return True


def _close(folder: str, index: int, restart: int) -> None:
    with contextlib.suppress(FileNotFoundError):  # it closed itself
        os.rename(
            os.path.join(folder, place.spool(index, restart)),
            os.path.join(folder, place.spool(index, restart, done=True)),
        )


def _write(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        file = os.open(path, flags, 0o644)
    except FileNotFoundError:  # the first of its shard
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = os.open(path, flags, 0o644)
    try:
        os.write(file, data)
        os.fsync(file)
    finally:
        os.close(file)


def _link(aside: str, path: str) -> bool:
    """Link, and say whether that name is ours.

    An NFS server's answer may be lost and the call repeated: then the error is that the name
    exists, and the number of links tells that it was us.
    """
    try:
        os.link(aside, path)
    except OSError as error:
        with open(aside, "rb") as file:  # to open it asks the server
            if os.fstat(file.fileno()).st_nlink > 1:
                return True
        if error.errno == errno.EEXIST:
            return False
        raise
    return True


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
