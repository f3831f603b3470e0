"""Choose the scheduler."""

from pathlib import Path

from penstock.errors import TransportError
from penstock.scheduler import config
from penstock.scheduler.protocol import Scheduler
from penstock.scheduler.slurm import SlurmScheduler
from penstock.settings import Settings
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Transport


def choose(settings: Settings, transport: Transport, *, memory: Path | None = None) -> Scheduler:
    """Return the scheduler that the settings ask for; ``memory`` is a folder of this machine."""
    name, _ = why(settings, transport)
    if name == "slurm":
        return SlurmScheduler(
            transport,
            memory=memory or settings.home,
            way=config.way() if isinstance(transport, LocalTransport) else "",
            accounting_lag_s=settings.accounting_lag_s,
        )
    from penstock.scheduler.local import LocalScheduler  # noqa: PLC0415  what Slurm can do without

    return LocalScheduler(str(settings.home / "local"), cpus=settings.local_cpus)


def why(settings: Settings, transport: Transport) -> tuple[str, str]:
    """Return the scheduler's name, and the reason for it in words."""
    if settings.scheduler != "auto":
        return settings.scheduler, f"`scheduler` is set to {settings.scheduler}"
    try:
        transport.run(["sbatch", "--version"], timeout_s=30)
    except TransportError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return "local", "there is no sbatch on PATH, so runs are processes of this machine"
    return "slurm", "sbatch is on PATH"
