"""Open the way to a cluster."""

import os
from pathlib import Path

from penstock.settings import Cluster
from penstock.transport.session import Session
from penstock.transport.ssh import Peer


def peer(name: str, cluster: Cluster) -> Peer:
    """Return who answers for a cluster. Raises SettingsError."""
    return Session(name, cluster, state_folder())


def state_folder() -> Path:
    """Return the folder of this machine that all projects of the user share."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "penstock" / "ssh"
