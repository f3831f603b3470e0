"""The pace that processes share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock.errors import Unreachable
from penstock.planning.pace import Pace
from penstock.service.project import Project
from penstock.service.upkeep import Upkeep, read_pace, write_pace
from penstock.settings import Cluster
from penstock.testing.factories import make_settings

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_pace_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_pace(tmp_path / "pace", Pace(AT, 15))
    assert read_pace(tmp_path / "pace") == Pace(AT, 15)
    assert [path.name for path in tmp_path.iterdir()] == ["pace"]


def test_pace_has_who_answered_and_how_long_slurm_remembers(tmp_path: Path) -> None:
    later = AT + timedelta(seconds=60)
    whole = Pace(later, 15, AT, later, AT, 360)
    write_pace(tmp_path / "pace", whole)
    assert read_pace(tmp_path / "pace") == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"at": "x", "wait_s": 1}',
        '{"at": 1e300, "wait_s": 1}',
        "null",
        '{"wait_s": 1}',
    ],
)
def test_pace_that_cannot_be_read_lets_a_look_be_due(tmp_path: Path, text: str) -> None:
    (tmp_path / "pace").write_text(text)
    assert read_pace(tmp_path / "pace") == Pace()
    assert read_pace(tmp_path / "absent") == Pace()


def test_pace_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    write_pace(tmp_path / "no" / "folder" / "pace", Pace(AT, 15))
    write_pace(tmp_path / "pace", Pace())
    assert list(tmp_path.iterdir()) == []


def test_each_cluster_that_is_away_is_tried_at_its_own_pace(tmp_path: Path) -> None:
    def on(cluster: str) -> Any:
        raise Unreachable(f"{cluster} does not answer")

    clusters = {"big": Cluster(host="b", poll_s=100, poll_max_s=300), "small": Cluster(host="s")}
    project = SimpleNamespace(
        settings=make_settings(tmp_path, poll_s=5, poll_max_s=30, clusters=clusters),
        clock=SimpleNamespace(now=lambda: AT),
        user="alice",
        state_of=lambda cluster: tmp_path / cluster,
        on=on,
    )
    upkeep = Upkeep(cast("Project", project))
    waits: dict[str, list[float]] = {}
    for _ in range(3):
        for name in clusters:
            upkeep._far_step(name, force=True, act=False)
            paced = read_pace(tmp_path / name / "pace.alice")
            waits.setdefault(name, []).append(paced.wait_s)
    assert waits == {"big": [200, 300, 300], "small": [10, 20, 30]}
