"""Claims: one job, and of it the highest restart, whatever happens in between."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from penstock.wire import claim, place, spool


def make_header(**changes: Any) -> dict[str, object]:
    header: dict[str, object] = {
        "k": "open", "at": 1.0, "token": "tok", "index": 7, "restart": 0, "job": "12_7",
        "cluster": "c", "node": "n1", "pid": 1,
    }  # fmt: skip
    return header | changes


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "spool" / "0").iterdir()}


def end(folder: Path, restart: int, *, is_sealed: bool) -> None:
    path = folder / place.spool(7, restart)
    with path.open("ab") as file:
        file.write(spool.encode({"k": "exit", "at": 2.0, "code": 3, "sealed": is_sealed}))
    claim.close(str(path))


def test_first_claim_leaves_a_claim_and_an_open_spool(tmp_path: Path) -> None:
    opened = claim.take(str(tmp_path), make_header())
    assert names(tmp_path) == {"7.claim", "7.0.open"}
    assert claim.owner(opened) == make_header()
    assert claim.owner(str(tmp_path / place.claim(7))) == make_header()


@pytest.mark.parametrize(
    "changes", [{"job": "13_7"}, {"cluster": "d"}, {"job": "13_7", "restart": 5}]
)
def test_another_job_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    claim.take(str(tmp_path), make_header())
    with pytest.raises(claim.Taken, match="12_7"):
        claim.take(str(tmp_path), make_header(**changes))
    assert names(tmp_path) == {"7.claim", "7.0.open"}


def test_higher_restart_takes_over_and_closes_the_lower(tmp_path: Path) -> None:
    first = claim.take(str(tmp_path), make_header())
    file = os.open(first, os.O_RDONLY)
    assert claim.is_held(first, file)
    claim.take(str(tmp_path), make_header(restart=2))
    assert names(tmp_path) == {"7.claim", "7.0.done", "7.2.open"}
    assert not claim.is_held(first, file, ask=True)
    assert not claim.close(first)  # fenced
    os.close(file)


@pytest.mark.parametrize("restart", [0, 1, 2])
def test_restart_that_is_not_higher_is_refused(tmp_path: Path, restart: int) -> None:
    claim.take(str(tmp_path), make_header())
    claim.take(str(tmp_path), make_header(restart=2))
    with pytest.raises(claim.Taken):
        claim.take(str(tmp_path), make_header(restart=restart))


def test_killed_between_link_and_rename_can_be_taken_over(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        claim.take(str(tmp_path), make_header(), interrupt("runner.claim.linked"))
    claim.take(str(tmp_path), make_header(restart=1))
    with pytest.raises(claim.Taken):
        claim.take(str(tmp_path), make_header(job="13_7"))


def interrupt(at: str) -> Callable[[str], None]:
    def hit(name: str) -> None:
        if name == at:
            raise KeyboardInterrupt

    return hit


def test_lower_restart_that_wakes_up_later_is_refused(tmp_path: Path) -> None:
    """Restart 0 stood still before its rename, on a node that Slurm has given up."""

    def overtake(name: str) -> None:
        if name == "runner.claim.linked":
            claim.take(str(tmp_path), make_header(restart=1))

    with pytest.raises(claim.Taken, match="restart 1"):
        claim.take(str(tmp_path), make_header(), overtake)


def test_link_that_succeeded_and_says_otherwise_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS: the answer was lost, and the call repeated."""
    link = os.link

    def lossy(source: str, target: str) -> None:
        link(source, target)
        raise OSError(errno.EEXIST, "exists", target)

    monkeypatch.setattr(os, "link", lossy)
    claim.take(str(tmp_path), make_header())
    assert names(tmp_path) == {"7.claim", "7.0.open"}


def test_link_that_fails_is_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, target: str) -> None:
        raise OSError(errno.EDQUOT, "quota", target)

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(OSError, match="quota"):
        claim.take(str(tmp_path), make_header())
    assert names(tmp_path) == set()


def test_sealed_end_of_a_lower_restart_is_found(tmp_path: Path) -> None:
    claim.take(str(tmp_path), make_header())
    end(tmp_path, 0, is_sealed=True)
    claim.take(str(tmp_path), make_header(restart=1))
    found = claim.sealed(str(tmp_path), 7, 1)
    assert found is not None
    assert found["code"] == 3


def test_end_that_is_not_sealed_is_none(tmp_path: Path) -> None:
    claim.take(str(tmp_path), make_header())
    end(tmp_path, 0, is_sealed=False)
    claim.take(str(tmp_path), make_header(restart=1))
    assert claim.sealed(str(tmp_path), 7, 1) is None


def test_exit_record_that_was_never_closed_counts(tmp_path: Path) -> None:
    """Killed between its exit record and its rename."""
    path = Path(claim.take(str(tmp_path), make_header()))
    with path.open("ab") as file:
        file.write(spool.encode({"k": "exit", "at": 2.0, "code": 0, "sealed": True}))
    claim.take(str(tmp_path), make_header(restart=1))
    assert claim.sealed(str(tmp_path), 7, 1) is not None


def test_many_at_once_leave_one_holder(tmp_path: Path) -> None:
    def attempt(job: int) -> bool:
        try:
            claim.take(str(tmp_path), make_header(job=f"{job}_7", pid=job))
        except claim.Taken:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(64))) == 1
    assert names(tmp_path) == {"7.claim", "7.0.open"}


def test_many_restarts_at_once_leave_the_highest(tmp_path: Path) -> None:
    claim.take(str(tmp_path), make_header())

    def attempt(restart: int) -> None:
        try:
            claim.take(str(tmp_path), make_header(restart=restart, pid=restart))
        except claim.Taken:
            return

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(attempt, range(1, 33)))
    highest = max(claim.restarts(str(tmp_path), 7))
    held = []
    for path in (tmp_path / "spool" / "0").glob("*.open"):
        file = os.open(path, os.O_RDONLY)
        held += [path.name] if claim.is_held(str(path), file) else []
        os.close(file)
    assert f"7.{highest}.open" in held
