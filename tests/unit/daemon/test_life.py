"""Which daemon lives, and who may say so."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.daemon import life
from penstock.daemon.life import Pulse
from penstock.errors import UsageError
from penstock.reconciler.world import here

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def written(path: Path, holder: str, since: datetime = NOW) -> None:
    path.write_text(json.dumps({"holder": holder, "since": since.timestamp()}))


def test_none_lives_where_none_was(tmp_path: Path) -> None:
    assert life.living(tmp_path / "d", NOW) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"holder": 1}', '{"since": "x"}'])
def test_file_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "d").write_text(text)
    assert life.read(tmp_path / "d") is None


def test_claim_is_seen_and_given_up(tmp_path: Path) -> None:
    path = tmp_path / "d"
    mine = life.claim(path, NOW)
    found = life.living(path, NOW)
    assert found == mine
    assert (found.holder, found.is_here) == (here(), True)
    life.give_up(path)
    assert life.living(path, NOW) is None
    assert list(tmp_path.iterdir()) == []


def test_one_that_lives_is_not_replaced(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        holder = f"{here().split(':')[0]}:{child.pid}:{stat[19]}"
        written(tmp_path / "d", holder)
        with pytest.raises(UsageError, match=f"process {child.pid} on"):
            life.claim(tmp_path / "d", NOW)
        child.kill()
    assert life.claim(tmp_path / "d", NOW).holder == here()


def test_one_of_another_host_lives_while_it_is_heard_of(tmp_path: Path) -> None:
    path = tmp_path / "d"
    written(path, "elsewhere:7:123", NOW - timedelta(days=1))
    assert life.living(path, NOW) is None
    pulse = Pulse()
    pulse.beat(NOW - timedelta(minutes=1), 0.1, 2)
    life.write_pulse(path, pulse)
    found = life.living(path, NOW)
    assert found is not None
    assert (found.host, found.pid, found.is_here) == ("elsewhere", 7, False)
    with pytest.raises(UsageError, match="elsewhere"):
        life.claim(path, NOW)


def test_the_file_of_another_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path / "d", "elsewhere:7:123")
    life.give_up(tmp_path / "d")
    assert (tmp_path / "d").exists()


def test_pulse_is_read_as_it_was_written(tmp_path: Path) -> None:
    pulse = Pulse(trouble="no store")
    for took in (1.0, 3.0):
        pulse.beat(NOW, took, 2)
    life.write_pulse(tmp_path / "d", pulse)
    assert life.pulse(tmp_path / "d") == pulse
    assert (pulse.cycles, pulse.last_s, pulse.mean_s, pulse.longest_s) == (2, 3.0, 2.0, 3.0)
    assert pulse.next_at == NOW.timestamp() + 2
    (tmp_path / "d.pulse").write_text("{}")
    assert life.pulse(tmp_path / "d") == Pulse()
