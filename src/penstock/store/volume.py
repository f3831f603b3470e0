"""The file system that a store is on, as the kernel of this host names it."""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# Of which several hosts may have a part. A server that exports one sees its own as a local one.
SHARED = frozenset(
    {
        "afs", "beegfs", "beegfs_nodev", "ceph", "cifs", "daos", "gfs2", "glusterfs", "gpfs",
        "lustre", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "wekafs",
    }
)  # fmt: skip
NOT_SHARED = frozenset({"fuse.fuse-overlayfs", "fuse.overlayfs"})


def kind(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of the file system of a path; empty: that is not known."""
    try:
        wanted = path.resolve()
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found, longest = "", -1
    for line in lines:  # of two on one place the later hides the earlier
        words, _, rest = line.partition(" - ")
        place = words.split(" ")[4].encode().decode("unicode_escape")  # \040 is a space
        if wanted.is_relative_to(place) and len(place) >= longest:
            found, longest = rest.split(" ")[0], len(place)
    return found


def is_shared(name: str) -> bool:
    """Return whether several hosts may have a part in a file system of this kind."""
    return name in SHARED or (name.startswith("fuse.") and name not in NOT_SHARED)
