"""The scratch folder of a node, and in it the folder of this run.

<scratch>/penstock-<uid>/     ours alone (700); what is not is refused, whoever made it
    code/<digest>/            see runner.code
    run/<token>-<i>-<restart>/
        owner                 the node that it is of, locked as long as its runner lives
        work/                 where the command starts
        tmp/ bin/ params.json events
"""

import contextlib
import fcntl
import os
import re
import stat

from penstock.runner.trouble import Trouble, words
from penstock.wire import event

VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


def root(named: "str | None", work: str) -> "tuple[str, str]":
    """Return the scratch folder of this node, and a note where it is not the one to expect.

    ``named`` is the site's setting, ``work`` the folder on project storage.
    """
    if named:
        path = os.path.expandvars(named)
        if VARIABLE.search(path):
            raise Trouble("scratch %s: the variable is not set on this node" % named)
        if not _is_usable(path):
            raise Trouble(
                "scratch %s is not a folder of this node that may be written to: set another one "
                "(`scratch` in penstock.toml or the site's settings)" % path
            )
        return path, ""
    notes: "list[str]" = []
    for name in ("SLURM_TMPDIR", "TMPDIR"):
        path = os.environ.get(name, "")
        if path and _is_usable(path):
            return path, "; ".join(notes)
        if path:
            notes.append("$%s (%s) cannot be written to on this node" % (name, path))
    try:
        os.makedirs(work, exist_ok=True)
    except OSError as error:
        raise Trouble("no scratch folder: %s" % words(error)) from None
    return work, "; ".join(notes)


def _is_usable(path: str) -> bool:
    return os.path.isabs(path) and os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def own(folder: str) -> str:
    """Return our own folder below the scratch folder. Raises Trouble where another made it."""
    path = os.path.join(os.path.realpath(folder), "penstock-%d" % os.getuid())
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        raise Trouble("no folder in scratch: %s" % words(error)) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise Trouble(
            "%s is not yours (its owner is user %d): others could read and change what runs there. "
            "Have it removed, or set another `scratch`" % (path, found.st_uid)
        )
    if found.st_mode & 0o077:
        raise Trouble("%s is open to others: chmod 700 %s" % (path, path))
    return path


class Folder:
    """The folder of one restart of one run."""

    def __init__(self, above: str, token: str, index: int, restart: int) -> None:
        self._runs = os.path.join(above, "run")
        self._stem = "%s-%d-" % (token, index)
        self._restart = restart
        self.path = os.path.join(self._runs, "%s%d" % (self._stem, restart))
        self.work = os.path.join(self.path, "work")
        self.tmp = os.path.join(self.path, "tmp")
        self.events = os.path.join(self.path, event.FILE)
        self._owner = -1

    def make(self, node: str) -> None:
        """Make it anew, and remove what runners that died on this node left. Raises OSError."""
        os.makedirs(self._runs, exist_ok=True)
        self.sweep(node)
        os.mkdir(self.path, 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._owner = os.open(os.path.join(self.path, "owner"), flags, 0o600)
        with contextlib.suppress(OSError):  # no locks here: then nobody takes it for dead
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._owner, node.encode("utf-8", "surrogateescape"))
        os.mkdir(self.tmp)

    def remove(self) -> None:
        """Remove it."""
        remove(self.path)
        if self._owner >= 0:
            os.close(self._owner)
            self._owner = -1

    def sweep(self, node: str) -> None:
        """Remove the folders of earlier restarts, and of runners that died on this node."""
        for name in os.listdir(self._runs):
            path = os.path.join(self._runs, name)
            if self._is_earlier(name) or _is_dead(path, node):
                remove(path)

    def _is_earlier(self, name: str) -> bool:
        end = name[len(self._stem) :]
        return name.startswith(self._stem) and end.isdigit() and int(end) <= self._restart


def _is_dead(path: str, node: str) -> bool:
    """Say whether the runner of a folder is gone: it was on this node, and its lock is free.

    Locks do not reach from one node to another on every file system, so folders of others stay.
    """
    try:
        file = os.open(os.path.join(path, "owner"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.read(file, 4096) != node.encode("utf-8", "surrogateescape"):
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def remove_any(path: str) -> None:
    """Remove a file or a tree."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove(path)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def remove(path: str) -> None:
    """Remove a tree as far as that is possible, also where folders in it are read-only."""
    try:
        entries = list(os.scandir(path))
    except PermissionError:
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
        try:
            entries = list(os.scandir(path))
        except OSError:
            return
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove(entry.path)
            continue
        try:
            os.unlink(entry.path)
        except PermissionError:
            with contextlib.suppress(OSError):
                os.chmod(path, 0o700)
                os.unlink(entry.path)
        except OSError:
            continue
    with contextlib.suppress(OSError):
        os.rmdir(path)
