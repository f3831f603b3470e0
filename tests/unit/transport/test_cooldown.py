"""How long a host is left alone after a failure, by all processes."""

import json
from pathlib import Path

import pytest

from penstock.errors import Denied, Dropped, PenstockError, Unattended, Unreachable, Untrusted
from penstock.transport.cooldown import (
    DENIED_S,
    DROPPED_S,
    MOST_OPENED,
    UNREACHABLE_S,
    WINDOW_S,
    Cooldown,
    Record,
    after,
)


def waits(error: PenstockError, count: int) -> list[float]:
    """Return the waits after so many failures in a row, an hour apart."""
    record, found = Record(), []
    for number in range(count):
        now = 10_000.0 * (number + 1)
        record = after(record, now, error)
        found.append(record.until - now)
    return found


def test_waits_grow_and_stay_at_the_longest() -> None:
    assert waits(Unreachable("x"), 8) == [*UNREACHABLE_S, UNREACHABLE_S[-1], UNREACHABLE_S[-1]]
    assert waits(Denied("x"), 5) == [*DENIED_S, DENIED_S[-1], DENIED_S[-1]]
    assert waits(Dropped("x"), 3) == [DROPPED_S, *DENIED_S[1:]]


@pytest.mark.parametrize("error", [Untrusted("x"), Unattended("x"), None])
def test_what_a_user_mends_is_not_waited_for(error: PenstockError | None) -> None:
    assert after(Record(failures=3, denials=2), 100, error).until == 0


def test_many_connections_are_too_many_even_if_all_succeed() -> None:
    record = Record()
    for number in range(MOST_OPENED):
        assert record.until == 0
        record = after(record, 1000.0 + number, None)
    assert record.until == 1000 + WINDOW_S
    assert after(record, record.until + WINDOW_S, None).until == 0


def make(tmp_path: Path, clock: list[float]) -> Cooldown:
    return Cooldown(tmp_path / "ssh" / "host.json", now=lambda: clock[0])


def test_another_process_waits_and_says_why(tmp_path: Path) -> None:
    clock = [1000.0]
    denied = Denied("the login was refused", hint="look at the key")
    with pytest.raises(Denied), make(tmp_path, clock).trying("me@host"):
        raise denied
    clock[0] += 60
    with (
        pytest.raises(Denied, match=r"for 60 s.*the login was refused") as caught,
        make(tmp_path, clock).trying("me@host"),
    ):
        raise AssertionError("tried")
    assert "look at the key" in caught.value.hint
    clock[0] += 61
    with make(tmp_path, clock).trying("me@host"):
        pass
    assert make(tmp_path, clock).read().denials == 0


def test_forgotten_failure_lets_a_try_be_at_once(tmp_path: Path) -> None:
    clock = [1000.0]
    with pytest.raises(Denied), make(tmp_path, clock).trying("host"):
        raise Denied("no")
    make(tmp_path, clock).forget()
    with make(tmp_path, clock).trying("host"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"until": 5}', '{"opened": 3}', '{"x": [1]}'])
def test_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "host.json").write_text(text)
    with make(tmp_path, [1000.0]).trying("host"):
        pass


def test_clock_that_was_set_back_is_no_reason_to_wait_for_days(tmp_path: Path) -> None:
    (tmp_path / "ssh").mkdir()
    said = {"failures": 1, "denials": 0, "until": 1e9, "why": "", "opened": []}
    (tmp_path / "ssh" / "host.json").write_text(json.dumps(said))
    with make(tmp_path, [1000.0]).trying("host"):
        pass
