"""Every pending reason that we know, and those that we do not."""

import pytest

from penstock.model.state import HELD_REASONS, NEVER_REASONS
from penstock.service.reasons import Who, explain


@pytest.mark.parametrize("word", ["Priority", "Resources", "JobArrayTaskLimit", "BeginTime", ""])
def test_reason_that_passes_needs_nobody(word: str) -> None:
    assert explain(word).who is Who.NOBODY


@pytest.mark.parametrize("word", sorted(NEVER_REASONS))
def test_reason_that_stays_says_never(word: str) -> None:
    assert explain(word).who is Who.NEVER


@pytest.mark.parametrize(
    "word",
    [
        *sorted(HELD_REASONS),
        "JobHeldUser",
        "job_requeued_in_held_state",
        "Launch_Failed_requeued_held",
    ],
)
def test_held_says_what_to_do(word: str) -> None:
    assert explain(word).who is Who.CHANGE
    assert "release" in explain(word).words or "ask" in explain(word).words


@pytest.mark.parametrize(
    "word", ["AssocGrpCpuLimit", "QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit", "QOSGrpMemLimit"]
)
def test_limit_names_itself(word: str) -> None:
    assert word in explain(word).words


def test_reason_with_details_is_the_reason() -> None:
    assert explain("ReqNodeNotAvail, UnavailableNodes:n[1-4]") == explain("ReqNodeNotAvail")


def test_nodes_that_are_away_are_told_of() -> None:
    said = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority part"
    assert explain(said).who is Who.CHANGE
    assert "DOWN" not in explain(said).words


def test_unknown_reason_is_shown_as_it_is() -> None:
    assert explain("SomethingNew").words == "SomethingNew"


def test_sentence_that_stays_says_never() -> None:
    said = "Job's account not permitted to use this partition (guarded allows closed not lab)"
    assert explain(said).who is Who.NEVER
    assert "guarded" in explain(said).words


def test_joined_reasons_are_all_told() -> None:
    """A held task of an array is shown in one row with those that are not."""
    joined = explain("JobArrayTaskLimit,JobHeldUser,None")
    assert joined.who is Who.NOBODY
    assert "max_parallel" in joined.words
    assert "scontrol release" in joined.words
    assert "just sent" not in joined.words
