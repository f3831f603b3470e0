"""Find the arrays that were sent since a backup, by their files: here, and on other clusters."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from penstock.clock import moment
from penstock.errors import PenstockError, StoreError, TransportError
from penstock.reconciler import mark
from penstock.service.project import Project
from penstock.store import recovery
from penstock.store.recovery import Found
from penstock.transport.protocol import Transport
from penstock.wire import place

AT_ONCE = 50  # manifests in one answer
WRONG = (ValueError, KeyError, TypeError, IndexError)  # of a manifest that is none of ours
LIST_S = 300


def here(arrays: Path, settled: set[str]) -> Iterator[Found]:
    """Yield the arrays of which there are files, and that a store does not know to be sent.

    Raises StoreError: what cannot be read is no reason to believe that there is nothing.
    """
    for folder in folders(arrays):
        if folder.name not in settled:
            for name in (place.MANIFEST, place.MANIFEST_ENDED):
                path = folder / name
                try:
                    written_at = moment(path.stat().st_mtime)
                    yield of_manifest(folder.name, path.read_text(), written_at)
                    break
                except (FileNotFoundError, NotADirectoryError, *WRONG):
                    continue
                except OSError as error:
                    raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def folders(arrays: Path) -> list[Path]:
    """Return the folders of arrays on this machine, by their tokens. Raises StoreError."""
    try:
        return sorted(arrays.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{arrays} cannot be read: {error.strerror}") from error


def far(project: Project) -> list[str]:
    """Search the clusters of this user that are to be searched; return what hindered, a line each.

    Until one was searched nothing is sent there: the lease is held.
    """
    with project.store.read() as view:
        names = recovery.to_search(view, user=project.user)
    odd = []
    for name in names:
        try:
            on(project.on(name), name)
        except PenstockError as error:
            odd.append(named(name, error))
    return odd


def named(cluster: str, error: PenstockError) -> str:
    """Return what went wrong with a cluster; what is wrong with a file there names it already."""
    said = str(error)
    return said if said.startswith(f"{cluster}:") else f"{cluster}: {said}"


def on(there: Project, cluster: str) -> None:
    """Search a cluster, if it is to be searched, and let it be acted on. Raises PenstockError."""
    store, user = there.store, there.user
    with store.read() as view:
        if cluster not in recovery.to_search(view, user=user):
            return
    arrays = str(there.settings.home / "arrays")
    found = _there(there.world.transport, arrays, recovery.settled(store))
    sent = mark.read(there.world.transport, there.settings.home, user=user, cluster=cluster)
    recovery.search(store, list(found), there.clock.now(), user=user, cluster=cluster, sent=sent)


def _there(transport: Transport, arrays: str, settled: set[str]) -> Iterator[Found]:
    """Yield the arrays of which there are files on a machine that is far. Raises TransportError.

    What cannot be read is an error, and no reason to believe that there is nothing.
    """
    ends = sorted({place.MANIFEST, place.MANIFEST_ENDED})
    names = ["(", "-name", ends[0], "-o", "-name", ends[1], ")"]
    argv = ["find", arrays, "-mindepth", "2", "-maxdepth", "2", *names, "-printf", "%T@ %P\n"]
    listed = transport.run(argv, timeout_s=LIST_S)
    if listed.code != 0 and "No such file" not in listed.err:
        raise TransportError(f"{arrays} cannot be searched: {listed.err.strip()}")
    wanted: list[tuple[str, str, datetime]] = []
    for line in listed.out.splitlines():
        at, _, name = line.partition(" ")
        token = name.partition("/")[0]
        if token not in settled:
            wanted.append((token, f"{arrays}/{name}", moment(float(at))))
    for start in range(0, len(wanted), AT_ONCE):
        yield from _read(transport, wanted[start : start + AT_ONCE])


def _read(transport: Transport, some: Sequence[tuple[str, str, datetime]]) -> Iterator[Found]:
    told = transport.run_all([["cat", path] for _, path, _ in some])
    for (token, path, written_at), one in zip(some, told, strict=True):
        if isinstance(one, TransportError):
            raise one
        if one.code != 0:
            raise TransportError(f"{path} cannot be read: {one.err.strip()}")
        with contextlib.suppress(*WRONG):
            yield of_manifest(token, one.out, written_at)


def of_manifest(token: str, text: str, written_at: datetime) -> Found:
    """Return what a manifest says; raise one of ``WRONG`` where it is none of ours."""
    lines = text.split("\n")
    size = int(json.loads(lines[0])["size"])
    entries = [json.loads(line) for line in lines[size + 1 : 2 * size + 1]]
    elements = tuple((str(entry["uid"]), int(str(entry["attempt"]))) for entry in entries)
    if len(elements) < size:
        raise ValueError(f"the manifest of {token} is cut")
    return Found(token, written_at, elements)
