"""Remember answers that are slow to get and seldom change, across processes.

slurmdbd takes a quarter of a second to say what a qos allows; each `penstock submit` would ask. A
wrong memory does no harm: a limit that is met is refused for now, and asked for again.
"""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from penstock import aside


class Memory:
    """Texts by key in a file of the user's own, for a while."""

    def __init__(self, path: Path, *, for_s: float, now: Callable[[], float]) -> None:
        self._path, self._for_s, self._now = path, for_s, now

    def recall(self, key: str, ask: Callable[[], str]) -> str:
        """Return the remembered answer, or ask and remember."""
        kept = self._read()
        if key in kept:
            return kept[key][1]
        answer = ask()
        self.keep(key, answer)
        return answer

    def has(self, key: str) -> bool:
        """Return whether something is remembered."""
        return key in self._read()

    def age_s(self, key: str) -> float:
        """Return how long ago something was remembered; 0: it is not."""
        kept = self._read()
        return self._now() - kept[key][0] if key in kept else 0.0

    def keep(self, key: str, answer: str) -> None:
        """Remember, from now on."""
        self._write({**self._read(), key: (self._now(), answer)})

    def _read(self) -> dict[str, tuple[float, str]]:
        now = self._now()
        return {
            key: (at, answer)
            for key, (at, answer) in self._all().items()
            if 0 <= now - at < self._for_s
        }

    def _all(self) -> dict[str, tuple[float, str]]:
        try:
            with self._path.open() as file:
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    return {}  # another user's word is not taken
                found = json.load(file)
            return {key: (float(at), str(text)) for key, (at, text) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write(self, kept: dict[str, tuple[float, str]]) -> None:
        with contextlib.suppress(OSError):  # then it is asked again
            aside.write(self._path, json.dumps(kept))
