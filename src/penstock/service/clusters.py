"""The clusters of the settings: which are connected, which are waited for and why."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.clock import stamp
from penstock.errors import SettingsError
from penstock.service.project import Project
from penstock.settings.files import PROJECT_FILE
from penstock.transport.cooldown import Cooldown, record_path
from penstock.transport.peer import Shared, peer, state_folder

if TYPE_CHECKING:
    from penstock.transport.host import Host

PING_S = 60


@dataclass(frozen=True)
class Standing:
    """How it is with a cluster."""

    name: str
    host: str  # as ssh would be told
    is_connected: bool
    wait_s: float  # before it is tried again
    why: str


def standings(project: Project) -> list[Standing]:
    """Return how it is with each cluster; connects to none."""
    return [_standing(project, name) for name in project.settings.clusters]


def connect(project: Project, name: str) -> None:
    """Log in now, whatever was tried before: who calls this has mended the cause."""
    link = _link(project, name)
    for one in _cooldowns(_host(project, name)):
        one.forget()
    link.ask({"verb": "ping"}, timeout_s=PING_S, is_safe=True)  # one that is gone is made anew
    link.close()


def disconnect(project: Project, name: str) -> bool:
    """End the connection; return whether there was one."""
    return _link(project, name).end()


def _standing(project: Project, name: str) -> Standing:
    host = _host(project, name)
    record = max((one.read() for one in _cooldowns(host)), key=lambda one: one.until)
    wait_s = max(0.0, record.until - stamp(project.clock.now()))
    is_up = _link(project, name).is_up()
    return Standing(name, str(host), is_up, wait_s, record.why if wait_s else "")


def _link(project: Project, name: str) -> Shared:
    _known(project, name)
    return peer(name, project.settings.clusters[name])


def _known(project: Project, name: str) -> None:
    if name not in project.settings.clusters:
        known = ", ".join(project.settings.clusters) or "none"
        raise SettingsError(
            f"there is no cluster {name!r} in your settings",
            hint=f"there are: {known}; [clusters.{name}] in {PROJECT_FILE} would be one",
        )


def _host(project: Project, name: str) -> "Host":
    from penstock.transport.host import resolve  # noqa: PLC0415  an extra

    return resolve(project.settings.clusters[name])


def _cooldowns(host: "Host") -> list[Cooldown]:
    """Return what is known of the last tries: of the host, and of those on the way to it."""
    return [Cooldown(record_path(state_folder(), str(one))) for one in host.chain]
