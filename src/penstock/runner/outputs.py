"""Copy what a run made to its folder on project storage: aside, fsynced, then renamed.

Nothing is read outside the working folder and nothing is written outside the run's folder, whatever
links there are.
"""

import contextlib
import os
import stat
from collections.abc import Callable

from penstock import failpoint
from penstock.runner.scratch import remove
from penstock.wire import event

CHUNK = 1 << 20


class Wanted:
    """A file to copy: where it is, and its name below the run's folder."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name


class Found:
    """What was found for the outputs: files, those of which there is none, and odd things."""

    def __init__(self) -> None:
        self.files: "list[Wanted]" = []
        self.missing: "list[str]" = []
        self.notes: "list[str]" = []


def find(work: str, patterns: "list[str]") -> Found:
    """Return the files of the outputs, which are paths or globs relative to the working folder."""
    found = Found()
    top = os.path.realpath(work)
    for pattern in patterns:
        before = len(found.files)
        paths = _matches(top, pattern, found)
        for path in paths:
            _add(top, path, found, is_named=True)
        if len(found.files) == before and not any(map(os.path.isdir, paths)):
            found.missing.append(pattern)
    by_name = {wanted.name: wanted for wanted in found.files}  # two globs may find the same
    found.files = [by_name[name] for name in sorted(by_name)]
    return found


def below(top: str, path: str, name: str) -> Found:
    """Return the files of one path, which must lie below a folder, under another name."""
    found = Found()
    top = os.path.realpath(top)
    real = os.path.realpath(path)
    if not real.startswith(top + "/"):
        found.notes.append("%s was not logged by penstock: left out" % path)
        return found
    _add(top, real, found, is_named=True)
    start = len(os.path.relpath(real, top))
    for wanted in found.files:
        wanted.name = name + wanted.name[start:]
    if not found.files and not os.path.isdir(real):
        found.notes.append("%s is gone" % path)
    return found


def _matches(top: str, pattern: str, found: Found) -> "list[str]":
    import glob  # noqa: PLC0415  most runs name their outputs

    try:
        inside = event.inside(pattern)
    except ValueError as error:
        found.notes.append("output: %s" % error)
        return []
    path = os.path.join(top, inside)
    if os.path.lexists(path):
        return [path]
    return sorted(glob.glob(os.path.join(glob.escape(top), inside), recursive=True))


def _add(top: str, path: str, found: Found, is_named: bool) -> None:
    """Add a file, or the files of a folder. A link counts as what it leads to.

    A link to a folder is only followed where it was named itself: it may lead up.
    """
    name = os.path.relpath(path, top)
    real = os.path.realpath(path)
    if not real.startswith(top + "/"):
        found.notes.append("output %s is a link out of the working folder: left out" % name)
    elif os.path.isdir(real):
        if os.path.islink(path) and not is_named:
            found.notes.append("output %s is a link to a folder: left out" % name)
            return
        for inner in sorted(os.listdir(real)):
            _add(top, os.path.join(path, inner), found, is_named=False)
    elif os.path.isfile(real):
        found.files.append(Wanted(real, name))
    else:
        found.notes.append("output %s is no file: left out" % name)


class Results:
    """The folder of a run below the folder of results. ``pulse`` is called during long copies."""

    def __init__(self, results: str, folder: str, label: str, pulse: "Callable[[], None]") -> None:
        self.path = os.path.join(results, event.inside(folder))
        self._aside = os.path.join(self.path, ".penstock-%s.tmp" % label)
        self._pulse = pulse
        self._copied: "list[tuple[str, str, str, int]]" = []

    def copy(self, wanted: Wanted) -> None:
        """Copy a file aside. Raises OSError."""
        if not self._copied:
            os.makedirs(self.path, exist_ok=True)
            self._sweep()
            os.mkdir(self._aside)
        aside = os.path.join(self._aside, str(len(self._copied)))
        digest, size = _copy(wanted.path, aside, self._pulse)
        self._copied.append((aside, wanted.name, digest, size))
        failpoint.hit("runner.output.copied")

    def _sweep(self) -> None:
        """Remove what restarts that died left; one that is cut off finds its copies gone."""
        for name in os.listdir(self.path):
            if name.startswith(".penstock-") and name.endswith(".tmp"):
                remove(os.path.join(self.path, name))

    def publish(self) -> "list[dict[str, object]]":
        """Rename all that was copied into place; return the records. Raises OSError."""
        records: "list[dict[str, object]]" = []
        folders = {self.path}
        for aside, name, digest, size in self._copied:
            place = self._place(name)
            os.rename(aside, place)
            failpoint.hit("runner.output.published")
            folders.add(os.path.dirname(place))
            records.append({"k": "output", "path": name, "digest": digest, "bytes": size})
        if self._copied:
            for folder in folders:
                _sync_folder(folder)
        self.close()
        return records

    def _place(self, name: str) -> str:
        """Return where a file goes, with the folders above it made; follow no link there."""
        folder = self.path
        for part in name.split("/")[:-1]:
            folder = os.path.join(folder, part)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            if not stat.S_ISDIR(os.lstat(folder).st_mode):
                raise NotADirectoryError(20, "is no folder, so nothing is put below it", folder)
        return os.path.join(folder, os.path.basename(name))

    def close(self) -> None:
        """Remove what was not published."""
        if self._copied:
            remove(self._aside)
            self._copied = []


def _copy(path: str, aside: str, pulse: "Callable[[], None]") -> "tuple[str, int]":
    import hashlib  # noqa: PLC0415  it takes time, and many runs have no outputs

    digest = hashlib.sha256()
    size = 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as source:
        is_program = os.fstat(source.fileno()).st_mode & 0o100
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(aside, flags, 0o777 if is_program else 0o666), "wb", 0) as target:
            while True:
                data = source.read(CHUNK)
                if not data:
                    break
                digest.update(data)
                size += len(data)
                _write(target.fileno(), data)
                pulse()
            os.fsync(target.fileno())
    return digest.hexdigest(), size


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync_folder(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(file)
    finally:
        os.close(file)
