"""Each deliberate fault is found: what the simulation calls right is not right by itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.testing.__main__ import finds
from penstock.testing.mutations import MUTATIONS
from penstock.testing.simulation import history

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "simulation.md"
ROW = re.compile(r"^\| ([a-z-]+) \| [^|]+ \| (\d+) \|$", re.MULTILINE)
# A seed that found each, as the page has it. A change of what is drawn moves them, so that any of
# the first thousand will do.
FOUND = {name: int(seed) for name, seed in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def test_mutations_stand_on_the_page_with_their_seeds() -> None:
    assert FOUND.keys() <= MUTATIONS.keys()
    assert len(FOUND) >= 20
    page = PAGE.read_text(encoding="utf-8")
    assert [
        name for name in MUTATIONS if f"| {name} |" not in page and f"`{name}`" not in page
    ] == []


def test_mutation_is_undone(tmp_path: Path) -> None:
    honest = history(0, tmp_path)
    with MUTATIONS["sending-not-committed"]():
        assert history(0, tmp_path).problems
    assert history(0, tmp_path) == honest


def _seeds(name: str) -> Iterator[int]:
    yield FOUND[name]
    yield from range(1000)


@pytest.mark.long
@pytest.mark.timeout(3600)  # some seconds, where the seed is still right
@pytest.mark.parametrize("name", FOUND)
def test_mutation_is_found_within_a_thousand_seeds(name: str, tmp_path: Path) -> None:
    with MUTATIONS[name]():
        assert any(history(seed, tmp_path).problems for seed in _seeds(name))


def test_first_find_is_told() -> None:
    name, seed, problem = finds(("sending-not-committed", 50))
    assert (name, problem != "") == ("sending-not-committed", True)
    assert seed is not None
