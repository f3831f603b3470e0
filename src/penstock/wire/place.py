"""Where the files of an array are, below its folder ``<home>/arrays/<token>``."""

SHARD = 1000  # files of one folder, for file systems that are slow with large ones

MANIFEST = "manifest"
SCRIPT = "script.sh"
SLURM_LOG = "slurm.log"
OVER = "over"
SPOOLS = "spool"
LOGS = "log"
# What remains when an array has ended: one file of each kind. Without a manifest nothing can start.
MANIFEST_ENDED = "manifest.ended"
SPOOLS_FOLDED = "spools.zip"
LOGS_FOLDED = "logs.zip"


def claim(index: int) -> str:
    """Return the path of an element's claim."""
    return "%s/%d/%d.claim" % (SPOOLS, index // SHARD, index)


def spool(index: int, restart: int, done: bool = False) -> str:
    """Return the path of the spool of one restart."""
    end = "done" if done else "open"
    return "%s/%d/%d.%d.%s" % (SPOOLS, index // SHARD, index, restart, end)


def log(index: int, restart: int) -> str:
    """Return the path of the log of one restart."""
    return "%s/%d/%d.%d.log" % (LOGS, index // SHARD, index, restart)
