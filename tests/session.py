"""A session of a test, with a connection of its own and nobody's ~/.ssh/config."""

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
