"""Archive the code of a spec's folder, once under the digest of what it holds."""

import contextlib
import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import StagingError
from penstock.staging import git
from penstock.wire.listing import Listing

MOST_BYTES = 100_000_000
MOST_FILES = 50_000
TRIES = 3  # of an archive while somebody edits the files
SKIPPED = frozenset({".git", "__pycache__"})
ENVIRONMENTS = (
    "pyvenv.cfg",
    "conda-meta",
)  # a folder that has one is a venv or a conda environment
NARROW = "keep it out by .gitignore, or say which files are the code: `code: ['*.py']` in the spec"


@dataclass(frozen=True)
class Archive:
    """An archive in the store of code: what each run of a submission starts with."""

    digest: str  # of names, contents and which may be executed; see wire.listing
    path: Path
    files: int
    bytes: int
    commit: str = ""  # of git, where the folder is in a repository
    is_dirty: bool = False  # … and tracked files differ from it


def archive(
    folder: Path, *, home: Path, globs: Sequence[str] | None = None, exclude: Sequence[Path] = ()
) -> Archive:
    """Archive the files of ``folder`` as ``<home>/code/<digest>.tar.gz``, if that is not there.

    These are what git does not ignore, or all where there is no git; ``globs`` narrow them, and
    folders and files in ``exclude`` are left out. Raises StagingError.
    """
    folder = folder.resolve()
    names = sorted(_narrow(_files(folder, exclude), globs))
    _check_size(folder, names)
    for _ in range(TRIES):
        listing = _pack(folder, names, None)
        digest = listing.digest()
        path = home / "code" / f"{digest}.tar.gz"
        if path.exists() or _write(folder, names, path, digest):
            break
    else:
        raise StagingError(f"files in {folder} change while they are archived", hint="try again")
    version = git.version(folder)
    return Archive(digest, path, len(listing), listing.size, version.commit, version.is_dirty)


# --- which files --------------------------------------------------------------------------------


def _files(folder: Path, exclude: Sequence[Path]) -> list[str]:
    listed = git.files(folder)
    names = listed or _walk(folder)
    left_out = tuple(f"{one}/" for path in exclude for one in (path, path.resolve()))
    environments: dict[str, bool] = {}
    return [
        name
        for name in names
        if not f"{folder}/{name}/".startswith(left_out)
        and not _is_skipped(folder, name, environments)
    ]


def _is_skipped(folder: Path, name: str, environments: dict[str, bool]) -> bool:
    """Say whether a file is git's, compiled, or of an environment; the spec's folder is none."""
    parts = name.split("/")
    if not SKIPPED.isdisjoint(parts):
        return True
    for count in range(1, len(parts)):
        above = "/".join(parts[:count])
        if above not in environments:
            environments[above] = _is_environment(folder / above)
        if environments[above]:
            return True
    return False


def _walk(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise StagingError(
            f"{error.filename} cannot be read: {error.strerror}", hint=NARROW
        ) from error

    for above, folders, files in os.walk(folder, onerror=refuse):
        here = Path(above)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in SKIPPED and name not in links]
        folders[:] = [name for name in folders if not _is_environment(here / name)]
        for name in files + links:
            yield (here / name).relative_to(folder).as_posix()


def _is_environment(folder: Path) -> bool:
    # lexists: no error where the folder may not be looked into
    return any(os.path.lexists(folder / mark) for mark in ENVIRONMENTS)


def _narrow(names: list[str], globs: Sequence[str] | None) -> list[str]:
    if globs is None:
        return names
    patterns = [_pattern(glob) for glob in globs]
    for glob, pattern in zip(globs, patterns, strict=True):
        if not any(pattern.match(name) for name in names):
            raise StagingError(
                f"code: {glob!r} matches no file",
                hint="globs are relative to the spec's folder; ** stands for any folders, "
                "and what git ignores is no code",
            )
    return [name for name in names if any(pattern.match(name) for pattern in patterns)]


