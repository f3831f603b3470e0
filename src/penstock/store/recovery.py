"""Bring a store that was put back from a backup up to what has happened since, as files tell."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from penstock.clock import stamp
from penstock.model.run import Intent, PlannedArray, ReadyRun
from penstock.store import attempts
from penstock.store.connection import Connection, Store

FENCES = 1000  # a restored store's fences begin so much above all that were given
# Holds the lease of a cluster elsewhere until its files were searched: nothing is sent before.
HOLDER = "a backup that was put back"
_FOR_EVER_S = 1e9


@dataclass(frozen=True)
class Found:
    """An array of which there are files. ``elements`` are uid and attempt, by index."""

    token: str
    written_at: datetime
    elements: tuple[tuple[str, int], ...]


def fences(store: Store) -> dict[tuple[str, str], int]:
    """Return the fence of each lease."""
    with store.read() as view:
        return _fences(view)


def _fences(view: Connection) -> dict[tuple[str, str], int]:
    found = view.execute("SELECT owner, cluster, fence FROM lease")
    return {(owner, cluster): fence for owner, cluster, fence in found}


def holders(store: Store, is_gone: Callable[[str], bool]) -> list[str]:
    """Return who holds a lease now."""
    with store.read() as view:
        found = list(
            view.execute(
                "SELECT holder FROM lease WHERE holder <> '' AND beat_at + ttl_s > ?",
                (view.now(),),
            )
        )
    return [holder for (holder,) in found if holder != HOLDER and not is_gone(holder)]


def settled(store: Store) -> set[str]:
    """Return the tokens of the arrays of which a store knows whether they were sent."""
    return tokens(store, *(set(Intent) - {Intent.INTENDED, Intent.SENDING}))


def tokens(store: Store, *intents: Intent) -> set[str]:
    """Return the tokens of all arrays, or of those that have one of these intents."""
    with store.read() as view:
        found = list(view.execute("SELECT token, intent FROM job_array"))
    return {token for token, intent in found if not intents or intent in intents}


def renew(
    store: Store,
    given: dict[tuple[str, str], int],
    found: Sequence[Found],
    now: datetime,
    *,
    elsewhere: Collection[str] = (),
) -> list[Found]:
    """Bring a store up to date; return the arrays that it can make nothing of.

    Fences begin above all that were given, so that a reconciler of before writes nothing. Arrays
    that were perhaps sent since are SENDING: they are looked up, and not sent twice. One that has
    the attempt of another was made when that was known not to be with the scheduler, so the other,
    even SENDING, is taken apart. Of clusters ``elsewhere`` the files are not here: each is to be
    searched (``search``) before it is acted on.
    """
    with store.write() as tx:
        known = _fences(tx)
        used = tx.execute("SELECT DISTINCT owner, cluster FROM submission")
        for owner, cluster in given.keys() | known.keys() | set(used):
            top = max(given.get((owner, cluster), 0), known.get((owner, cluster), 0)) + FENCES
            is_far = cluster in elsewhere
            held = (HOLDER, top, tx.now(), _FOR_EVER_S) if is_far else ("", top, 0, 0)
            tx.execute(
                "INSERT INTO lease (owner, cluster, holder, fence, beat_at, ttl_s)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, cluster)"
                " DO UPDATE SET holder = excluded.holder, fence = excluded.fence,"
                " beat_at = excluded.beat_at, ttl_s = excluded.ttl_s",
                (owner, cluster, *held),
            )
        return _taken_up(tx, found, now)


def to_search(view: Connection, *, user: str) -> list[str]:
    """Return the clusters of a user that are to be searched."""
    found = view.execute(
        "SELECT cluster FROM lease WHERE owner = ? AND holder = ? ORDER BY cluster", (user, HOLDER)
    )
    return [cluster for (cluster,) in found]


def search(
    store: Store,
    found: Sequence[Found],
    now: datetime,
    *,
    user: str,
    cluster: str,
    sent: int = 0,
) -> list[Found]:
    """Take up what was found on a cluster, and let it be acted on; return as ``renew`` does.

    ``sent`` is the fence under which something was last sent there.
    """
    with store.write() as tx:
        if cluster not in to_search(tx, user=user):
            return []  # another process has
        left = _taken_up(tx, found, now)
        tx.execute(
            "UPDATE lease SET holder = '', ttl_s = 0,"
            " fence = CASE WHEN fence < ? THEN ? ELSE fence END WHERE owner = ? AND cluster = ?",
            (sent, sent + FENCES, user, cluster),
        )
    return left


def _taken_up(tx: Connection, found: Sequence[Found], now: datetime) -> list[Found]:
    # A run may have been planned twice since: what was written last was sent.
    newest = sorted(found, key=lambda one: one.written_at, reverse=True)
    taken: set[int] = set()
    return [one for one in newest if not _take_up(tx, one, taken, now)]


def _take_up(tx: Connection, found: Found, taken: set[int], now: datetime) -> bool:
    """Say that an array was perhaps sent; False: its runs are unknown, or went another way.

    One of which it is known stays with when it was sent last: it may have been sent again since.
    """
    row = tx.one("SELECT id FROM job_array WHERE token = ?", (found.token,))
    made = row[0] if row else _insert(tx, found, taken, now)
    if made is None:
        return False
    taken.add(made)
    tx.execute(
        "UPDATE job_array SET intent = ?, sent_at = ?, not_before = NULL WHERE id = ?"
        " AND (intent = 'intended' OR intent = 'sending' AND sent_at < ?)",
        (Intent.SENDING.value, stamp(found.written_at), made, stamp(found.written_at)),
    )
    return True


def _insert(tx: Connection, found: Found, taken: set[int], now: datetime) -> int | None:
    for array in _replaced(tx, found) - taken:
        attempts.update_array(tx, array, intent=Intent.INTENDED, sent_at=None)
        attempts.dissolve(tx, array, now)
    runs = [_ready(tx, uid, number) for uid, number in found.elements]
    known = tuple(run for run in runs if run is not None)
    if not known or len(known) < len(runs) or len({run.stage for run in known}) > 1:
        return None
    stage = known[0].stage
    request = attempts.stages(tx, [stage])[stage].stage.request
    owner = tx.one(
        "SELECT owner, cluster FROM submission JOIN stage ON submission_id = submission.id"
        " WHERE stage.id = ?",
        (stage,),
    )
    assert owner is not None  # a foreign key
    planned = PlannedArray(stage, request, known)
    return attempts.insert_array(
        tx, planned, token=found.token, user=owner[0], cluster=owner[1], now=now
    ).id


def _replaced(tx: Connection, found: Found) -> set[int]:
    """Return the arrays that have attempts of an array of which there are files.

    That was planned later, so they were halved or taken apart, and for that surely not with the
    scheduler: those that are SENDING, too, unless their runners were heard of.
    """
    sql = (
        "SELECT job_array.id FROM job_array JOIN attempt ON array_id = job_array.id"
        " JOIN run ON run.id = run_id WHERE intent IN ('intended', 'sending') AND uid = ?"
        " AND attempt.number = ?"
        " AND NOT EXISTS (SELECT 1 FROM spool WHERE spool.array_id = job_array.id)"
    )
    rows = (tx.one(sql, element) for element in found.elements)
    return {row[0] for row in rows if row is not None}


def _ready(tx: Connection, uid: str, number: int) -> ReadyRun | None:
    row = tx.one(
        "SELECT run.id, run.stage_id, experiment.name, run.number, run.params FROM run"
        " JOIN experiment ON experiment.id = run.experiment_id"
        " WHERE run.uid = ? AND run.state = 'ready' AND run.attempt = ?",
        (uid, number - 1),
    )
    if row is None:
        return None
    made, stage, experiment, of, params = row
    return ReadyRun(made, uid, stage, experiment, of, number, params)
