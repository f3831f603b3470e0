"""What follows from which evidence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.model.evidence import Evidence, Exit, Known, Sighting, Task, Transition
from penstock.model.state import WORDS, Cause, Kind, State
from penstock.planning.patience import Policy
from penstock.planning.reconcile import ASK, Ask, decide, waiting
from penstock.wire.claim import UNRECORDED

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = Policy(
    record_grace=timedelta(seconds=60),
    absent_after=timedelta(seconds=360),
    lost_after=timedelta(hours=1),
    has_accounting=True,
    uid=1000,
)
ALONE = replace(POLICY, has_accounting=False)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


NOW = at(100)


def known(state: State = State.RUNNING, **more: object) -> Known:
    return replace(Known(1, state, 0, sent_at=T0), **more)  # type: ignore[arg-type]


def task(word: str, **more: object) -> Task:
    return replace(Task(77, frozenset({3}), word, "ps-abc.x"), **more)  # type: ignore[arg-type]


def exit_(code: int | None = 0, signal: int | None = None, **more: object) -> Exit:
    base = Exit(at(50), 0, code, signal, None, "", is_sealed=signal is None)
    return replace(base, **more)  # type: ignore[arg-type]


def sighting(last: Exit | None = None, **more: object) -> Sighting:
    base = Sighting(0, "77_3", "n1", at(10), at(50), last, is_closed=last is not None)
    return replace(base, **more)  # type: ignore[arg-type]


def told(
    state: Known, seen: Evidence, policy: Policy = POLICY, now: datetime = NOW
) -> Transition | Ask | None:
    """Decide as the process does that has noted since when it is not known."""
    until = min(now, seen.files_at or now)
    missed = until - state.unknown_since if state.unknown_since else state.missed
    return decide(replace(state, missed=missed), seen, policy, now)


def outcome(answer: Transition | Ask | None) -> tuple[State, Cause | None]:
    assert isinstance(answer, Transition), answer
    return answer.state, answer.cause


@pytest.mark.parametrize(
    "last, state, cause",
    [
        (exit_(0), State.COMPLETED, None),
        (exit_(3), State.FAILED, Cause.EXIT),
        (exit_(0, cause="output"), State.FAILED, Cause.OUTPUT),
        (exit_(None, cause="setup"), State.FAILED, Cause.SETUP),
    ],
)
def test_sealed_record_ends_it_whatever_the_queue_says(
    last: Exit, state: State, cause: Cause | None
) -> None:
    for queue in (None, task("RUNNING"), task("COMPLETING"), task("PENDING")):
        seen = Evidence(queue=queue, queue_at=at(90), sighting=sighting(last))
        assert outcome(told(known(), seen)) == (state, cause)


def test_sealed_record_of_an_open_spool_waits_for_the_scheduler() -> None:
    seen = sighting(exit_(0), is_closed=False)
    running = Evidence(queue=task("RUNNING"), queue_at=at(90), sighting=seen)
    assert told(known(), running) is None
    killed = Evidence(queue=task("NODE_FAIL"), queue_at=at(90), sighting=seen)
    assert outcome(told(known(), killed)) == (State.COMPLETED, None)


@pytest.mark.parametrize(
    "word, reason, state",
    [
        ("PENDING", "Resources", State.QUEUED),
        ("PENDING", "JobHeldUser", State.HELD),
        ("PENDING", "JobHeldAdmin", State.HELD),
        ("REQUEUE_HOLD", "job requeued in held state", State.HELD),
        ("SPECIAL_EXIT", "None", State.HELD),
        ("REQUEUED", "None", State.QUEUED),
        ("COMPLETING", "None", State.ENDING),
        ("PREEMPTED", "None", State.ENDING),
    ],
)
def test_queue_word_moves_a_running_attempt(word: str, reason: str, state: State) -> None:
    seen = Evidence(queue=task(word, reason=reason), queue_at=at(90), sighting=sighting())
    assert outcome(told(known(), seen)) == (state, None)


@pytest.mark.parametrize("said", sorted(WORDS))
def test_each_word_of_the_queue_moves_a_running_attempt_as_the_table_says(said: str) -> None:
    """Of an end there is no record yet, nor has the accounting been asked."""
    seen = Evidence(queue=task(said, reason="None"), queue_at=at(90), sighting=sighting())
    answer = told(known(), seen)
    meaning = WORDS[said]
    if meaning.kind in (Kind.ACTIVE, Kind.SIBLING):
        assert answer is None
    elif meaning.kind is Kind.END and said != "PREEMPTED":
        asks = answer is ASK
        waits = isinstance(answer, Transition) and answer.state is State.ENDING
        assert asks or waits or outcome(answer) == (meaning.state, meaning.cause)
        assert said != "CANCELLED" or asks  # by whom?
    else:
        state = State.ENDING if meaning.kind is Kind.END else meaning.state
        assert outcome(answer) == (state, None)


def test_no_answer_changes_nothing() -> None:
    assert told(known(State.QUEUED), Evidence()) is None
    assert told(known(), Evidence(sighting=sighting())) is None


def test_runner_alone_tells_that_it_runs() -> None:
    answer = told(known(State.QUEUED), Evidence(sighting=sighting()))
    assert isinstance(answer, Transition)
    assert (answer.state, answer.node, answer.started_at) == (State.RUNNING, "n1", at(10))


def test_runner_newer_than_the_queue_is_believed() -> None:
    seen = Evidence(queue=task("PENDING"), queue_at=at(5), sighting=sighting())
    assert outcome(told(known(State.QUEUED), seen)) == (State.RUNNING, None)


def test_pending_after_a_requeue_goes_back_to_the_queue() -> None:
    seen = Evidence(queue=task("PENDING", reason="BeginTime"), queue_at=at(90), sighting=sighting())
    assert outcome(told(known(), seen)) == (State.QUEUED, None)


def test_new_restart_runs_again() -> None:
    seen = Evidence(sighting=sighting(restart=1, opened_at=at(95)))
    answer = told(known(State.QUEUED), seen)
    assert isinstance(answer, Transition)
    assert (answer.state, answer.restart) == (State.RUNNING, 1)


def test_completed_waits_for_the_record_then_says_that_there_is_none() -> None:
    """It waits from when the end was seen: our clock may be minutes off that of the cluster."""
    done = task("COMPLETED", end_at=at(80))
    soon = told(known(), Evidence(queue=done, queue_at=at(400), sighting=sighting()), now=at(400))
    assert isinstance(soon, Transition)
    assert (soon.state, soon.unknown_since) == (State.ENDING, at(400))
    again = known(State.ENDING, unknown_since=soon.unknown_since)
    late = told(again, Evidence(queue=done, queue_at=at(461), sighting=sighting()), now=at(461))
    assert outcome(late) == (State.COMPLETED, Cause.NO_RECORD)


def test_what_another_process_noted_is_waited_for_longer() -> None:
    """Its clock may be minutes behind: 97 seconds of two clocks may be one of the cluster's."""
    done = Evidence(queue=task("COMPLETED", end_at=at(400)), sighting=sighting())
    noted = known(State.ENDING, unknown_since=at(400), reason="waiting for the record")
    grace = POLICY.record_grace
    assert decide(noted, done, POLICY, at(400) + 2 * grace) is None
    assert decide(replace(noted, missed=grace), done, POLICY, at(400)) is not None
    late = decide(noted, done, POLICY, at(400) + 10 * grace)
    assert outcome(late) == (State.COMPLETED, Cause.NO_RECORD)


