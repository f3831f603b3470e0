"""Bring results of runs from a cluster reached by SSH; each file is checked by its digest."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from penstock.errors import NotFoundError, StagingError, UsageError
from penstock.service import query
from penstock.service.project import Project
from penstock.store.detail import OutputRow
from penstock.transport.protocol import Transport

PIECE_BYTES = 1 << 23


@dataclass(frozen=True)
class Fetched:
    """A result that is here now."""

    path: Path
    bytes: int
    was_here: bool


def fetch(project: Project, name: str, wanted: str = "") -> Iterator[Fetched]:
    """Yield the results of a run as they come, or those of one file or folder.

    What is here already, and is right, is not fetched again. Raises NotFoundError, UsageError,
    TransportError, StagingError.
    """
    whole = query.whole(project, name)
    cluster = whole.origin.cluster
    if cluster not in project.settings.clusters:
        raise UsageError(
            f"the results of {whole.run.name} need no fetching", hint=f"look in {whole.folder}"
        )
    wanted = wanted.rstrip("/")
    found = [one for one in whole.outputs if _is_of(one.path, wanted)]
    if not found:
        there = ", ".join(one.path for one in whole.outputs[:10])
        raise NotFoundError(
            f"{whole.run.name} has no result {wanted}" if wanted else
            f"{whole.run.name} has no results: it is {whole.run.state}",
            hint=f"it has: {there}" if there else f"`penstock show {whole.run.name}` tells more",
        )  # fmt: skip
    far = project.on(cluster)
    folder = far.settings.results / whole.run.name
    for one in found:
        target = whole.folder / one.path
        if target.is_file() and _digest(target) == one.digest:
            yield Fetched(target, one.bytes, was_here=True)
            continue
        _bring(far.world.transport, f"{folder}/{one.path}", one, target)
        yield Fetched(target, one.bytes, was_here=False)


def _is_of(path: str, wanted: str) -> bool:
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts:
        return False  # no run of ours tells such a path
    return not wanted or path == wanted or path.startswith(f"{wanted}/")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bring(transport: Transport, source: str, one: OutputRow, target: Path) -> None:
    """Copy a file beside its place, and put it there if it is what the run told."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    hashed = hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            offset = 0
            while piece := transport.get(source, offset, PIECE_BYTES):
                file.write(piece)
                hashed.update(piece)
                offset += len(piece)
        if hashed.hexdigest() != one.digest:
            raise StagingError(
                f"{source} is not what the run left: it has changed since",
                hint="was it edited, or written by another run?",
            )
        aside.replace(target)
    except OSError as error:
        raise StagingError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
