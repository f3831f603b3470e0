"""What can be set, where it is set, and that it is right."""

from penstock.settings.fields import Cluster, Settings

__all__ = ["Cluster", "Settings"]
