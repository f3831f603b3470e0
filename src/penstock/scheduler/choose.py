"""Choose the scheduler."""

import re
from pathlib import Path

from penstock.errors import SettingsError, TransportError
from penstock.scheduler import config, pyslurm
from penstock.scheduler.protocol import Scheduler
from penstock.scheduler.slurm import SlurmScheduler
from penstock.settings import Settings
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Transport

GUIDE = "docs/guides/pyslurm.md says how it is built; `auto` takes it where it fits"


def choose(settings: Settings, transport: Transport, *, memory: Path | None = None) -> Scheduler:
    """Return the scheduler that the settings ask for; ``memory`` is a folder of this machine.

    Raises SettingsError where it is pyslurm, and that does not fit.
    """
    name, reason, said = _asked(settings, transport)
    if name == "local":
        from penstock.scheduler.local import LocalScheduler  # noqa: PLC0415  Slurm can do without

        return LocalScheduler(str(settings.home / "local"), cpus=settings.local_cpus)
    if settings.scheduler == pyslurm.NAME != name:
        raise SettingsError(reason, hint=GUIDE)
    kind = pyslurm.PyslurmScheduler if name == pyslurm.NAME else SlurmScheduler
    chosen = kind(
        transport,
        memory=memory or settings.home,
        way=config.way() if isinstance(transport, LocalTransport) else "",
        accounting_lag_s=settings.accounting_lag_s,
    )
    chosen.hear_version(said)
    return chosen


def why(settings: Settings, transport: Transport) -> tuple[str, str]:
    """Return the scheduler's name, and the reason for it in words."""
    return _asked(settings, transport)[:2]


def _asked(settings: Settings, transport: Transport) -> tuple[str, str, str]:
    """Return the name, the reason, and what sbatch said of its version if that was asked."""
    if settings.scheduler in ("slurm", "local"):
        return settings.scheduler, f"`scheduler` is set to {settings.scheduler}", ""
    try:
        said = transport.run(["sbatch", "--version"], timeout_s=30).out
    except TransportError as error:
        if isinstance(error.__cause__, FileNotFoundError) and settings.scheduler == "auto":
            return "local", "there is no sbatch on PATH, so runs are processes of this machine", ""
        said = ""
    misfit = _misfit(said, transport)
    is_auto = settings.scheduler == "auto"
    begin = "sbatch is on PATH" if is_auto else f"`scheduler` is set to {settings.scheduler}"
    if misfit:
        return "slurm", f"{begin}, and {misfit}", said
    return pyslurm.NAME, f"{begin}, and pyslurm is of the version that sbatch has", said


def _misfit(said: str, transport: Transport) -> str:
    """Return why pyslurm does not fit a Slurm that says its version; empty: it does.

    Its first two numbers are those of the one Slurm that it was built for.
    """
    built_for = pyslurm.version()
    if built_for is None:
        return "pyslurm is not installed"
    if not isinstance(transport, LocalTransport):
        return "pyslurm reaches no cluster by SSH"
    slurm = tuple(int(number) for number in re.findall(r"\d+", said)[:2])
    if built_for[:2] == slurm:
        return ""
    of = ".".join(map(str, built_for))
    return f"pyslurm {of} is not of the version that sbatch has ({said.strip() or 'it says none'})"
