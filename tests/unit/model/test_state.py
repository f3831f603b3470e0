"""The tables of states: one test a row of Slurm's page."""

import pytest

from penstock.model.state import (
    CAUSES,
    FINAL,
    MOVES,
    WORDS,
    Cause,
    Kind,
    State,
    cancelled_by,
    is_held,
    is_held_in_part,
    word,
)


@pytest.mark.parametrize(
    "said, kind, state, cause",
    [
        ("PENDING", Kind.WAITING, State.QUEUED, None),
        ("PD", Kind.WAITING, State.QUEUED, None),
        ("CONFIGURING", Kind.WAITING, State.QUEUED, None),
        ("CF", Kind.WAITING, State.QUEUED, None),
        ("POWER_UP_NODE", Kind.WAITING, State.QUEUED, None),
        ("REQUEUED", Kind.WAITING, State.QUEUED, None),
        ("RQ", Kind.WAITING, State.QUEUED, None),
        ("REQUEUE_FED", Kind.WAITING, State.QUEUED, None),
        ("RF", Kind.WAITING, State.QUEUED, None),
        ("EXPEDITING", Kind.WAITING, State.QUEUED, None),
        ("REQUEUE_HOLD", Kind.HELD, State.HELD, None),
        ("RH", Kind.HELD, State.HELD, None),
        ("SPECIAL_EXIT", Kind.HELD, State.HELD, None),
        ("SE", Kind.HELD, State.HELD, None),
        ("RESV_DEL_HOLD", Kind.HELD, State.HELD, None),
        ("RD", Kind.HELD, State.HELD, None),
        ("RUNNING", Kind.ACTIVE, State.RUNNING, None),
        ("R", Kind.ACTIVE, State.RUNNING, None),
        ("RESIZING", Kind.ACTIVE, State.RUNNING, None),
        ("RS", Kind.ACTIVE, State.RUNNING, None),
        ("SIGNALING", Kind.ACTIVE, State.RUNNING, None),
        ("SI", Kind.ACTIVE, State.RUNNING, None),
        ("STOPPED", Kind.ACTIVE, State.RUNNING, None),
        ("ST", Kind.ACTIVE, State.RUNNING, None),
        ("SUSPENDED", Kind.ACTIVE, State.RUNNING, None),
        ("S", Kind.ACTIVE, State.RUNNING, None),
        ("STAGE_OUT", Kind.ACTIVE, State.RUNNING, None),
        ("SO", Kind.ACTIVE, State.RUNNING, None),
        ("UPDATE_DB", Kind.ACTIVE, State.RUNNING, None),
        ("COMPLETING", Kind.ENDING, State.ENDING, None),
        ("CG", Kind.ENDING, State.ENDING, None),
        ("COMPLETED", Kind.END, State.COMPLETED, None),
        ("CD", Kind.END, State.COMPLETED, None),
        ("FAILED", Kind.END, State.FAILED, Cause.EXIT),
        ("F", Kind.END, State.FAILED, Cause.EXIT),
        ("OUT_OF_MEMORY", Kind.END, State.FAILED, Cause.MEMORY),
        ("OUT_OF_ME+", Kind.END, State.FAILED, Cause.MEMORY),
        ("CONFIGURI+", Kind.WAITING, State.QUEUED, None),
        ("POWER_UP_+", Kind.WAITING, State.QUEUED, None),
        ("REQUEUE_H+", Kind.HELD, State.HELD, None),
        ("REQUEUE_F+", Kind.WAITING, State.QUEUED, None),
        ("SPECIAL_E+", Kind.HELD, State.HELD, None),
        ("RESV_DEL_+", Kind.HELD, State.HELD, None),
        ("COMPLETIN+", Kind.ENDING, State.ENDING, None),
        ("LAUNCH_FA+", Kind.END, State.FAILED, Cause.LAUNCH),
        ("RECONFIG_+", Kind.END, State.FAILED, Cause.NODE),
        ("CANCELLED+ by 0", Kind.END, State.CANCELLED, Cause.USER),
        ("cancelled by 1000", Kind.END, State.CANCELLED, Cause.USER),
        ("running", Kind.ACTIVE, State.RUNNING, None),
        ("REQUEUE_+", Kind.UNKNOWN, State.QUEUED, None),  # _HOLD, or _FED
        ("RE+", Kind.UNKNOWN, State.QUEUED, None),
        ("COMPLETED,RUNNING", Kind.UNKNOWN, State.QUEUED, None),
        (" RUNNING", Kind.UNKNOWN, State.QUEUED, None),
        ("OUT_OF_ME", Kind.UNKNOWN, State.QUEUED, None),
        ("OOM", Kind.END, State.FAILED, Cause.MEMORY),
        ("TIMEOUT", Kind.END, State.FAILED, Cause.TIME),
        ("TO", Kind.END, State.FAILED, Cause.TIME),
        ("DEADLINE", Kind.END, State.FAILED, Cause.DEADLINE),
        ("DL", Kind.END, State.FAILED, Cause.DEADLINE),
        ("NODE_FAIL", Kind.END, State.FAILED, Cause.NODE),
        ("NF", Kind.END, State.FAILED, Cause.NODE),
        ("BOOT_FAIL", Kind.END, State.FAILED, Cause.NODE),
        ("BF", Kind.END, State.FAILED, Cause.NODE),
        ("LAUNCH_FAILED", Kind.END, State.FAILED, Cause.LAUNCH),
        ("RECONFIG_FAIL", Kind.END, State.FAILED, Cause.NODE),
        ("PREEMPTED", Kind.END, State.FAILED, Cause.PREEMPTED),
        ("PR", Kind.END, State.FAILED, Cause.PREEMPTED),
        ("CANCELLED", Kind.END, State.CANCELLED, Cause.USER),
        ("CANCELLED by 1000", Kind.END, State.CANCELLED, Cause.USER),
        ("CANCELLED+", Kind.END, State.CANCELLED, Cause.USER),
        ("CA", Kind.END, State.CANCELLED, Cause.USER),
        ("REVOKED", Kind.SIBLING, State.QUEUED, None),
        ("RV", Kind.SIBLING, State.QUEUED, None),
        ("", Kind.UNKNOWN, State.QUEUED, None),
        ("?", Kind.UNKNOWN, State.QUEUED, None),
        ("+", Kind.UNKNOWN, State.QUEUED, None),
        ("COMPLET+", Kind.UNKNOWN, State.QUEUED, None),  # COMPLETED, or COMPLETING
        ("NEW_IN_2030", Kind.UNKNOWN, State.QUEUED, None),
    ],
)
def test_word_says(said: str, kind: Kind, state: State, cause: Cause | None) -> None:
    meaning = word(said)
    assert (meaning.kind, meaning.state, meaning.cause) == (kind, state, cause)


