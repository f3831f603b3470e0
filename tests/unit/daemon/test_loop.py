"""What the daemon's log says of trouble."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.daemon import life
from penstock.daemon.loop import Loop
from penstock.errors import StoreError, UsageError
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


def test_daemon_whose_place_another_has_ends_and_says_who(steps: Steps, tmp_path: Path) -> None:
    said: list[tuple[str, dict[str, object]]] = []

    def say(what: str, level: str = "info", **fields: object) -> None:
        said.append((what, fields))

    path = tmp_path / "d"
    loop = Loop(lambda: pytest.fail("it is open"), say, path)
    loop.upkeep = cast("Upkeep", steps)
    steps.left = [Report()] * 3
    loop.step()
    found = life.read(path)
    assert found is not None
    assert found.pid == os.getpid()
    path.unlink()  # as anybody may
    loop.step()
    assert life.read(path) is not None
    path.write_text(json.dumps({"holder": "login2:7:123", "since": time.time()}))
    with pytest.raises(UsageError, match="process 7 on login2"):
        loop.step()
    assert len(steps.left) == 1, "it did nothing any more"
    assert said[-1][0] == "ending"
    assert "process 7 on login2" in str(said[-1][1]["why"])


def test_disk_that_cannot_be_written_ends_no_daemon(steps: Steps, tmp_path: Path) -> None:
    loop = Loop(lambda: pytest.fail("it is open"), lambda *_, **__: None, tmp_path / "no" / "d")
    loop.upkeep = cast("Upkeep", steps)
    steps.left = [Report()]
    loop.step()
    assert not steps.left
