"""What has ended, of arrays: for those who tell runners, and take jobs out of the queue."""

from collections.abc import Collection, Iterable

from penstock.store import rows
from penstock.store.connection import Connection


def indices(view: Connection, array_id: int) -> list[int]:
    """Return the indices of an array whose attempts are final."""
    found = view.execute(
        "SELECT idx FROM attempt WHERE array_id = ?"
        " AND state IN ('completed', 'failed', 'cancelled')",
        (array_id,),
    )
    return [index for (index,) in found]


def partly(view: Connection, array_ids: Iterable[int]) -> dict[int, list[int]]:
    """Return the indices that failed or were cancelled, of arrays that have such."""
    found: dict[int, list[int]] = {}
    for batch in rows.batches(array_ids):
        told = view.execute(
            f"SELECT array_id, idx FROM attempt WHERE array_id IN {rows.marks(batch)}"
            " AND state IN ('failed', 'cancelled') ORDER BY 1, 2",
            batch,
        )
        for array, index in told:
            found.setdefault(array, []).append(index)
    return found


def jobs(tx: Connection, tokens: Collection[str]) -> set[tuple[str, int]]:
    """Return of which of these arrays all has ended, each with its job."""
    found: set[tuple[str, int]] = set()
    for batch in rows.batches(tokens):
        found.update(
            tx.execute(
                "SELECT token, job FROM job_array WHERE intent IN ('ended', 'folded')"
                " AND job IS NOT NULL AND token IN " + rows.marks(batch),
                batch,
            )
        )
    return found
