"""Look around on a compute node, for `penstock doctor --job`: one file, run by itself.

It tries the lock of a file that somebody holds elsewhere, and one that nobody holds: only who is
refused the first and given the second has seen that locks work.
"""

import errno
import fcntl
import json
import os
import sys
import time

HELD, FREE, REPORT = "held.lock", "free.lock", "report.json"


def lock(path):  # type: (str) -> int
    """Take the lock of a file, as SQLite does, for as long as the descriptor is open."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


def attempt(path):  # type: (str) -> str
    """Try the lock of a file; return "given", "refused", or what went wrong."""
    try:
        os.close(lock(path))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return "refused"
        return error.strerror or str(error)
    return "given"


def which(name):  # type: (str) -> str
    """Return where a program is."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def look(folder):  # type: (str) -> dict[str, object]
    """Return what this node is like."""
    return {
        "host": os.uname().nodename,
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "job": os.environ.get("SLURM_ARRAY_JOB_ID", ""),
        "at": time.time(),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "held": attempt(os.path.join(folder, HELD)),
        "free": attempt(os.path.join(folder, FREE)),
        "apptainer": which("apptainer") or which("singularity"),
        "tmp": {name: os.environ.get(name, "") for name in ("SLURM_TMPDIR", "TMPDIR")},
    }


def main():  # type: () -> None
    """Leave a report beside the locks, whole or not at all."""
    folder = sys.argv[1]
    aside = os.path.join(folder, ".%s.%d" % (REPORT, os.getpid()))
    with open(aside, "w") as file:
        json.dump(look(folder), file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, os.path.join(folder, REPORT))


if __name__ == "__main__":
    main()
