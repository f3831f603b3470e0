"""The mark: the fence under which something was last sent, in a file beside the arrays.

The fence grows in the very transaction that says that an array is sent, and is written here before
sbatch is called. So a store whose fence is lower is a copy of before (``store.lease.take``), and
what it calls unsent may have run. The file is where the arrays are, for they are sent from there.
"""

import contextlib
import json
from pathlib import Path

from penstock.errors import NotFoundError, StoreError
from penstock.reconciler.world import World
from penstock.store import lease
from penstock.transport.protocol import Transport


def path(home: Path, *, user: str, cluster: str) -> Path:
    """Return the file of a user on a cluster."""
    return home / f"sent.{user}.{cluster}"


def write(transport: Transport, home: Path, *, user: str, cluster: str, fence: int) -> None:
    """Write the mark; it is safe on the disk before this returns. Raises TransportError."""
    text = json.dumps({"user": user, "cluster": cluster, "fence": fence})
    transport.put(str(path(home, user=user, cluster=cluster)), text.encode())


def read(transport: Transport, home: Path, *, user: str, cluster: str) -> int:
    """Return the mark; 0: there is none. Raises TransportError, and StoreError for what is none."""
    file = path(home, user=user, cluster=cluster)
    try:
        data = transport.get(str(file))
    except NotFoundError:
        return 0
    return _fence(file, data)[1]


def known(world: World) -> int:
    """Return the mark; far away it costs a command, so not where nobody acted since we left.

    Then the store is as this process left it, or another that shares the connection, and no copy
    of before. That is in no file: what puts a copy of the store in place could bring its copy, too.
    """
    who = {"user": world.user, "cluster": world.cluster}
    if world.is_far:
        now = lease.fence(world.store, **who)
        if now is not None and now in (world.memory.left_at, _recalled(world)):
            return now
    return read(world.transport, world.settings.home, **who)


def leave(world: World, fence: int) -> None:
    """Remember the fence at which a cycle left the store."""
    world.memory.left_at = fence
    world.remember(_key(world), str(fence))


def _recalled(world: World) -> int | None:
    found = world.recall(_key(world))
    return int(found) if found else None


def _key(world: World) -> str:
    mark = path(world.settings.home, user=world.user, cluster=world.cluster)
    return f"{world.store.name} {mark}"


def here(home: Path) -> dict[tuple[str, str], int]:
    """Return all marks on this machine, by user and cluster. Raises StoreError."""
    found = {}
    for file in sorted(home.glob("sent.*")):
        with contextlib.suppress(FileNotFoundError):  # it may be replaced just now
            key, fence = _fence(file, _bytes(file))
            found[key] = fence
    return found


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from error


def _fence(file: Path, data: bytes) -> tuple[tuple[str, str], int]:
    try:
        told = json.loads(data)
        return (str(told["user"]), str(told["cluster"])), int(told["fence"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{file} does not say what was sent last: it was overwritten",
            hint="`penstock store restore` looks up what was sent; remove the file before",
        ) from error
