"""Follow a file that grows, line by line."""

import os

CHUNK = 1 << 18


class Tail:
    """A file from its beginning. It need not be there yet.

    ``ends`` are the bytes that end a line; lines longer than ``longest`` are left out and counted.
    """

    def __init__(self, path: str, longest: int, ends: bytes = b"\n") -> None:
        self.path = path
        self.too_long = 0
        self._longest = longest
        self._ends = ends
        self._file = -1
        self._rest = b""
        self._is_skipping = False

    def lines(self, at_most: int) -> "list[bytes]":
        """Return the lines that were added, of at most so many bytes."""
        out: "list[bytes]" = []
        while at_most > 0:
            data = self._read(min(at_most, CHUNK))
            if not data:
                break
            at_most -= len(data)
            out += self._split(data)
        return out

    @property
    def is_behind(self) -> bool:
        """Say whether there is more to read."""
        if self._file < 0:
            return os.path.exists(self.path)
        return os.fstat(self._file).st_size > os.lseek(self._file, 0, os.SEEK_CUR)

    def last(self) -> "list[bytes]":
        """Return what stands at the end without the end of a line."""
        rest, self._rest = self._rest, b""
        return [rest] if rest and not self._is_skipping else []

    def _read(self, size: int) -> bytes:
        if self._file < 0:
            try:
                self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        return os.read(self._file, size)

    def _split(self, data: bytes) -> "list[bytes]":
        for end in self._ends[1:]:
            data = data.replace(bytes((end,)), self._ends[:1])
        parts = data.split(self._ends[:1])
        parts[0] = self._rest + parts[0]
        self._rest = parts.pop()
        if self._is_skipping and parts:
            del parts[0]
            self._is_skipping = False
        if len(self._rest) > self._longest:
            self.too_long += not self._is_skipping
            self._rest, self._is_skipping = b"", True
        kept = [part for part in parts if len(part) <= self._longest]
        self.too_long += len(parts) - len(kept)
        return kept

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
