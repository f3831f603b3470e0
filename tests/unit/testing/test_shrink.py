"""A history that fails is told with no more faults than it takes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from penstock.testing.mutations import MUTATIONS
from penstock.testing.outcome import Outcome
from penstock.testing.shrink import shrink, smallest
from penstock.testing.simulation import history


def outcome(faults: Sequence[int], culprits: set[int]) -> Outcome | None:
    """Return a history that fails where all culprits are among its faults."""
    if not culprits <= set(faults):
        return None
    return Outcome(0, faults=list(faults), errors=["it fails"])


def test_faults_that_it_takes_remain() -> None:
    whole = Outcome(0, faults=list(range(1, 200)), errors=["it fails"])
    for culprits in ({7, 151}, {1}, {90, 91, 92}, set[int]()):
        found = smallest(whole, partial(outcome, culprits=culprits))
        assert found.faults == sorted(culprits)


def test_history_without_its_faults_has_none(tmp_path: Path) -> None:
    whole = history(0, tmp_path)
    assert len(whole.faults) > 100
    assert history(0, tmp_path, whole.faults) == whole
    assert history(0, tmp_path, ()).faults == []


def test_right_history_is_not_shrunk(tmp_path: Path) -> None:
    assert shrink(0, tmp_path) is None


@pytest.mark.long
@pytest.mark.timeout(1800)  # half a minute, on a machine that does nothing else
def test_story_of_a_deliberate_fault_is_short(tmp_path: Path) -> None:
    with MUTATIONS["sending-not-committed"]():
        short = next(filter(None, (shrink(seed, tmp_path) for seed in range(100))))
        again = history(short.seed, tmp_path, short.faults)
    assert again.problems == short.problems
    assert len(short.faults) < 20
