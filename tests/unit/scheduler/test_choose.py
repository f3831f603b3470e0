from pathlib import Path
from typing import Literal

import pytest

from penstock.errors import TransportError
from penstock.scheduler.choose import choose, why
from penstock.scheduler.local import LocalScheduler
from penstock.scheduler.slurm import SlurmScheduler
from penstock.settings import Settings
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Finished
from tests.unit.scheduler.test_slurm import Answer, Scripted, ok


class Answering(LocalTransport):
    """A transport where sbatch is there, is missing, or does not answer."""

    def __init__(self, cause: Exception | None = None) -> None:
        super().__init__()
        self.cause = cause

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        if self.cause is not None:
            raise TransportError("no") from self.cause
        return Finished(0, "slurm 22.05.8\n", "")


def make_settings(tmp_path: Path, name: Literal["auto", "slurm", "local"] = "auto") -> Settings:
    return Settings(root=tmp_path, scheduler=name)


@pytest.mark.parametrize(
    "cause, kind, reason",
    [
        (None, SlurmScheduler, "sbatch is on PATH"),
        (FileNotFoundError(), LocalScheduler, "no sbatch on PATH"),
        (TimeoutError(), SlurmScheduler, "sbatch is on PATH"),
    ],
)
def test_auto_looks_for_sbatch(
    tmp_path: Path, cause: Exception | None, kind: type, reason: str
) -> None:
    settings, transport = make_settings(tmp_path), Answering(cause)
    assert isinstance(choose(settings, transport), kind)
    assert reason in why(settings, transport)[1]


@pytest.mark.parametrize("name, kind", [("slurm", SlurmScheduler), ("local", LocalScheduler)])
def test_what_is_set_is_taken(tmp_path: Path, name: Literal["slurm", "local"], kind: type) -> None:
    settings = make_settings(tmp_path, name)
    assert isinstance(choose(settings, Answering(FileNotFoundError())), kind)
    assert "is set" in why(settings, Answering())[1]


@pytest.mark.parametrize("first, asked", [(ok("slurm 23.11.4\n"), 1), (TransportError("slow"), 2)])
def test_version_is_asked_once(tmp_path: Path, first: Answer, asked: int) -> None:
    transport = Scripted({"sbatch --version": first})
    scheduler = choose(make_settings(tmp_path), transport)
    transport.answers["sbatch --version"] = ok("slurm 23.11.4\n")
    assert scheduler.capabilities().version == (23, 11, 4)
    scheduler.limits()
    assert transport.calls.count(["sbatch", "--version"]) == asked
