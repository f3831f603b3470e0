"""Histories of the reconciler against the model: nothing lost, doubled, wrong or stuck."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.testing.__main__ import Tally, main, many
from penstock.testing.simulation import history

# Seeds that failed once, when what they draw was as it then was; each found what its line says.
KEPT = {
    2: "the queue's CANCELLED was taken for the user's own",
    17: "a code after SIGTERM was taken for success, without accounting",
    59: "the model: a job that is COMPLETING keeps its end when it is cancelled",
    82: "a cut list of sacct's fields was believed for good",
    87: "what restart 0 had said explained the end of a task that had been requeued since",
    91: "files read before a suspension stood for files read after the end",
    112: "a renamed and requeued task was lost",
    155: "the Submit of a later segment was noted, and the first one disowned",
    249: "the exit record of an earlier segment explained a failed launch",
    253: "a job renamed before it was first seen was lost",
    272: "the half of a job id was believed",
    797: "the judge: what was written and not closed is no record that must be believed",
    1654: "a failed launch was a signal where a runner had been heard of before the requeue",
    1888: "a silence that a clock some minutes behind had noted was taken for a long one",
    2160: "a reconciler that was suspended wrote files for an array that was no more",
    2724: "an accounting that turned out to be missing was waited for",
    4003: "a task that was cancelled while it waited was requeued by hand, and ran",
    4531: "a task vanished from an array that was cancelled and requeued as a whole, and was lost",
    8412: "a clock that was ahead made an end without a record",
    395: "an older copy called an array sending, and it was halved since: its halves ran again",
    8966: "of a job renamed and requeued unseen the later Submit was noted, the first end disowned",
    975: "the judge: a cancel was asked of a newer store than the one that was put in its place",
    297: "NODE_FAIL of a segment that had been requeued was taken for the end",
}
FEW = range(250)


def test_history_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    assert history(7, tmp_path) == history(7, tmp_path)


def test_history_does_not_depend_on_the_process(tmp_path: Path) -> None:
    stories = []
    for number in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "penstock.testing", "41"],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        )
        stories.append(done.stdout)
    assert "the end" in stories[0]
    assert stories[0] == stories[1]


def test_older_copies_are_put_back_and_refused(tmp_path: Path) -> None:
    """With the guard taken away one of the same histories fails: ``older-copy-believed``."""
    told = "\n".join("\n".join(history(seed, tmp_path).story) for seed in range(5))
    assert "an older copy of the store is put in its place" in told
    assert "is older than what was sent from it" in told


def test_stores_are_away_and_read_only_for_a_while(tmp_path: Path) -> None:
    told = "\n".join("\n".join(history(seed, tmp_path).story) for seed in (5, 6, 23, 27, 29, 34))
    assert "there is no store at" in told
    assert "attempt to write a readonly database" in told


@pytest.mark.parametrize("seed", KEPT)
def test_seed_that_failed_once_is_right(seed: int, tmp_path: Path) -> None:
    assert history(seed, tmp_path).problems == []


def assert_right(tally: Tally) -> None:
    assert tally.failed == [], "\n".join(["make simulate SEEDS=… tells of one", *tally.lines()])


@pytest.mark.timeout(1800)  # half a minute, on a machine that does nothing else
def test_few_histories_are_right() -> None:
    tally = many(FEW, processes=1)
    assert_right(tally)
    assert tally.histories == len(FEW)
    assert tally.counts["runs"] > 1000
    assert tally.counts["crashes"] > 100


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)  # ten minutes, on two cores that do nothing else
def test_ten_thousand_histories_are_right() -> None:
    tally = many(range(10_000))
    assert_right(tally)
    assert tally.histories == 10_000


def test_single_seed_prints_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3"]) == 0
    shown = capsys.readouterr().out
    assert "peace" in shown
    assert "run 1 " in shown


def test_several_seeds_print_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["0:3"]) == 0
    shown = capsys.readouterr().out
    for word in ("histories        3", "simulated", "lost", "doubled", "wrong", "stuck"):
        assert word in shown
