"""How long a host is left alone after a failure, by all processes."""

import json
from pathlib import Path

import pytest

from penstock.errors import Denied, Dropped, PenstockError, Unattended, Unreachable, Untrusted
from penstock.transport.cooldown import (
    DENIED_S,
    DROPPED_S,
    MOST_OPENED,
    UNATTENDED_S,
    UNREACHABLE_S,
    WINDOW_S,
    Cooldown,
    Record,
    after,
    kept_back,
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
    assert waits(Untrusted("x"), 4) == [*UNATTENDED_S, UNATTENDED_S[-1]]
    assert waits(Unattended("x"), 4) == [*UNATTENDED_S, UNATTENDED_S[-1]]


def test_success_ends_all_waits() -> None:
    assert after(Record(failures=3, denials=2, unattended=1), 100, None) == Record(opened=(100,))


MENDED = [Untrusted("x"), Unattended("x")]


@pytest.mark.parametrize("error", MENDED)
def test_what_is_mended_at_a_terminal_is_not_waited_for_there(error: PenstockError) -> None:
    tried = after(Record(failures=3, denials=2), 100, error, is_attended=True)
    assert tried == Record(opened=(100,))
    waiting = after(tried, 200, error)
    assert kept_back(waiting, is_attended=False).until == 200 + UNATTENDED_S[0]
    assert kept_back(waiting, is_attended=True).until == 0


@pytest.mark.parametrize("error", MENDED)
def test_try_at_a_terminal_that_fails_lets_others_wait_on(error: PenstockError) -> None:
    waiting = after(Record(), 100, error)
    tried = after(waiting, 110, error, is_attended=True)
    assert (tried.until, tried.unattended) == (waiting.until, 1)
    assert tried.opened == (100, 110)


@pytest.mark.parametrize("error", [Denied("x"), Unreachable("x")])
def test_terminal_spares_no_other_wait(error: PenstockError) -> None:
    record = after(after(Record(), 100, Unattended("x")), 110, error, is_attended=True)
    assert kept_back(record, is_attended=True).until == record.until > 110
    assert after(record, record.until, Unattended("x")).until == record.until + UNATTENDED_S[1]


def test_terminal_spares_nobody_the_most_connections() -> None:
    opened = tuple(1000.0 + number for number in range(MOST_OPENED - 1))
    record = after(Record(opened=opened), 1100, Untrusted("x"))
    assert kept_back(record, is_attended=True).until == 1000 + WINDOW_S
    assert "12 connections" in kept_back(record, is_attended=True).why


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
    for _ in range(MOST_OPENED):
        make(tmp_path, clock).forget()
        with make(tmp_path, clock).trying("host"):
            pass


@pytest.mark.parametrize("error", MENDED)
def test_daemon_that_needs_somebody_waits_and_says_what_to_do(
    tmp_path: Path, error: PenstockError
) -> None:
    clock = [1000.0]
    for wait_s in UNATTENDED_S:
        with pytest.raises(type(error), match="x"), make(tmp_path, clock).trying("host"):
            raise error
        clock[0] += wait_s - 1
        with (
            pytest.raises(type(error), match="not tried again for 1 s") as caught,
            make(tmp_path, clock).trying("host"),
        ):
            raise AssertionError("tried")
        assert "penstock clusters --connect NAME" in caught.value.hint
        clock[0] += 1
    with pytest.raises(type(error)), make(tmp_path, clock).trying("host"):
        raise error
    with make(tmp_path, clock).trying("host", is_attended=True):
        pass
    assert make(tmp_path, clock).read().unattended == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"until": 5}', '{"opened": 3}', '{"x": [1]}'])
def test_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "host.json").write_text(text)
    with make(tmp_path, [1000.0]).trying("host"):
        pass


def test_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "ssh").mkdir()
    said = {"failures": 0, "denials": 2, "until": 1500.0, "why": "no", "opened": [900.0]}
    (tmp_path / "ssh" / "host.json").write_text(json.dumps(said))
    found = make(tmp_path, [1000.0]).read()
    assert found == Record(denials=2, until=1500.0, why="no", opened=(900.0,))


def test_clock_that_was_set_back_is_no_reason_to_wait_for_days(tmp_path: Path) -> None:
    (tmp_path / "ssh").mkdir()
    said = {"failures": 1, "denials": 0, "until": 1e9, "why": "", "opened": []}
    (tmp_path / "ssh" / "host.json").write_text(json.dumps(said))
    with make(tmp_path, [1000.0]).trying("host"):
        pass