def test_end_of_long_ago_is_not_waited_for() -> None:
    done = task("COMPLETED", end_at=at(80))
    seen = Evidence(queue=done, queue_at=at(3690), sighting=sighting())
    assert outcome(told(known(), seen, now=at(3690))) == (State.COMPLETED, Cause.NO_RECORD)


def test_end_without_a_time_does_not_wait_for_ever() -> None:
    seen = Evidence(queue=task("COMPLETED"), queue_at=at(90), sighting=sighting())
    first = told(known(), seen)
    assert isinstance(first, Transition)
    assert (first.state, first.unknown_since) == (State.ENDING, at(100))
    again = known(State.ENDING, unknown_since=first.unknown_since)
    assert outcome(told(again, seen, now=at(161))) == (State.COMPLETED, Cause.NO_RECORD)


def test_left_the_queue_asks_the_accounting() -> None:
    assert told(known(), Evidence(queue_at=at(90))) is ASK


def test_left_the_queue_before_it_was_sent_means_nothing() -> None:
    assert told(known(State.QUEUED), Evidence(queue_at=at(-1))) is None


@pytest.mark.parametrize(
    "word, more, state, cause",
    [
        ("TIMEOUT", {}, State.FAILED, Cause.TIME),
        ("OUT_OF_MEMORY", {}, State.FAILED, Cause.MEMORY),
        ("NODE_FAIL", {}, State.FAILED, Cause.NODE),
        ("BOOT_FAIL", {}, State.FAILED, Cause.NODE),
        ("DEADLINE", {}, State.FAILED, Cause.DEADLINE),
        ("PREEMPTED", {}, State.FAILED, Cause.PREEMPTED),
        ("FAILED", {"exit_code": 0, "exit_signal": 53}, State.FAILED, Cause.LAUNCH),
        ("FAILED", {"exit_code": 0, "exit_signal": 9}, State.FAILED, Cause.SIGNAL),
        ("FAILED", {"exit_code": 2, "exit_signal": 0}, State.FAILED, Cause.EXIT),
        ("CANCELLED by 1000", {}, State.CANCELLED, Cause.USER),
        ("CANCELLED by 0", {}, State.CANCELLED, Cause.ADMIN),
        ("CANCELLED by 1001", {}, State.CANCELLED, Cause.OTHER_USER),
    ],
)
def test_accounting_tells_the_end(
    word: str, more: dict[str, int], state: State, cause: Cause
) -> None:
    history = task(word, end_at=at(20), **more)
    seen = Evidence(queue_at=at(390), history=history, history_at=at(395), sighting=sighting())
    missed = known(unknown_since=at(30))
    assert outcome(told(missed, seen, now=at(400))) == (state, cause)


