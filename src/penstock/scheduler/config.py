"""The configuration of Slurm: as its controller tells it, or as it last did where it is away."""

import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta

from penstock.errors import SchedulerError, SchedulerMissing
from penstock.scheduler.memory import Memory

ASK = ("scontrol", "show", "config")
NEEDED = frozenset({"ClusterName", "MaxArraySize", "MinJobAge", "SchedulerParameters"})
# Each program waits for a controller that is away, some twice, for 9 s and more: so that it is away
# is believed for a moment.
BELIEVED = timedelta(seconds=10)
KEPT = NEEDED | {"AccountingStorageType", "AccountingStorageEnforce"}


def read(out: str) -> dict[str, str]:
    """Return what ``scontrol show config`` printed. Raises SchedulerError where it is cut."""
    pairs = [line.partition("=") for line in out.splitlines() if "=" in line]
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if missing := NEEDED - found.keys():  # an answer that is cut is none
        raise SchedulerError(
            f"scontrol show config has no {', '.join(sorted(missing))}", hint="run it by hand"
        )
    return {key: found[key] for key in KEPT & found.keys()}


def way() -> str:
    """Return by which way this machine reaches its Slurm: host, configuration, programs."""
    words = os.uname().nodename, os.environ.get("SLURM_CONF", ""), shutil.which("sbatch") or ""
    return "|".join(words)


class Last:
    """The last answer, in a file of the user's own.

    It holds for one way to Slurm only, so that no cluster is taken for another.
    """

    def __init__(self, memory: Memory, way: str) -> None:
        self._memory, self._way = memory, way

    def recall(self) -> dict[str, str] | None:
        """Return it; None: there is none."""
        if not self._memory.has(self._way):
            return None
        pairs = [line.partition("=") for line in self._memory.recall(self._way, str).splitlines()]
        return {key: value for key, _, value in pairs}

    def keep(self, answer: dict[str, str]) -> None:
        """Keep it, if it is new."""
        if self.recall() != answer:
            text = "".join(f"{key}={value}\n" for key, value in sorted(answer.items()))
            self._memory.keep(self._way, text)


class Config:
    """What is known of the configuration, and whether the controller itself said so."""

    def __init__(
        self, ask: Callable[[], str], last: Last | None, now: Callable[[], datetime]
    ) -> None:
        self._ask, self._last, self._now = ask, last, now
        self._known: dict[str, str] | None = None
        self._error: SchedulerError | None = None  # why it is of the last time
        self._failed_at: datetime | None = None

    @property
    def is_known(self) -> bool:
        """Return whether it need not be asked for."""
        return self._known is not None and self._error is None

    def known(self) -> dict[str, str]:
        """Return it; where the controller does not answer, as it was last.

        Raises SchedulerError where it was never known.
        """
        if self._known is None:
            try:
                self._renew()
            except SchedulerMissing:
                raise
            except SchedulerError:
                self._known = self._last.recall() if self._last else None
                if self._known is None:
                    raise
        assert self._known is not None
        return self._known

    def confirm(self) -> None:
        """Raise SchedulerError where the controller was away when last asked, and is not back."""
        if self._error is None:
            return
        if self._failed_at is not None and self._now() < self._failed_at + BELIEVED:
            raise SchedulerError(self._error.what, hint=self._error.hint) from self._error
        self._renew()

    def _renew(self) -> None:
        try:
            self._known = read(self._ask())
        except SchedulerError as error:
            self._error, self._failed_at = error, self._now()
            raise
        self._error = None
        if self._last is not None:
            self._last.keep(self._known)
