"""Which daemon lives, and who may say so."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock import aside
from penstock.daemon import life
from penstock.daemon.life import Pulse
from penstock.errors import StoreError, UsageError
from penstock.reconciler.world import here
from tests.hosts import on_host

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


# --- several at once

STALE = json.dumps({"holder": "elsewhere:7:123", "since": 0})


def test_claim_again_is_the_same(tmp_path: Path) -> None:
    mine = life.claim(tmp_path / "d", NOW)
    assert life.claim(tmp_path / "d", NOW + timedelta(hours=1)) == mine


def test_file_that_is_gone_is_written_again(tmp_path: Path) -> None:
    life.claim(tmp_path / "d", NOW)
    (tmp_path / "d").unlink()
    later = NOW + timedelta(hours=1)
    assert life.claim(tmp_path / "d", later).since == later
    assert life.living(tmp_path / "d", later) is not None


# A line is a file to claim; the answer is whether it was.
CLAIMANT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from penstock.daemon import life
from penstock.errors import UsageError
for line in sys.stdin:
    try:
        life.claim(Path(line.rstrip()), datetime.now(UTC))
        print("yes", flush=True)
    except UsageError:
        print("no", flush=True)
"""


@pytest.mark.parametrize("stale", ["", STALE])
def test_of_many_that_claim_at_once_one_stays(tmp_path: Path, stale: str) -> None:
    """At once; where a file was left, when each has looked again, as the loop does."""
    argv = [sys.executable, "-c", CLAIMANT]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        many = [
            stack.enter_context(
                subprocess.Popen(on_host(f"login{n}", argv), stdin=pipe, stdout=pipe, text=True)
            )
            for n in range(4)
        ]
        for turn in range(50):
            path = tmp_path / f"d{turn}"
            if stale:
                path.write_text(stale)
            first, again = ask(many, path), ask(many, path)
            found = life.read(path)
            assert found is not None
            assert stale or first == again
            assert [one.pid for one, answer in zip(many, again, strict=True) if answer] == [
                found.pid
            ]
    assert not list(tmp_path.glob(".d*"))


def ask(many: list["subprocess.Popen[str]"], path: Path) -> list[bool]:
    """Let all claim at once; return who may stay."""
    for one in many:
        assert one.stdin is not None
        one.stdin.write(f"{path}\n")
    for one in many:
        assert one.stdin is not None
        one.stdin.flush()
    return [one.stdout is not None and one.stdout.readline() == "yes\n" for one in many]


def test_claim_where_the_name_is_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        life.claim(tmp_path / "d", NOW)


def test_clear_puts_back_what_another_wrote_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("new")
    aside.clear(tmp_path / "d", b"old")
    assert (tmp_path / "d").read_text() == "new"
    aside.clear(tmp_path / "d", b"new")
    aside.clear(tmp_path / "d", b"new")
    assert list(tmp_path.iterdir()) == []


def test_name_is_taken_once(tmp_path: Path) -> None:
    assert aside.take(tmp_path / "d", "mine")
    assert not aside.take(tmp_path / "d", "another's")
    assert (tmp_path / "d").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("code", sorted(aside.NO_LINKS))
def test_where_there_are_no_hard_links_the_last_one_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "link", link)
    assert aside.take(tmp_path / "d", "one")
    assert aside.take(tmp_path / "d", "two")
    assert (tmp_path / "d").read_text() == "two"


def test_link_whose_answer_was_lost_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS has it: the call that is repeated finds the name there."""
    done = os.link

    def link(source: Path, target: Path) -> None:
        done(source, target)
        done(source, target)

    monkeypatch.setattr(os, "link", link)
    assert aside.take(tmp_path / "d", "mine")
