"""Files in memory, behind the same verbs as a transport's: what a simulation's runs write."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from penstock.clock import moment
from penstock.errors import NotFoundError
from penstock.transport.protocol import Tail
from penstock.wire import place


class MemoryFiles:
    """A file system of paths and bytes. What is ``hidden`` is not seen by readers yet."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hidden: set[str] = set()

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:  # noqa: ARG002  no modes here
        """Write a file."""
        self.files[path] = data

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file."""
        if path not in self.files or path in self.hidden:
            raise NotFoundError(f"there is no file {path}")
        data = self.files[path]
        return data[offset:] if size < 0 else data[offset : offset + size]

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file, None where there is none."""
        found = self.files.get(path)
        return None if found is None or path in self.hidden else hashlib.sha256(found).hexdigest()

    def append(self, path: str, data: bytes) -> None:
        """Append to a file."""
        self.files[path] = self.files.get(path, b"") + data

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        self.files[new] = self.files.pop(old)

    def open_file(self, path: str) -> bytes:
        """Return a file, as a program on the cluster reads it."""
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]:
        """Yield what the spools of an array's folder have beyond the known offsets."""
        left = at_most
        for index, restart, path in sorted(self._spools(folder)):
            offset = known.get((index, restart), 0)
            if offset < 0 or left <= 0:
                continue
            whole = self.files[self.now_at(path)]
            data = whole[offset : offset + left]
            is_whole = offset + len(data) >= len(whole)
            is_done = path.endswith(".done") and is_whole
            if data or is_done:
                left -= len(data)
                yield Tail(index, restart, offset, data, is_done)

    def logs(self, folder: str, index: int, known: Mapping[int, int]) -> list[tuple[int, bytes]]:
        """Return restarts of an element with what their logs have beyond the known offsets."""
        found = []
        for path, data in self.files.items():
            head, _, name = path.rpartition("/")
            if head == f"{folder}/{place.LOGS}/{index // place.SHARD}":
                number, restart, _ = name.split(".")
                if int(number) == index:
                    found.append((int(restart), data[known.get(int(restart), 0) :]))
        return sorted(found)

    def close(self, folder: str) -> None:
        """Leave all as it is: what a simulation's runs wrote is looked at to its end."""

    def fold(self, folder: str) -> None:
        """Leave all as it is."""

    def now_at(self, path: str) -> str:
        """Return the name that a file now has."""
        return path

    def _spools(self, folder: str) -> Iterable[tuple[int, int, str]]:
        start = f"{folder}/{place.SPOOLS}/"
        for path in self.files:
            if path.startswith(start) and path not in self.hidden:
                index, *rest = path.rsplit("/", 1)[-1].split(".")
                if len(rest) == 2 and rest[1] in ("open", "done"):
                    yield int(index), int(rest[0]), path


class StaleFiles(MemoryFiles):
    """What another host sees: names as they were up to ``stale_s`` ago, bytes as they are.

    So it is with the cached listing of an NFS client: a spool that was closed meanwhile has its old
    name, and one that was made is not there.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.stale_s = 0.0
        self._clock = clock
        self._listed: dict[str, tuple[float, list[tuple[int, int, str]]]] = {}
        self._moved: dict[str, str] = {}
        self.written: dict[str, datetime] = {}

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, and note when."""
        super().put(path, data, mode=mode)
        self.written[path] = moment(self._clock())

    def rename(self, old: str, new: str) -> None:
        """Rename a file; who has listed its old name still reads it."""
        super().rename(old, new)
        self._moved[old] = new
        if old in self.written:
            self.written[new] = self.written.pop(old)

    def now_at(self, path: str) -> str:
        """Return the name that a file now has."""
        return self._moved.get(path, path)

    def _spools(self, folder: str) -> Iterable[tuple[int, int, str]]:
        at, listed = self._listed.get(folder, (float("-inf"), []))
        if self._clock() - at >= self.stale_s:
            listed = list(super()._spools(folder))
            self._listed[folder] = self._clock(), listed
        return listed