@pytest.mark.parametrize("word", ["NODE_FAIL", "PREEMPTED", "BOOT_FAIL"])
def test_segment_that_a_requeue_may_follow_is_no_end_yet(word: str) -> None:
    history = task(word, end_at=at(20))
    seen = Evidence(queue_at=at(90), history=history, history_at=at(95), sighting=sighting())
    assert outcome(told(known(), seen)) == (State.RUNNING, None)


def test_segment_before_a_restart_that_was_heard_of_is_no_end() -> None:
    history = task("NODE_FAIL", end_at=at(20))
    later = sighting(restart=1, opened_at=at(60))
    seen = Evidence(queue_at=at(990), history=history, history_at=at(995), sighting=later)
    answer = told(known(unknown_since=at(30)), seen, now=at(1000))
    assert outcome(answer) == (State.RUNNING, None)


def test_exit_record_of_an_earlier_segment_explains_nothing() -> None:
    last = exit_(None, signal=15, is_sealed=False)
    queue = task("FAILED", start_at=at(80), end_at=at(80))
    seen = Evidence(queue=queue, queue_at=at(90), sighting=sighting(last))
    waited = known(State.ENDING, unknown_since=at(100))
    assert told(waited, seen, now=at(200)) is ASK
    history = task("FAILED", start_at=at(80), end_at=at(80), exit_code=0, exit_signal=53)
    asked = replace(seen, history=history, history_at=at(95))
    assert outcome(told(known(), asked, now=at(200))) == (State.FAILED, Cause.LAUNCH)


def test_record_is_waited_for_from_when_the_files_were_read() -> None:
    queue = task("COMPLETED", end_at=at(100))
    seen = Evidence(queue=queue, queue_at=at(900), sighting=sighting(), files_at=at(110))
    waiting = known(State.RUNNING, unknown_since=at(105))
    assert outcome(told(waiting, seen, now=at(900))) == (State.ENDING, None)  # was suspended
    read = replace(seen, files_at=at(890))
    assert outcome(told(waiting, read, now=at(900))) == (State.COMPLETED, Cause.NO_RECORD)


def test_last_word_of_a_runner_is_none_on_a_task_that_waits_again() -> None:
    """Without accounting: its restart 0 was terminated, it was requeued, and then it vanished."""
    termed = exit_(None, signal=15, is_sealed=False)
    seen = Evidence(queue_at=at(500), sighting=sighting(termed))
    running = known(unknown_since=at(300))
    assert outcome(told(running, seen, ALONE, at(500))) == (State.FAILED, Cause.SIGNAL)
    for state in (State.QUEUED, State.HELD):
        again = told(known(state, unknown_since=at(300)), seen, ALONE, at(500))
        assert again is None, "nothing is known yet"


def test_word_on_a_job_that_has_not_the_claim_means_nothing() -> None:
    other = task("FAILED", job=78, end_at=at(20), exit_code=85)
    seen = Evidence(queue=other, queue_at=at(90), sighting=sighting())
    assert told(known(), seen, now=at(200)) is ASK
    asked = replace(seen, history=other, history_at=at(95))
    assert outcome(told(known(), asked, now=at(200))) == (State.RUNNING, None)


