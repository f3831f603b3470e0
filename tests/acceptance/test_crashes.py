"""Processes are killed, at each failpoint and at random; nothing is lost, doubled or wrong."""

import ast
import itertools
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import penstock
from penstock.testing import rounds
from penstock.testing.aftermath import Aftermath, judge
from penstock.testing.crashes import KEEPER, Arm, Round, failpoints
from penstock.testing.places import OnSlurm, on_local, on_model

SRC = Path(penstock.__file__).parent
SEED = 20_000


def assert_right(tally: rounds.Tally) -> None:
    assert tally.problems == [], str(tally)


# --- each failpoint in turn


def test_every_failpoint_is_found_by_its_name() -> None:
    """One whose name is put together would be in no list, and never tried."""
    found = []
    for path in SRC.rglob("*.py"):
        if "testing" in path.parts or path.name == "failpoint.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "hit":
                (name,) = node.args
                found.append(name.value if isinstance(name, ast.Constant) else ast.unparse(name))
    assert set(found) == set(failpoints())


def test_killed_at_each_failpoint_in_turn(tmp_path: Path) -> None:
    with on_model(tmp_path) as place:
        tally = rounds.play(place, tmp_path, rounds.in_turn())
    assert_right(tally)
    assert tally.unmet == set(), "no story of testing/rounds.py passes these: add one to STORIES"
    assert set(tally.crashes) == {*rounds.commands(), *rounds.runners()}


def test_keeper_killed_at_each_failpoint_in_turn(tmp_path: Path) -> None:
    with on_local(tmp_path) as place:
        tally = rounds.play(place, tmp_path, rounds.of_keeper())
    assert_right(tally)
    assert set(tally.crashes) == {one for one in failpoints() if one.startswith(KEEPER)}


# --- at random


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_thousand_crashes_on_the_model(tmp_path: Path) -> None:
    with on_model(tmp_path) as place:
        drawn = map(rounds.at_random, itertools.count(SEED))
        every = itertools.chain(rounds.in_turn(2), rounds.in_turn(3), drawn)
        tally = rounds.play(place, tmp_path, every, until=1000)
    assert_right(tally)
    assert tally.crashed >= 1000


@pytest.mark.long
@pytest.mark.slurm
@pytest.mark.timeout(1200)
def test_fifty_crashes_on_a_real_slurm(installed: Path, shared: Path) -> None:
    shared.chmod(0o755)
    folder = shared / "alice"
    folder.mkdir()
    shutil.chown(folder, "alice")
    place = OnSlurm(installed / "penstock", "alice", Path(os.environ["SLURM_CONF"]))
    drawn = map(rounds.on_slurm, itertools.count(SEED))
    tally = rounds.play(place, folder, drawn, at_once=3, until=50)
    assert_right(tally)
    assert tally.crashed >= 50


# --- by hand


def test_resend_of_what_came_and_went_is_refused(tmp_path: Path) -> None:
    """The queue has forgotten the job; the accounting has not."""
    with on_model(tmp_path) as place:
        one = Round(tmp_path / "round", place, 0, commands=[Arm("reconciler.sent")])
        one.prepare()
        assert one.command("submit", "sweep.yaml").was_killed
        deadline = time.monotonic() + 60
        while "ps-" in asked(place.programs, "squeue", "--me", "-t", "all", "-o", "%j"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (token,) = {name.partition(".")[0] for name in place.jobs(one.root).values()}
        refused = one.command("resolve", token, "--resend")
        assert (refused.code, "the scheduler has" in refused.err) == (2, True)
        assert len(place.jobs(one.root)) == 1


def asked(programs: Path, name: str, *words: str) -> str:
    done = subprocess.run([programs / name, *words], capture_output=True, text=True, check=True)
    return done.stdout


# --- the judge


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[int, str]]]:
    folder = tmp_path_factory.mktemp("played")
    with on_model(folder) as place:
        one = Round(folder / "round", place, 0, runs=4)
        assert one.play() == Aftermath(runs=4)
        yield folder / "round", place.jobs(folder)


def change(root: Path, sql: str) -> None:
    with closing(sqlite3.connect(root / ".penstock" / "penstock.db")) as store, store:
        store.execute(sql)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def again(root: Path) -> None:
    """Let a command have run twice."""
    first = (root / "witness").read_text().splitlines()[0]
    rewrite(root / "witness", first, f"{first}\n{first}")


def after_the_record(root: Path) -> None:
    """Let a command have run once more though its record was sealed."""
    lines = (root / "witness").read_text().splitlines()
    end = next(line for line in lines if line.startswith("end"))
    rewrite(root / "witness", end, f"{end}\n{end.replace('end', 'begin').replace(' 0 ', ' 1 ')}")


TAMPERED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a run that is gone": ("lost", lambda root: change(root, "DELETE FROM run WHERE number = 4")),
    "a run that has not ended": (
        "lost",
        lambda root: change(root, "UPDATE run SET state = 'running' WHERE number = 2"),
    ),
    "a run that is called lost": (
        "lost",
        lambda root: change(root, "UPDATE run SET state = 'failed', cause = 'lost'"),
    ),
    "a command that never ended": (
        "lost",
        lambda root: rewrite(root / "witness", "end e/1 ", "end e/9 "),
    ),
    "an output that is gone": ("lost", lambda root: (root / "runs/e/3/out/text").unlink()),
    "points that are gone": ("lost", lambda root: change(root, "DELETE FROM chunk")),
    "points that came twice": ("doubled", lambda root: change(root, "UPDATE chunk SET count = 6")),
    "a command that ran twice": ("doubled", again),
    "a command that ran after its record": ("doubled", after_the_record),
    "a run that failed": (
        "wrong",
        lambda root: change(root, "UPDATE run SET state = 'failed', cause = 'exit'"),
    ),
    "an attempt too many": ("wrong", lambda root: change(root, "UPDATE run SET attempt = 2")),
    "another's job": ("wrong", lambda root: change(root, "UPDATE job_array SET job = job + 99")),
    "an array that is not folded": (
        "wrong",
        lambda root: change(root, "UPDATE job_array SET intent = 'ended'"),
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_judge_finds(what: str, played: tuple[Path, dict[int, str]], tmp_path: Path) -> None:
    root = tmp_path / "round"
    shutil.copytree(played[0], root)
    kind, tamper = TAMPERED[what]
    assert judge(root, played[1], runs=4).problems == []
    tamper(root)
    assert getattr(judge(root, played[1], runs=4), kind)


def test_judge_finds_an_array_that_was_sent_twice(played: tuple[Path, dict[int, str]]) -> None:
    root, jobs = played
    found = judge(root, {**jobs, 999: next(iter(jobs.values()))}, runs=4)
    assert len(found.doubled) == 1