def _pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as an expression; one that names a folder takes all below it."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    body = "".join(
        pieces.get(piece) or re.escape(piece)
        for piece in re.split(r"(\*\*/|\*\*|\*|\?)", glob.removeprefix("./").rstrip("/"))
    )
    return re.compile(f"{body}(?:/.*)?\\Z", re.DOTALL)


def _check_size(folder: Path, names: Sequence[str]) -> None:
    if len(names) > MOST_FILES:
        raise StagingError(f"{folder} has {len(names):,} files: too many to be code", hint=NARROW)
    sizes = {name: _stat(folder, name) for name in names}
    largest = sorted(
        ((found.st_size, name) for name, found in sizes.items() if stat.S_ISREG(found.st_mode)),
        reverse=True,
    )
    total = sum(size for size, _ in largest)
    if total > MOST_BYTES:
        lines = "".join(f"\n    {size / 1e6:10,.1f} MB  {name}" for size, name in largest[:5])
        raise StagingError(
            f"the code in {folder} has {total / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:,.0f}; "
            f"the largest files:{lines}",
            hint=NARROW,
        )


def _stat(folder: Path, name: str) -> os.stat_result:
    try:
        return os.lstat(folder / name)
    except OSError as error:
        raise StagingError(f"{folder / name}: {error.strerror}", hint="try again") from error


# --- the archive --------------------------------------------------------------------------------


def _write(folder: Path, names: Sequence[str], path: Path, digest: str) -> bool:
    """Write the archive aside and rename it; say whether it holds what it should."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            aside = Path(file.name)
            try:
                with _tar(file) as tar:
                    packed = _pack(folder, names, tar).digest()
                file.flush()
                os.fsync(file.fileno())
                if packed != digest:
                    return False
                aside.chmod(0o644)
                aside.rename(path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    aside.unlink()
    except OSError as error:
        raise StagingError(
            f"the code could not be archived in {path.parent}: {error.strerror}",
            hint="is it your project? `penstock init` makes one of your own"
            if isinstance(error, PermissionError)
            else "is there space and quota left?",
        ) from error
    return True


@contextlib.contextmanager
def _tar(file: "tempfile._TemporaryFileWrapper[bytes]") -> Iterator[tarfile.TarFile]:
    """Open an archive with nothing in it that the files do not say: no times, no names of users."""
    with (
        gzip.GzipFile("", "wb", 5, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as tar,
    ):
        yield tar


def _pack(folder: Path, names: Sequence[str], tar: tarfile.TarFile | None) -> Listing:
    """List the files, in order; and put them into an archive if there is one."""
    listing = Listing()
    for name in names:
        mode = _stat(folder, name).st_mode
        if stat.S_ISLNK(mode):
            _pack_link(folder, name, tar, listing)
        elif stat.S_ISREG(mode):
            _pack_file(folder, name, tar, listing)
    return listing


def _pack_link(folder: Path, name: str, tar: tarfile.TarFile | None, listing: Listing) -> None:
    path = folder / name
    target = path.readlink()
    if target.is_absolute() or not _is_below(folder, path):
        raise StagingError(
            f"{path} is a link to {target}, which is not in {folder}: a run would miss it",
            hint=f"give the place as a parameter or variable, and {NARROW}",
        )
    if tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(target), 0o777
        tar.addfile(info)
    listing.link(name, str(target))


def _is_below(folder: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a link to itself
        return False


def _pack_file(folder: Path, name: str, tar: tarfile.TarFile | None, listing: Listing) -> None:
    path = folder / name
    try:
        with path.open("rb") as file:
            is_program = bool(os.fstat(file.fileno()).st_mode & stat.S_IXUSR)
            body = file.read()
    except OSError as error:
        raise StagingError(f"{path} cannot be read: {error.strerror}", hint=NARROW) from error
    if tar:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(body), 0o755 if is_program else 0o644
        tar.addfile(info, io.BytesIO(body))
    listing.file(name, hashlib.sha256(body).hexdigest(), len(body), is_program)