def test_who_cancelled_it_is_asked_though_the_runner_heard_of_it() -> None:
    last = exit_(None, signal=15, is_sealed=False)
    seen = Evidence(queue=task("CANCELLED"), queue_at=at(90), sighting=sighting(last))
    assert told(known(), seen) is ASK
    history = replace(seen, history=task("CANCELLED by 0"), history_at=at(95))
    assert outcome(told(known(), history)) == (State.CANCELLED, Cause.ADMIN)
    assert outcome(told(known(cancel_asked=True), seen)) == (State.CANCELLED, Cause.USER)
    assert outcome(told(known(), seen, ALONE)) == (State.CANCELLED, Cause.WITHDRAWN)


@pytest.mark.parametrize(
    "asked, outcome_",
    [(False, (State.FAILED, Cause.SIGNAL)), (True, (State.CANCELLED, Cause.USER))],
)
def test_code_after_sigterm_is_no_success_where_nobody_else_knows(
    asked: bool, outcome_: tuple[State, Cause]
) -> None:
    seen = Evidence(queue_at=at(500), sighting=sighting(exit_(0, is_sealed=False)))
    waited = known(State.ENDING, unknown_since=at(100), cancel_asked=asked)
    assert outcome(told(waited, seen, ALONE, at(510))) == outcome_


def test_task_that_vanished_is_withdrawn_only_when_it_would_be_seen_elsewhere() -> None:
    seen = Evidence(queue_at=at(90), history_at=at(95), knows_array=True)
    waited = known(State.QUEUED, unknown_since=at(0))
    assert told(waited, seen, now=at(300)) is None
    assert outcome(told(waited, seen, now=at(370))) == (State.CANCELLED, Cause.WITHDRAWN)


def test_task_that_vanished_after_its_array_was_requeued_is_withdrawn() -> None:
    """Its whole array was cancelled and requeued while it waited: that record is of before."""
    before = task("REQUEUED", tasks=frozenset(range(14)), end_at=at(20))
    seen = Evidence(queue_at=at(900), history=before, history_at=at(900), knows_array=True)
    waited = known(State.HELD, unknown_since=at(100))
    assert outcome(told(waited, seen, now=at(900))) == (State.CANCELLED, Cause.WITHDRAWN)
    still = replace(seen, history=task("PENDING", tasks=frozenset(range(14))))
    assert told(waited, still, now=at(900)) is None


def test_record_from_just_before_a_segment_is_not_taken_for_its_own() -> None:
    """Requeued within seconds, it could not be launched again: the accounting knows (0:53)."""
    failed = task("FAILED", reason="JobLaunchFailure", start_at=at(52), end_at=at(52))
    seen = Evidence(queue=failed, queue_at=at(90), sighting=sighting(exit_(None, 15)))
    assert told(known(), seen) is ASK
    known_now = replace(failed, exit_code=0, exit_signal=53)
    asked = replace(seen, history=known_now, history_at=at(95))
    assert outcome(told(known(), asked)) == (State.FAILED, Cause.LAUNCH)


def test_code_of_a_runner_that_never_began_is_not_the_commands() -> None:
    """No python on the node (127), a full disk (120): the script ended, and no spool was opened."""
    history = task("FAILED", end_at=at(20), exit_code=127, exit_signal=0)
    seen = Evidence(queue_at=at(90), history=history, history_at=at(95))
    waited = known(State.ENDING, unknown_since=at(30))
    assert outcome(told(waited, seen)) == (State.FAILED, Cause.NO_RECORD)


def test_code_of_a_runner_that_could_not_write_the_end_is_not_the_commands() -> None:
    history = task("FAILED", end_at=at(20), exit_code=UNRECORDED, exit_signal=0)
    seen = Evidence(queue_at=at(90), history=history, history_at=at(95), sighting=sighting())
    waited = known(State.ENDING, unknown_since=at(30))
    assert outcome(told(waited, seen)) == (State.FAILED, Cause.NO_RECORD)


def test_memory_seen_by_the_runner_explains_a_kill() -> None:
    last = exit_(None, signal=9, cause="memory", is_sealed=False)
    seen = Evidence(queue=task("FAILED", end_at=at(60)), queue_at=at(90), sighting=sighting(last))
    assert outcome(told(known(), seen)) == (State.FAILED, Cause.MEMORY)


