"""Why something was believed, and when a silence ends."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.service import belief
from penstock.settings import Settings
from penstock.testing.factories import AT

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "source, word, words",
    [
        ("runner", "exit 0", "final"),
        ("runner", "exit, not sealed", "scheduler's to say"),
        ("runner", "open 0", "own file"),
        ("runner", "signal 15", "signal"),
        ("queue", "RUNNING", "queue"),
        ("accounting", "FAILED", "accounting"),
        ("silence", "since 2026", "nobody"),
        ("scheduler", "refused", "sbatch"),
        ("something new", "x", ""),
    ],
)
def test_why_is_said_of_each_source(source: str, word: str, words: str) -> None:
    assert words in belief.why(source, word)


def test_every_source_that_decisions_name_has_its_words() -> None:
    text = (ROOT / "src/penstock/planning/reconcile.py").read_text(encoding="utf-8")
    for source in set(re.findall(r'\(?"(runner|queue|accounting|silence)", ', text)):
        assert belief.why(source, "x")


def test_silence_counts_from_the_last_word_of_anyone() -> None:
    settings = Settings(root=Path("/p"), lost_after_s=600)
    later = AT + timedelta(seconds=60)
    assert belief.lost_at(settings, AT) == AT + timedelta(seconds=600)
    assert belief.lost_at(settings, AT, later) == later + timedelta(seconds=600)
    assert belief.lost_at(settings, later, AT) == later + timedelta(seconds=600)
