"""Sessions of tests, with a connection of their own and nobody's ~/.ssh/config."""

from pathlib import Path

from penstock.settings import Cluster
from penstock.transport.host import resolve
from penstock.transport.login import Asker
from penstock.transport.session import Session
from penstock.transport.trunk import Trunk


def make_session(
    cluster: Cluster, state: Path, *, ask: Asker | None = None, config: Path = Path("/none")
) -> Session:
    """Return a session of the cluster ``big``."""
    return Session("big", cluster, Trunk(resolve(cluster, config=config), state, ask=ask))


def forget(state: Path) -> None:
    """Let a host be tried at once: its cause was mended."""
    for file in state.glob("*.json"):
        file.unlink()