@pytest.mark.parametrize(
    "peak, limit, cause",
    [(200, 100, Cause.MEMORY), (50, 100, Cause.SIGNAL), (200, None, Cause.SIGNAL)],
)
def test_kill_over_the_memory_asked_for_is_memory(
    peak: int, limit: int | None, cause: Cause
) -> None:
    history = task("FAILED", exit_code=0, exit_signal=9, max_rss_bytes=peak, end_at=at(20))
    seen = Evidence(queue_at=at(90), history=history, history_at=at(95), limit_bytes=limit)
    answer = told(known(State.ENDING, unknown_since=at(90)), seen, now=at(500))
    assert outcome(answer) == (State.FAILED, cause)


def test_cancelled_in_the_queue_asks_who_unless_we_know() -> None:
    seen = Evidence(queue=task("CANCELLED"), queue_at=at(90))
    assert told(known(), seen) is ASK
    assert outcome(told(known(cancel_asked=True), seen)) == (State.CANCELLED, Cause.USER)


def test_cancelled_says_who_when_the_accounting_knows() -> None:
    seen = Evidence(
        queue=task("CANCELLED"),
        queue_at=at(90),
        history=task("CANCELLED by 0", exit_code=0),
        history_at=at(95),
    )
    assert outcome(told(known(), seen)) == (State.CANCELLED, Cause.ADMIN)


def test_silence_is_unknown_and_then_lost() -> None:
    seen = Evidence(queue_at=at(90), history_at=at(95), sighting=sighting())
    first = told(known(), seen)
    assert isinstance(first, Transition)
    assert (first.state, first.unknown_since) == (State.RUNNING, at(100))
    since = known(unknown_since=at(100))
    later = Evidence(queue_at=at(3000), history_at=at(3000), sighting=sighting())
    assert told(since, later, now=at(3000)) is None
    end = told(since, later, now=at(3800))
    assert outcome(end) == (State.FAILED, Cause.LOST)


@pytest.mark.parametrize(
    "asked, knows, end",
    [
        (True, False, (State.CANCELLED, Cause.USER)),
        (False, True, (State.CANCELLED, Cause.WITHDRAWN)),
        (False, False, None),
    ],
)
def test_pending_task_that_left_no_row_was_cancelled(
    asked: bool, knows: bool, end: tuple[State, Cause] | None
) -> None:
    seen = Evidence(queue_at=at(600), history_at=at(600), knows_array=knows)
    waiting = known(State.QUEUED, unknown_since=at(100), cancel_asked=asked)
    answer = told(waiting, seen, now=at(600))
    assert (outcome(answer) if answer else None) == end


@pytest.mark.parametrize(
    "word, reason, name, detail",
    [
        ("CANCELLED by 1002", "", "bob", "uid 1002 (bob)"),
        ("CANCELLED by 1002", "", "", "uid 1002"),
        ("CANCELLED by 1002", "NodeDown", "bob", "uid 1002 (bob); NodeDown"),
        ("CANCELLED by 1000", "", "alice", ""),
        ("CANCELLED by 0", "", "root", ""),
    ],
)
def test_another_user_who_cancelled_is_named(
    word: str, reason: str, name: str, detail: str
) -> None:
    policy = replace(POLICY, name=lambda _: name)
    cancelled = task(word, reason=reason, end_at=at(60))
    seen = Evidence(queue_at=at(90), history=cancelled, history_at=at(92))
    answer = told(known(), seen, policy)
    assert isinstance(answer, Transition)
    assert (answer.state, answer.detail) == (State.CANCELLED, detail)


def test_reason_of_several_is_of_none_of_them() -> None:
    """The scheduler was to tell them apart (``scheduler.held``); a hold is not guessed."""
    for reason, state in (
        ("JobHeldUser", State.HELD),
        ("JobArrayTaskLimit,JobHeldUser", None),
        ("job requeued in held state", State.HELD),
    ):
        seen = Evidence(queue=task("PENDING", reason=reason), queue_at=at(90))
        answer = told(known(State.QUEUED, reason=reason), seen)
        assert (outcome(answer)[0] if answer else None) == state


def test_silent_scheduler_with_a_living_runner_is_not_lost() -> None:
    alive = sighting(heard_at=at(9990))
    seen = Evidence(queue_at=at(9995), history_at=at(9995), sighting=alive)
    assert told(known(unknown_since=at(100)), seen, now=at(10000)) is None


