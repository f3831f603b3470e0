"""The accounting as sacct sees it: rows that come late, or not at all for a while."""

from collections import deque
from dataclasses import dataclass, replace

from penstock.testing.jobs import ENDS, PENDING, Job

SPAN = frozenset({"COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"})


@dataclass(frozen=True)
class Row:
    """One row: a job, a task or a pending rest, between one submission and its end or requeue."""

    db: int
    id: int
    array: int | None
    index: int | None
    rest: str  # "3-7,9%2"
    name: str
    user: str
    uid: int
    account: str
    partition: str
    qos: str
    state: str
    by: int | None  # CANCELLED by
    code: int
    signal: int
    submit_at: float
    eligible_at: float | None
    start_at: float | None
    end_at: float | None
    nodes: tuple[str, ...]
    reason: str
    mem_mb: int
    cpus: int
    time_s: float
    peak_mb: int | None = None
    step: tuple[str, int, int] | None = None  # state, code and signal of the batch step
    comment: str = ""
    het: tuple[int, int] | None = None

    @property
    def job_id(self) -> str:
        """Return JobID."""
        if self.het is not None:
            return f"{self.het[0]}+{self.het[1]}"
        if self.array is None:
            return str(self.id)
        return f"{self.array}_{self.index}" if self.index is not None else self._rest_id()

    def _rest_id(self) -> str:
        return f"{self.array}_[{self.rest}]" if self.rest else str(self.array)

    @property
    def word(self) -> str:
        """Return State."""
        return self.state if self.by is None else f"{self.state} by {self.by}"


def row_of(job: Job, **changes: object) -> Row:
    """Return the row that the controller sends for a record as it now is."""
    rest = ""
    if job.rest is not None:
        rest = job.rest_text() + (f"%{job.throttle}" if job.throttle else "")
    made = Row(
        db=job.db,
        id=job.id,
        array=job.array,
        index=job.index,
        rest=rest,
        name=job.name,
        user=job.user,
        uid=job.uid,
        account=job.account,
        partition=job.partition,
        qos=job.options.qos or "normal",
        state=job.state,
        by=job.cancelled_by if job.state == "CANCELLED" else None,
        code=job.code,
        signal=job.signal,
        submit_at=job.submit_at,
        eligible_at=job.eligible_at,
        start_at=job.start_at,
        end_at=job.end_at if job.state in ENDS or job.state == "REQUEUED" else None,
        nodes=job.where,
        reason=job.reason if job.state == PENDING else job.start_reason,
        mem_mb=job.options.mem_mb or 100 * job.options.cpus,
        cpus=job.options.cpus,
        time_s=job.time_s,
        het=job.het,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Accounting:
    """Rows in order of their making; what is sent comes ``lag_s`` later, where the way is open."""

    def __init__(self, lag_s: float) -> None:
        self.lag_s = lag_s
        self.is_down = False  # slurmdbd does not answer; what is sent meanwhile waits
        self.rows: dict[int, Row] = {}
        self._sent: deque[tuple[float, Row]] = deque()
        self._next = 1

    def new(self) -> int:
        """Return the number of a new row."""
        self._next += 1
        return self._next - 1

    def send(self, row: Row, now: float) -> None:
        """Take a row, to be seen later."""
        self._sent.append((now + self.lag_s, row))

    def send_early(self, row: Row) -> None:
        """Show at once what the database guesses where an end comes before its beginning.

        Seen on 22.05: name "allocation", no task, until the rest arrives.
        """
        if not self.is_down:
            guess = replace(row, name="allocation", array=None, index=None, rest="", het=None)
            self.rows.setdefault(row.db, guess)

    def seen(self, now: float) -> list[Row]:
        """Return the rows as they can be seen now, oldest first."""
        self._arrive(now)
        return sorted(self.rows.values(), key=lambda row: row.db)

    def _arrive(self, now: float) -> None:
        while self._sent and self._sent[0][0] <= now and not self.is_down:
            _, row = self._sent.popleft()
            self.rows[row.db] = row

    def forget(self) -> None:
        """Purge what has ended, as an administrator may."""
        self.rows = {db: row for db, row in self.rows.items() if row.end_at is None}
