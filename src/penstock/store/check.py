"""Check a store: its pages, its references, and what the code relies on."""

from collections.abc import Container, Iterator

from penstock.errors import StoreBusyError, StoreError
from penstock.store.connection import Store

MOST = 10  # rows that are named of one kind

# Each finds what may not be; the text tells of one row.
_RUN = (
    " FROM run r JOIN experiment e ON e.id = r.experiment_id"
    " LEFT JOIN attempt a ON a.run_id = r.id AND a.number = r.attempt WHERE "
)
_INVARIANTS: dict[str, str] = {
    "the run has another state than its last attempt": (
        "SELECT e.name || '/' || r.number || ': ' || r.state || ', its attempt ' || a.state"
        + _RUN
        + "(r.state <> a.state OR coalesce(r.cause, '') <> coalesce(a.cause, ''))"
        " AND r.state NOT IN ('ready', 'waiting')"
        " AND NOT (r.state = 'cancelled' AND a.state IN ('completed', 'failed', 'cancelled'))"
    ),
    "the run has no such attempt": (
        "SELECT e.name || '/' || r.number || ': attempt ' || r.attempt"
        + _RUN
        + "r.attempt > 0 AND a.id IS NULL"
    ),
    "the attempt is later than its run's last": (
        "SELECT 'attempt ' || a.id FROM attempt a JOIN run r ON r.id = a.run_id"
        " WHERE a.number > r.attempt"
    ),
    "the attempt has no state, or no end where it is over": (
        "SELECT 'attempt ' || id || ': ' || state FROM attempt WHERE state NOT IN"
        " ('queued', 'held', 'running', 'ending', 'completed', 'failed', 'cancelled')"
        " OR (state IN ('completed', 'failed', 'cancelled')) <> (ended_at IS NOT NULL)"
    ),
    "the array has not as many attempts as it should": (
        "SELECT token || ': ' || count(a.id) || ' of ' || j.size FROM job_array j"
        " LEFT JOIN attempt a ON a.array_id = j.id GROUP BY j.id"
        " HAVING count(a.id) <> j.size OR max(a.idx) >= j.size OR min(a.idx) < 0"
    ),
    "the array was accepted, and has no job": (
        "SELECT token FROM job_array WHERE intent = 'accepted' AND job IS NULL"
    ),
    "the array is over, and has attempts that are not": (
        "SELECT token FROM job_array j WHERE intent IN ('ended', 'folded') AND EXISTS (SELECT"
        " 1 FROM attempt WHERE array_id = j.id"
        " AND state NOT IN ('completed', 'failed', 'cancelled'))"
    ),
    "the spool is of no attempt": (
        "SELECT 'array ' || s.array_id || ', index ' || s.idx FROM spool s WHERE NOT EXISTS"
        " (SELECT 1 FROM attempt WHERE array_id = s.array_id AND idx = s.idx)"
    ),
    "the experiment would give a number again": (
        "SELECT e.name FROM experiment e JOIN run r ON r.experiment_id = e.id GROUP BY e.id"
        " HAVING max(r.number) >= e.next_number"
    ),
}


def check(store: Store) -> list[str]:
    """Return what is wrong, a line for each thing. Raises StoreError where it cannot be looked at.

    Each question is a transaction of its own, so that nobody waits for all of them.
    """
    problems = list(_pages(store))
    if problems:
        return problems  # what damaged pages say means nothing
    problems += _references(store)
    for what, sql in _INVARIANTS.items():
        with store.read() as view:
            rows = [str(row[0]) for row in view.execute(f"{sql} LIMIT {MOST + 1}")]
        problems += [f"{what} ({row})" for row in rows[:MOST]]
        if len(rows) > MOST:
            problems.append(f"{what}: and more")
    return problems


def _pages(store: Store) -> Iterator[str]:
    try:
        with store.read() as view:
            said = view.damaged(MOST)
    except StoreBusyError:
        raise
    except StoreError as error:
        if not isinstance(error.__cause__, store.dialect.error) or "damaged" not in error.what:
            raise
        yield f"damaged: {error.what}"
        return
    for line in said:
        yield f"damaged: {line}"


def _references(store: Store) -> list[str]:
    with store.read() as view:
        return list(dict.fromkeys(view.loose()))[:MOST]


def spools(
    store: Store, *, elsewhere: Container[str] = ()
) -> Iterator[tuple[str, bool, dict[tuple[int, int], int]]]:
    """Yield token, whether it is folded, and how far each spool was read, of each array.

    Arrays of clusters ``elsewhere`` are left out: their files are not on this machine.
    """
    with store.read() as view:
        arrays = list(view.execute("SELECT id, token, intent, cluster FROM job_array ORDER BY id"))
    for made, token, intent, cluster in arrays:
        if cluster in elsewhere:
            continue
        with store.read() as view:
            rows = view.execute(
                "SELECT idx, restart, read_to FROM spool WHERE array_id = ?", (made,)
            )
            read = {(idx, restart): read_to for idx, restart, read_to in rows}
        if read:
            yield token, intent == "folded", read
