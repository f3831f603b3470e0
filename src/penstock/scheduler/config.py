"""The configuration of Slurm: as its controller tells it, or as it last did where it is away."""

import math
import os
import shutil
import time
from pathlib import Path

from penstock.errors import SchedulerError
from penstock.scheduler.memory import Memory

NEEDED = frozenset({"ClusterName", "MaxArraySize", "MinJobAge", "SchedulerParameters"})
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


class Last:
    """The last answer, in a file of the user's own.

    It holds for one way to Slurm only, so that nobody's cluster is taken for another: host,
    configuration file, programs.
    """

    def __init__(self, folder: Path | None) -> None:
        self._memory: Memory | None = None
        if folder is not None:
            path = folder / f"slurm.config.{os.getuid()}"
            self._memory = Memory(path, for_s=math.inf, now=time.time)
        way = os.uname().nodename, os.environ.get("SLURM_CONF", ""), shutil.which("sbatch") or ""
        self._way = "|".join(way)

    def recall(self) -> dict[str, str] | None:
        """Return it; None: there is none."""
        if self._memory is None or not self._memory.has(self._way):
            return None
        text = self._memory.recall(self._way, lambda: "")
        pairs = [line.partition("=") for line in text.splitlines()]
        return {key: value for key, _, value in pairs}

    def keep(self, answer: dict[str, str]) -> None:
        """Keep it, if it is new."""
        if self._memory is not None and self.recall() != answer:
            text = "".join(f"{key}={value}\n" for key, value in sorted(answer.items()))
            self._memory.keep(self._way, text)
