"""Arrays and attempts: what the reconciler plans, sends and moves."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from penstock.clock import stamp
from penstock.errors import StoreError
from penstock.model.evidence import Known, Rest, Transition
from penstock.model.run import Array, Intent, PlannedArray, ReadyRun, StageRow
from penstock.model.state import Cause, State
from penstock.store import bodies, lease, rows, waiting
from penstock.store.connection import Connection
from penstock.store.evidence import sightings
from penstock.store.moves import apply

__all__ = [
    "apply", "arrays", "dissolve", "elements", "finished_arrays", "has_live", "has_ready",
    "insert_array", "known", "live_clusters", "live_counts",
    "ready", "ready_stages", "refuse", "sightings", "stages", "update_array",
]  # fmt: skip

# As the partial index has it, word for word: so that it serves.
_IS_LIVE = "attempt.state NOT IN ('completed', 'failed', 'cancelled')"
_READY = (
    " FROM run JOIN stage ON stage.id = run.stage_id"
    " JOIN submission ON submission.id = stage.submission_id"
    " WHERE run.state = 'ready' AND submission.owner = ? AND submission.cluster = ?"
)
_ELEMENT = "run.id, run.uid, run.stage_id, experiment.name, run.number, {}, run.params"


# --- runs to be planned ---------------------------------------------------------------------------


def has_ready(tx: Connection, *, user: str, cluster: str) -> bool:
    """Return whether any run of the user waits to be planned."""
    return tx.one("SELECT 1" + _READY + " LIMIT 1", (user, cluster)) is not None


def has_live(tx: Connection, *, user: str) -> bool:
    """Return whether a user has runs to be planned, or arrays that are not folded."""
    arrays_left = (
        "SELECT 1 FROM job_array WHERE owner = ?"
        " AND intent IN ('intended', 'sending', 'accepted', 'ended') LIMIT 1"
    )
    runs_left = "SELECT 1" + _READY.replace(" AND submission.cluster = ?", "") + " LIMIT 1"
    return bool(tx.one(arrays_left, (user,)) or tx.one(runs_left, (user,)))


def live_clusters(tx: Connection, *, user: str) -> set[str]:
    """Return the clusters where a user has runs to be planned, or arrays that are not folded."""
    arrays_left = (
        "SELECT DISTINCT cluster FROM job_array WHERE owner = ?"
        " AND intent IN ('intended', 'sending', 'accepted', 'ended')"
    )
    of_any = _READY.replace(" AND submission.cluster = ?", "")
    rows = [*tx.execute(arrays_left, (user,))]
    rows += tx.execute("SELECT DISTINCT submission.cluster" + of_any, (user,))
    return {cluster for (cluster,) in rows}


def ready_stages(tx: Connection, *, user: str, cluster: str) -> list[int]:
    """Return the ids of the stages that have runs to be planned."""
    found = tx.execute("SELECT DISTINCT run.stage_id" + _READY + " ORDER BY 1", (user, cluster))
    return [stage for (stage,) in found]


def ready(tx: Connection, *, user: str, cluster: str) -> Iterator[ReadyRun]:
    """Yield the runs to be planned, by stage and then by id; streamed."""
    found = tx.stream(
        "SELECT "
        + _ELEMENT.format("run.attempt + 1")
        + _READY.replace(" WHERE", " JOIN experiment ON experiment.id = run.experiment_id WHERE")
        + " ORDER BY run.stage_id, run.id",
        (user, cluster),
    )
    return map(ReadyRun._make, found)


def stages(tx: Connection, ids: Iterable[int]) -> dict[int, StageRow]:
    """Return stages by id."""
    named: dict[int, StageRow] = {}
    for batch in rows.batches(ids):
        found = tx.execute(
            "SELECT stage.id, body, code, folder FROM stage"
            " JOIN submission ON submission.id = submission_id WHERE stage.id IN "
            + rows.marks(batch),
            batch,
        )
        for stage, body, code, folder in found:
            named[stage] = StageRow(stage, bodies.stage_of(body), code, folder)
    return named


# --- arrays ---------------------------------------------------------------------------------------


def insert_array(
    tx: Connection, planned: PlannedArray, *, token: str, cluster: str, user: str, now: datetime
) -> Array:
    """Store an array, INTENDED, with an attempt, QUEUED, for each of its runs.

    Raises StoreError where a run is no longer READY: the plan was made of an old state.
    """
    made = tx.reserve("job_array")
    array = Array(
        id=made,
        token=token,
        stage=planned.stage,
        request=planned.request,
        size=len(planned.runs),
        throttle=planned.throttle,
        intent=Intent.INTENDED,
    )
    tx.execute(
        "INSERT INTO job_array (id, token, stage_id, owner, cluster, request, size, throttle,"
        " intent, fence, detail, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'intended', 0, '', ?)",
        (
            made,
            token,
            planned.stage,
            user,
            cluster,
            bodies.request_text(planned.request),
            array.size,
            planned.throttle,
            stamp(now),
        ),
    )
    _insert_attempts(tx, made, planned.runs, stamp(now))
    return array


def _insert_attempts(tx: Connection, array: int, runs: Sequence[ReadyRun], now: float) -> None:
    by_attempt: dict[int, list[int]] = {}
    for run in runs:
        by_attempt.setdefault(run.attempt, []).append(run.id)
    moved = sum(_queue(tx, number, ids) for number, ids in by_attempt.items())
    if moved != len(runs):
        raise StoreError(f"{len(runs) - moved} runs of a planned array are not ready any more")
    first = tx.reserve("attempt")
    tx.insert(
        "attempt (id, run_id, number, array_id, idx, state, detail, reason, restart, job, node,"
        " created_at)",
        (
            (first + index, run.id, run.attempt, array, index, "queued", "", "", 0, "", "", now)
            for index, run in enumerate(runs)
        ),
    )


def _queue(tx: Connection, number: int, ids: list[int]) -> int:
    """Move runs from READY to QUEUED, with the attempt of this number; return how many moved."""
    return sum(
        tx.change(
            "UPDATE run SET state = 'queued', cause = NULL, attempt = ?, started_at = NULL,"
            f" ended_at = NULL WHERE state = 'ready' AND attempt = ? AND id IN {rows.marks(batch)}",
            (number, number - 1, *batch),
        )
        for batch in rows.batches(ids)
    )


_ARRAY = (
    "SELECT id, token, stage_id, request, size, throttle, intent, job, sent_at, not_before,"
    " submit_at, detail FROM job_array"
)


def arrays(tx: Connection, *, user: str, cluster: str, intents: Collection[Intent]) -> list[Array]:
    """Return the arrays of a user that have one of these intents, the oldest first."""
    found = tx.execute(
        _ARRAY
        + f" WHERE owner = ? AND cluster = ? AND intent IN {rows.marks(intents)} ORDER BY id",
        (user, cluster, *(intent.value for intent in intents)),
    )
    return [_array(row) for row in found]


def finished_arrays(tx: Connection, *, user: str, cluster: str) -> list[Array]:
    """Return the arrays that are with the scheduler and have no attempt left that is not final.

    One that is SENDING is, too, where its runners told of all ends: then it surely arrived.
    """
    found = tx.execute(
        _ARRAY + " WHERE owner = ? AND cluster = ? AND intent IN ('accepted', 'sending')"
        " AND size > 0 AND NOT EXISTS"
        " (SELECT 1 FROM attempt WHERE array_id = job_array.id AND " + _IS_LIVE + ") ORDER BY id",
        (user, cluster),
    )
    return [_array(row) for row in found]


def _array(row: tuple[Any, ...]) -> Array:
    made, token, stage, request, size, throttle, intent, job, sent, later, submit, detail = row
    return Array(
        id=made,
        token=token,
        stage=stage,
        request=bodies.request_of(request),
        size=size,
        throttle=throttle,
        intent=Intent(intent),
        job=job,
        sent_at=rows.time(sent),
        not_before=rows.time(later),
        submit_at=rows.time(submit),
        detail=detail,
    )


_CHANGES = {
    "intent", "job", "sent_at", "not_before", "submit_at", "detail", "throttle",
}  # fmt: skip


def update_array(
    tx: Connection, array_id: int, *, fence: int | None = None, **changed: object
) -> None:
    """Change an array: intent, job, sent_at, not_before, submit_at, detail, throttle.

    With ``fence`` the lease of its user and cluster must still be held under it, else Fenced.
    """
    unknown = changed.keys() - _CHANGES
    if unknown:
        raise TypeError(f"an array has no {', '.join(sorted(unknown))} to change")
    if fence is not None:
        owner = tx.one("SELECT owner, cluster FROM job_array WHERE id = ?", (array_id,))
        if owner is not None:
            lease.check_fence(tx, user=owner[0], cluster=owner[1], fence=fence)
        changed["fence"] = fence
    values = [stamp(it) if isinstance(it, datetime) else it for it in changed.values()]
    columns = ", ".join(f"{name} = ?" for name in changed)
    if tx.change(f"UPDATE job_array SET {columns} WHERE id = ?", [*values, array_id]) != 1:
        raise StoreError(f"there is no array {array_id}")


def elements(tx: Connection, array_id: int) -> list[ReadyRun]:
    """Return the runs of an array in the order of their indices: what its manifest is made of."""
    found = tx.execute(
        "SELECT "
        + _ELEMENT.format("attempt.number")
        + " FROM attempt JOIN run ON run.id = attempt.run_id"
        " JOIN experiment ON experiment.id = run.experiment_id"
        " WHERE attempt.array_id = ? ORDER BY attempt.idx",
        (array_id,),
    )
    return list(map(ReadyRun._make, found))


def dissolve(tx: Connection, array_id: int, now: datetime) -> None:
    """Take back an array that was never sent: its attempts go, and its runs are READY again."""
    taken = tx.change(
        "UPDATE job_array SET intent = 'folded', detail = 'dissolved', size = 0, not_before = ?"
        " WHERE id = ? AND intent = 'intended'",
        (stamp(now), array_id),
    )
    if not taken:
        raise StoreError(f"array {array_id} may be with the scheduler: it cannot be dissolved")
    tx.execute(
        "UPDATE run SET state = 'ready', attempt = attempt - 1 WHERE id IN"
        " (SELECT run_id FROM attempt WHERE array_id = ? AND " + _IS_LIVE + ")",
        (array_id,),
    )
    gone = "(SELECT id FROM attempt WHERE array_id = ? AND " + _IS_LIVE + ")"
    tx.execute("DELETE FROM evidence WHERE attempt_id IN " + gone, (array_id,))
    tx.execute("DELETE FROM attempt WHERE array_id = ? AND " + _IS_LIVE, (array_id,))


def halve(tx: Connection, array_id: int, *, token: str, now: datetime) -> Array:
    """Put the first half of an array that was never sent into one of its own; return that.

    The other runs are READY again.
    """
    found = tx.one(_ARRAY + " WHERE id = ?", (array_id,))
    owner = tx.one("SELECT owner, cluster FROM job_array WHERE id = ?", (array_id,))
    assert found is not None
    assert owner is not None
    array, runs = _array(found), elements(tx, array_id)
    dissolve(tx, array_id, now)
    kept = PlannedArray(array.stage, array.request, tuple(runs[: len(runs) // 2]), array.throttle)
    return insert_array(tx, kept, token=token, cluster=owner[1], user=owner[0], now=now)


def refuse(tx: Connection, array_id: int, why: str, now: datetime) -> None:
    """Let the attempts of an array fail that the scheduler refused for good."""
    found = tx.execute(
        "SELECT id FROM attempt WHERE array_id = ? AND " + _IS_LIVE + " ORDER BY id", (array_id,)
    )
    refused = [
        Transition(
            attempt,
            State.FAILED,
            cause=Cause.REFUSED,
            detail=why,
            ended_at=now,
            why=(("scheduler", "refused"),),
        )
        for (attempt,) in found
    ]
    apply(tx, refused, now)


# --- attempts -------------------------------------------------------------------------------------


_KNOWN = (
    "SELECT idx, attempt.id, state, restart, sent_at, submit_at, unknown_since,"
    " EXISTS (SELECT 1 FROM directive WHERE directive.run_id = attempt.run_id"
    " AND verb = 'cancel' AND done_at IS NULL), cause, reason"
    " FROM attempt JOIN job_array ON job_array.id = array_id"
    " WHERE array_id = ? AND " + _IS_LIVE
)


def known(
    tx: Connection,
    array_id: int,
    indices: Collection[int] | None = None,
    *,
    but: Iterable[Rest] = (),
) -> dict[int, Known]:
    """Return what is recorded of each attempt of an array that is not final, by index.

    With ``indices``, of these only. ``but``: not of those that are recorded as waiting just so, and
    whose runner was never heard of.
    """
    if indices is not None and not indices:
        return {}
    where, given = "", list[Any]()
    if indices is not None and len(indices) <= rows.FEW:
        where, given = f" AND idx IN {rows.marks(indices)}", list(indices)
    for rest in waiting.few(but):
        same, values = waiting.alike(rest, array_id)
        where, given = where + f" AND NOT ({same})", given + values
    found = tx.execute(_KNOWN + where + " ORDER BY idx", (array_id, *given))
    return {row[0]: _known(row) for row in found if indices is None or row[0] in indices}


def _known(row: tuple[Any, ...]) -> Known:
    _, attempt, state, restart, sent_at, submit_at, unknown_since, asked, cause, reason = row
    return Known(
        attempt=attempt,
        state=State(state),
        restart=restart,
        sent_at=rows.time(sent_at),
        submit_at=rows.time(submit_at),
        unknown_since=rows.time(unknown_since),
        cancel_asked=bool(asked),
        cause=Cause(cause) if cause else None,
        reason=reason,
    )


def live_counts(tx: Connection, *, user: str, cluster: str) -> dict[int, dict[State, int]]:
    """Return how many attempts stand where, of each array that is sent or about to be."""
    counts: dict[int, dict[State, int]] = {}
    found = tx.execute(
        "SELECT job_array.id, attempt.state, count(*) FROM job_array"
        " JOIN attempt ON attempt.array_id = job_array.id AND " + _IS_LIVE + " WHERE owner = ?"
        " AND cluster = ? AND intent IN ('intended', 'sending', 'accepted') GROUP BY 1, 2",
        (user, cluster),
    )
    for array, state, count in found:
        counts.setdefault(array, {})[State(state)] = count
    return counts
