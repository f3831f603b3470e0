"""Why something was believed, and when a silence ends."""

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.model.evidence import Evidence, Transition
from penstock.model.state import State
from penstock.planning.pace import Pace
from penstock.planning.patience import WAITING_FOR_RECORD as AWAITED
from penstock.planning.patience import Policy
from penstock.planning.reconcile import decide
from penstock.service import belief
from penstock.settings import Settings
from penstock.store.detail import AttemptRow
from penstock.testing.factories import AT, make_known, make_sighting

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


@pytest.mark.parametrize(
    "lost_after_s, absent_s, wait_s",
    [(600, 360, 600), (10, 360, 360), (10, 0, 10), (10, None, 330)],
)
def test_silence_counts_from_the_last_word_of_anyone(
    lost_after_s: int, absent_s: float | None, wait_s: int
) -> None:
    settings = Settings(root=Path("/p"), lost_after_s=lost_after_s, accounting_lag_s=30)
    pace, wait = Pace(absent_s=absent_s), timedelta(seconds=wait_s)
    later = AT + timedelta(seconds=60)
    assert belief.lost_at(settings, pace, AT, None) == AT + wait
    assert belief.lost_at(settings, pace, AT, later) == later + wait
    assert belief.lost_at(settings, pace, later, AT) == later + wait


@pytest.mark.parametrize("lost_after_s", [10, 3600])
def test_time_that_is_told_is_that_of_the_rule(lost_after_s: int) -> None:
    settings = Settings(root=Path("/p"), lost_after_s=lost_after_s)
    policy = Policy(
        record_grace=timedelta(seconds=60),
        absent_after=timedelta(seconds=360),
        lost_after=timedelta(seconds=lost_after_s),
        has_accounting=True,
        uid=1000,
    )
    sighting = make_sighting(heard_at=AT + timedelta(seconds=40))
    since = AT + timedelta(seconds=30)
    told = belief.lost_at(settings, Pace(absent_s=360), since, sighting.heard_at)
    known = make_known(State.RUNNING, sent_at=AT, unknown_since=since)
    for now, state in ((told - timedelta(seconds=1), State.RUNNING), (told, State.FAILED)):
        seen = Evidence(queue_at=now, history_at=now, sighting=sighting)
        answer = decide(known, seen, policy, now)
        assert (answer.state if isinstance(answer, Transition) else known.state) is state


def test_record_that_is_awaited_is_no_silence() -> None:
    assert belief.is_unheard(attempt(State.RUNNING, unknown_since=AT))
    assert belief.is_unheard(attempt(State.ENDING, unknown_since=AT))
    assert not belief.is_unheard(attempt(State.ENDING, unknown_since=AT, reason=AWAITED))
    assert not belief.is_unheard(attempt(State.FAILED, unknown_since=AT))
    assert not belief.is_unheard(attempt(State.RUNNING))


def attempt(state: State, **kw: Any) -> AttemptRow:
    base = {one.name: None for one in fields(AttemptRow)}
    return AttemptRow(**{**base, "state": state, "reason": "", **kw})