def test_found_again_is_no_longer_unknown() -> None:
    seen = Evidence(queue=task("RUNNING"), queue_at=at(90), sighting=sighting())
    answer = told(known(unknown_since=at(50)), seen)
    assert isinstance(answer, Transition)
    assert (answer.state, answer.unknown_since) == (State.RUNNING, None)


def test_without_accounting_the_record_is_enough_after_a_while() -> None:
    last = exit_(None, signal=15, is_sealed=False)
    seen = Evidence(queue_at=at(90), sighting=sighting(last))
    assert outcome(told(known(unknown_since=at(20)), seen, ALONE)) == (
        State.FAILED,
        Cause.SIGNAL,
    )


def test_unknown_word_keeps_the_state() -> None:
    seen = Evidence(queue=task("NEW_WORD"), queue_at=at(90), sighting=sighting())
    answer = told(known(), seen)
    assert isinstance(answer, Transition)
    assert (answer.state, answer.unknown_since) == (State.RUNNING, at(100))


def test_revoked_follows_the_sibling() -> None:
    assert told(known(State.QUEUED), Evidence(queue=task("REVOKED"), queue_at=at(90))) is None
    seen = Evidence(queue_at=at(9000), history=task("REVOKED"), history_at=at(9000))
    waited = known(State.QUEUED, unknown_since=at(100))
    assert told(waited, seen, now=at(9000)) is None  # it is not called lost
    heard = replace(seen, sighting=sighting(heard_at=at(110)))  # the sibling's runner, long ago
    assert outcome(told(waited, heard, now=at(9000))) == (State.FAILED, Cause.LOST)


@pytest.mark.parametrize(
    "seen, state, said_at",
    [
        (Evidence(sighting=sighting(exit_(0))), State.RUNNING, at(50)),
        (Evidence(sighting=sighting(exit_(None, 15))), State.RUNNING, at(50)),
        (Evidence(sighting=sighting()), State.QUEUED, at(10)),
        (
            Evidence(sighting=sighting(), queue=task("PENDING"), queue_at=at(5)),
            State.QUEUED,
            at(10),
        ),
        (Evidence(queue=task("RUNNING"), queue_at=at(90)), State.QUEUED, at(90)),
        (
            Evidence(queue_at=at(90), history=task("TIMEOUT"), history_at=at(92)),
            State.RUNNING,
            at(92),
        ),
        (
            Evidence(
                queue_at=at(90),
                history=task("TIMEOUT"),
                history_at=at(92),
                sighting=sighting(exit_(None, 15)),
            ),
            State.RUNNING,
            at(92),
        ),
        (Evidence(queue_at=at(90), history_at=at(92)), State.RUNNING, None),
    ],
)
def test_evidence_has_the_time_of_its_source(
    seen: Evidence, state: State, said_at: datetime | None
) -> None:
    answer = told(known(state), seen)
    assert isinstance(answer, Transition)
    assert answer.why_at == said_at


WAITING = [name for name, one in WORDS.items() if one.kind in (Kind.WAITING, Kind.HELD)]
SOME_TIME = st.none() | st.integers(-100_000, 100_000).map(at)


@given(
    st.sampled_from(WAITING),
    st.sampled_from(["None", "", "Priority", "JobHeldUser", "JobHeldUser,Priority"]),
    st.builds(
        Known,
        attempt=st.just(1),
        state=st.just(State.QUEUED),
        restart=st.integers(0, 3),
        sent_at=SOME_TIME,
        submit_at=SOME_TIME,
        cancel_asked=st.booleans(),
    ),
    st.builds(
        Evidence,
        queue_at=SOME_TIME,
        history=st.none() | st.sampled_from(["CANCELLED", "NODE_FAIL", "COMPLETED"]).map(task),
        history_at=SOME_TIME,
        files_at=SOME_TIME,
        knows_array=st.booleans(),
    ),
    st.sampled_from([POLICY, ALONE]),
)
def test_nothing_is_decided_of_one_that_waits_as_recorded_and_was_never_heard_of(
    said: str, reason: str, recorded: Known, seen: Evidence, policy: Policy
) -> None:
    """The cycle leaves such attempts out, without a look at each: whatever the time."""
    word = task(said, reason=reason)
    waits = waiting(word)
    assert waits is not None
    before = replace(recorded, state=waits[0], reason=waits[1])
    assert decide(before, replace(seen, queue=word), policy, NOW) is None


@pytest.mark.parametrize("said", sorted(set(WORDS) - set(WAITING)))
def test_what_does_not_wait_is_no_rest(said: str) -> None:
    assert waiting(task(said)) is None