@pytest.mark.parametrize(
    "said, uid",
    [
        ("CANCELLED by 1000", 1000),
        ("CANCELLED by 0", 0),
        ("CANCELLED", None),
        ("CANCELLED+", None),
        ("CANCELLED by ", None),
        ("CANCELLED by alice", None),
        ("CANCELLED by 10+", None),  # cut: whoever it was
    ],
)
def test_cancelled_by_names_the_uid(said: str, uid: int | None) -> None:
    assert cancelled_by(said) == uid


@pytest.mark.parametrize("said", sorted(WORDS))
def test_word_that_a_column_of_ten_cuts_is_read(said: str) -> None:
    """As sacct's State has it: nine letters and a plus."""
    assert word(f"{said[:9]}+" if len(said) > 10 else said) == WORDS[said]


def test_every_cause_has_a_sentence() -> None:
    assert set(CAUSES) == set(Cause)


def test_nothing_moves_from_a_final_state() -> None:
    assert {state for state, to in MOVES.items() if not to} == FINAL
    assert set(MOVES) == set(State)


def test_codes_are_distinct() -> None:
    codes = [row.code for row in WORDS.values() if row.code]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    "reason, is_whole, is_part",
    [
        ("JobHeldUser", True, False),
        ("JobHeldUser,JobHeldAdmin", True, False),
        ("job requeued in held state", True, False),
        ("job_requeued_in_held_state", True, False),
        ("Job requeued in Held state", True, False),
        ("job requeued in special exit state", True, False),
        ("job_requeued_in_special_exit_state", True, False),
        ("launch_failed_requeued_held", True, False),
        ("launch failure limit exceeded requeued held", True, False),
        ("JobArrayTaskLimit,JobHeldUser", False, True),
        ("job_requeued_in_special_exit_state,None", False, True),
        ("Priority", False, False),
        ("Priority,Resources", False, False),
        ("ReqNodeNotAvail, UnavailableNodes:n2", False, False),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2,4],JobHeldUser", False, True),
        ("launch failed requeued held,BeginTime", False, True),
        ("JobHoldMaxRequeue", True, False),
        ("user env retrieval failed requeued held", True, False),
        ("", False, False),
    ],
)
def test_held_is_whoever_waits_for_its_user(reason: str, is_whole: bool, is_part: bool) -> None:
    assert (is_held(reason), is_held_in_part(reason)) == (is_whole, is_part)
