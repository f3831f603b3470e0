"""What the daemon's log says of trouble."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.daemon.loop import Loop
from penstock.errors import StoreError
from penstock.reconciler.cycle import Report
from penstock.service.upkeep import Upkeep
from penstock.store.connection import open_store
from penstock.testing.factories import make_settings

AWAY = "squeue failed"


@dataclass
class Steps:
    """Upkeep whose steps were written down before."""

    project: Any
    left: list[Report | Exception] = field(default_factory=list)

    def step(self) -> Report:
        first = self.left.pop(0)
        if isinstance(first, Exception):
            raise first
        return first


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    store = open_store(f"sqlite:///{tmp_path / 'penstock.db'}", create=True)
    settings = make_settings(tmp_path)
    yield Steps(SimpleNamespace(settings=settings, store=store, user="alice"))
    store.close()


def told(steps: Steps, *reports: Report | Exception) -> list[str]:
    """Return what the log says while these steps are made."""
    said: list[str] = []

    def say(what: str, level: str = "info", **fields: object) -> None:
        said.append(what)

    loop = Loop(lambda: pytest.fail("it is open"), say)
    loop.upkeep = cast("Upkeep", steps)
    steps.left = list(reports)
    while steps.left:
        loop.step()
    return said


def test_trouble_of_a_look_lasts_until_the_next_look(steps: Steps) -> None:
    spools_only = Report()
    reports = [Report(odd=[AWAY]), spools_only, spools_only, Report(odd=[AWAY]), spools_only]
    assert told(steps, *reports) == ["trouble"]
    assert told(steps, *reports, Report(polled=True)) == ["trouble", "all is well again"]


def test_store_that_is_back_is_well_at_once(steps: Steps) -> None:
    assert told(steps, StoreError("away"), StoreError("away"), Report()) == [
        "trouble",
        "all is well again",
    ]
