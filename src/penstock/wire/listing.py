"""The digest of a tree of files: of names, kinds and contents, not of times, owners or archives.

Whoever packs and whoever unpacks compute it from what they hold, and so no damage goes unseen.
"""

import hashlib

FILE = "file"
PROGRAM = "program"  # a file that may be executed
LINK = "link"


class Listing:
    """Names with what they are, in any order; the digest does not depend on it."""

    def __init__(self) -> None:
        self._entries: "dict[bytes, str]" = {}
        self.size = 0  # bytes of all files

    def __len__(self) -> int:
        return len(self._entries)

    def file(self, path: str, sha256: str, size: int, is_program: bool) -> None:
        """Add a file; its path has ``/`` and starts at the tree's folder."""
        self._entries[_raw(path)] = "%s %s" % (PROGRAM if is_program else FILE, sha256)
        self.size += size

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link, by what it says."""
        self._entries[_raw(path)] = "%s %s" % (LINK, hashlib.sha256(_raw(target)).hexdigest())

    def digest(self) -> str:
        """Return the digest, 64 hex digits."""
        whole = hashlib.sha256()
        for path in sorted(self._entries):
            whole.update(self._entries[path].encode() + b" %d " % len(path) + path + b"\n")
        return whole.hexdigest()


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
