"""Which hosts write to a store in a file: where locks do not work between hosts, only one.

Each host that writes has a note in ``<home>/writers``. What `penstock doctor --job` found out about
locks is in ``<home>/locks.json``: ``{"hosts": {"node7": {"proven": true, "at": "2024-…"}}}``, where
node7 is the host that tried a lock which another one held.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from penstock import aside
from penstock.errors import StoreError
from penstock.store import volume

PROBED = "locks.json"
NOTES = "writers"
RECENT_S = 7 * 86400.0  # who has written nothing for so long writes no more
AGAIN_S = 60.0  # so often it is looked at
RENEWED_S = 3600.0


class Verdict(Enum):
    """What is to become of a host that wants to write."""

    FINE = "fine"
    UNTRIED = "untried"  # nobody knows whether the locks of these hosts work
    REFUSED = "refused"


@dataclass(frozen=True)
class Note:
    """A host that writes: since when, and whether its user was warned."""

    since: float
    is_warned: bool = False


def judge(host: str, notes: Mapping[str, Note], proven: Mapping[str, bool]) -> Verdict:
    """Return whether a host may write beside the others that do. Pure.

    A lock that was tried and did not hold makes the file system suspect: then a host may write if
    its own were proven, or it was the first. What was never tried keeps nobody back.
    """
    others = [name for name in notes if name != host]
    if not others:
        return Verdict.FINE
    is_suspect = not all(proven.values())
    is_good = proven.get(host, False) and all(proven.get(name, True) for name in others)
    if is_suspect and not is_good:
        first = min(notes, key=lambda name: (notes[name].since, name))
        return Verdict.FINE if host == first else Verdict.REFUSED
    if is_good or all(proven.get(name, False) for name in others):
        return Verdict.FINE
    return Verdict.UNTRIED


class Writers:
    """Look now and then whether this host may write to a store."""

    def __init__(
        self,
        home: Path,
        store: Path,
        *,
        warn: Callable[[str], None],
        host: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._home, self._store, self._warn, self._now = home, store, warn, now
        self._host = (host or socket.gethostname()).replace("/", "_")
        self._looked_at = -AGAIN_S

    def admit(self) -> None:
        """Raise StoreError where this host may not write: before each transaction that does."""
        at = time.monotonic()
        if at - self._looked_at < AGAIN_S:
            return
        is_new = self._renew()
        notes = self._notes()
        verdict = judge(self._host, notes, probed(self._home))
        if verdict is Verdict.REFUSED:
            if is_new:
                with contextlib.suppress(OSError):
                    self._path(self._host).unlink()
            raise self._refused(notes)
        if verdict is Verdict.UNTRIED:
            self._warn_once(notes)
        self._looked_at = at

    def _path(self, host: str) -> Path:
        return self._home / NOTES / host

    def _notes(self) -> dict[str, Note]:
        """Return who has written lately."""
        found: dict[str, Note] = {}
        with contextlib.suppress(OSError):
            for path in sorted((self._home / NOTES).iterdir()):
                if path.name.startswith("."):
                    continue
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                    if self._now() - path.stat().st_mtime < RECENT_S:
                        said = json.loads(path.read_text())
                        found[path.name] = Note(float(said["since"]), bool(said["is_warned"]))
        return found

    def _renew(self) -> bool:
        """Note that this host writes; return whether that is new."""
        path = self._path(self._host)
        try:
            old = path.stat().st_mtime
        except OSError:
            old = 0.0
        if self._now() - old < RENEWED_S:
            return False
        known = self._notes().get(path.name)
        self._write(known or Note(self._now()))
        return known is None

    def _write(self, note: Note) -> None:
        path = self._path(self._host)
        with contextlib.suppress(OSError):  # one who may not write here cannot write the store
            if not path.parent.is_dir():
                path.parent.mkdir(exist_ok=True)
                path.parent.chmod(self._home.stat().st_mode & 0o7777)  # a team's, as its home
            aside.write(path, json.dumps({"since": note.since, "is_warned": note.is_warned}))

    def _refused(self, notes: Mapping[str, Note]) -> StoreError:
        first = min(notes, key=lambda name: (notes[name].since, name))
        return StoreError(
            f"{first} writes to the store {self._store}, and locks do not work between hosts "
            f"here ({self._home / PROBED}): {self._host} may only read",
            hint=f"go on on {first}; or mend the locks (Lustre: mount with `flock`) and run "
            "`penstock doctor --job`; or use PostgreSQL (`penstock store copy`). "
            f"When nothing of yours runs on {first} any more: rm {self._path(first)}",
        )

    def _warn_once(self, notes: Mapping[str, Note]) -> None:
        own = notes.get(self._host)
        kind = volume.kind(self._store)
        if own is None or own.is_warned or not volume.is_shared(kind):
            return
        others = ", ".join(name for name in notes if name != self._host)
        self._warn(
            f"{others} and {self._host} write to {self._store}, which is on {kind}; whether locks "
            "work between them was never tried: `penstock doctor --job` does (this is said once)"
        )
        self._write(Note(own.since, is_warned=True))


def probed(home: Path) -> dict[str, bool]:
    """Return whether locks that another host held were seen, by host. Empty: never tried."""
    try:
        said = json.loads((home / PROBED).read_text())["hosts"]
        return {str(name): bool(one["proven"]) for name, one in said.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
