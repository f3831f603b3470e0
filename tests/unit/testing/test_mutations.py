"""Each deliberate fault is found: what the simulation calls right is not right by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing.__main__ import finds
from penstock.testing.mutations import MUTATIONS
from penstock.testing.simulation import history

# The first seed that found each; docs/reference/simulation.md has the same table. A change of what
# is drawn moves them, so that any of the first thousand will do.
FOUND = {
    "resend-without-look-up": 37,
    "never-absent": 6,
    "sending-not-committed": 0,
    "failed-queue-is-empty": 262,
    "failed-accounting-is-empty": 21,
    "unsure-is-refused": 0,
    "unsure-is-for-now": 10,
    "limit-is-refused": 0,
    "half-an-id-believed": 17,
    "fence-not-checked": 11,
    "claim-ignored": 23,
    "fenced-runner-records": 69,
    "unsealed-record-believed": 0,
    "one-word-for-all-tasks": 2,
    "completing-is-an-end": 101,
    "cancelled-by-its-user": 2,
    "no-patience-for-records": 10,
    "silence-is-lost": 5,
    "vanished-is-withdrawn": 0,
}


def test_most_mutations_are_found() -> None:
    assert len(FOUND) >= 19
    assert FOUND.keys() <= MUTATIONS.keys()


def test_mutation_is_undone(tmp_path: Path) -> None:
    honest = history(0, tmp_path)
    with MUTATIONS["sending-not-committed"]():
        assert history(0, tmp_path).problems
    assert history(0, tmp_path) == honest


def _seeds(name: str) -> Iterator[int]:
    yield FOUND[name]
    yield from range(1000)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FOUND)
def test_mutation_is_found_within_a_thousand_seeds(name: str, tmp_path: Path) -> None:
    with MUTATIONS[name]():
        assert any(history(seed, tmp_path).problems for seed in _seeds(name))


def test_first_find_is_told() -> None:
    name, seed, problem = finds(("sending-not-committed", 50))
    assert (name, problem != "") == ("sending-not-committed", True)
    assert seed is not None
