"""Whether a run ended as it really did: what the store says against what a witness saw."""

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.model.state import Cause, State
from penstock.store.connection import Connection
from penstock.testing.accounting import Row
from penstock.testing.jobs import ENDS
from penstock.testing.runners import Execution
from penstock.testing.witness import Witness
from penstock.wire.claim import TAKEN

LAG_S = 60  # how late the accounting may hear that what has ended is run again
End = tuple[str, str]
BY_WORD: dict[str, End] = {
    "TIMEOUT": ("failed", "time"),
    "NODE_FAIL": ("failed", "node"),
    "OUT_OF_MEMORY": ("failed", "memory"),
    "PREEMPTED": ("failed", "preempted"),
    "DEADLINE": ("failed", "deadline"),
}
WITHDRAWN: set[End] = {("cancelled", "withdrawn"), ("cancelled", "user")}

# What the store says, of each run, and why.
OVER_RUNS = "SELECT id FROM run WHERE state IN ('completed', 'failed', 'cancelled')"
ROWS = (
    "SELECT run.id, run.uid, run.state, coalesce(run.cause, ''), coalesce(token, ''),"
    " coalesce(idx, -1), EXISTS (SELECT 1 FROM directive"
    " WHERE run_id = run.id AND verb = 'cancel'),"
    " coalesce(intent, '') FROM run LEFT JOIN attempt"
    " ON attempt.run_id = run.id AND attempt.number = run.attempt"
    " LEFT JOIN job_array ON job_array.id = array_id ORDER BY run.id"
)
SEEN = (
    "SELECT run_id, source, at, word, evidence.detail FROM evidence"
    " JOIN attempt ON attempt.id = attempt_id ORDER BY evidence.id"
)


@dataclass(frozen=True)
class Verdict:
    """A run at the end, as the store has it, and what is known of it besides."""

    run: int
    state: State
    cause: str
    decided: tuple[float, float]  # between these times
    told_at: float  # a cycle was done by then, in which runners were told of it
    executions: tuple[Execution, ...]
    segments: tuple[Row, ...]  # of the last attempt
    is_withdrawn: bool  # cancelled while it waited
    is_rejected: bool  # sbatch refused its array for good
    is_asked: bool  # its user asked Penstock to cancel it, and the store has that
    has_accounting: bool
    uid: int
    slack_s: float  # how late a record may be seen

    def doubled(self) -> str:
        """Return what was executed too often, or nothing."""
        recorded = [one for one in self.executions if one.recorded_at is not None]
        jobs = sorted({one.job for one in self.executions})
        if len(recorded) > 1 or len(jobs) > 1:
            return f"run {self.run} ran to {len(recorded)} records, in jobs {jobs}"
        return ""

    def wrong(self) -> str:
        """Return what is wrong with its end, or nothing."""
        if self.executions and self.executions[-1].began_at > self.told_at:
            return f"run {self.run} was run again when it had been told to be over"
        said = (self.state.value, self.cause)
        right = self._right()
        if said in right:
            return ""
        meant = " or ".join("/".join(one) for one in sorted(right)) or "nothing"
        return f"run {self.run} is {'/'.join(said)}, and was {meant}"

    def _right(self) -> set[End]:
        right = self._truth()
        return right if self.has_accounting else right | self._vague(right)

    def _vague(self, truth: set[End]) -> set[End]:
        """Return what may be said where the controller has forgotten and nobody else knows."""
        if truth - self._unclosed() == {("completed", "")}:
            return set()  # what was closed could be read when it was decided
        vague: set[End] = {("failed", "lost")}
        if any(state == "cancelled" for state, _ in truth):
            vague.add(("cancelled", "withdrawn"))
        if self.executions and (not self.is_asked or self.executions[-1].is_unsealed):
            vague |= {("failed", "signal"), ("failed", "exit")}
        return vague | {("failed", "memory") for one in self.executions if one.plan.is_oom}

    def _truth(self) -> set[End]:
        recorded = [one for one in self.executions if one.recorded_at is not None]
        if not recorded:
            refused = {("failed", "refused")} if self.is_rejected else set()
            return self._by_slurm() | self._unclosed() | refused
        last = recorded[-1]
        assert last.recorded_at is not None
        right: set[End] = {("completed", "")} if last.code == 0 else {("failed", "exit")}
        if last.plan.is_oom and last.code != 0:
            right = {("failed", "memory")}
        if last.recorded_at + self.slack_s >= self.decided[0]:
            right |= self._by_slurm(last.recorded_at)
        return right

    def _by_slurm(self, recorded_at: float | None = None) -> set[End]:
        """Return the ends that are right where no record was seen."""
        right: set[End] = set()
        if self.is_withdrawn:
            right |= WITHDRAWN
        if self.is_asked:
            right.add(("cancelled", "user"))
        for row in self._ends():
            if not (recorded_at and row.word == "COMPLETED"):
                right |= self._by_end(row)
        return right

    def _unclosed(self) -> set[End]:
        """Return the ends that runners wrote and could not close: right where nothing follows."""
        codes = {one.plan.code for one in self.executions if one.is_unclosed}
        return {("failed", "exit") if code else ("completed", "") for code in codes}

    def _ends(self) -> Iterable[Row]:
        """Yield the segments that were the last one, and over, when it was decided."""
        for row in self.segments:
            if row.state not in ENDS or row.code == TAKEN or row.end_at is None:
                continue
            later = [one.submit_at for one in self.segments if one.submit_at > row.submit_at]
            is_last = min(later, default=self.decided[0]) >= self.decided[0] - LAG_S
            if is_last and row.end_at <= self.decided[1]:
                yield row

    def _by_end(self, row: Row) -> set[End]:
        if row.state == "CANCELLED":
            by = Cause.USER if row.by == self.uid else Cause.ADMIN
            return {("cancelled", by.value)}
        if row.state == "FAILED":
            return set(self._failures(row))
        return {BY_WORD[row.state]} if row.state in BY_WORD else set()

    def _failures(self, row: Row) -> Iterable[End]:
        began = [one for one in self.executions if row.end_at and one.began_at <= row.end_at]
        if row.signal == 53:
            yield "failed", "launch"
        elif began and began[-1].plan.is_oom:
            yield "failed", "memory"
        elif row.signal or row.code > 128:
            yield "failed", "signal"
        else:
            yield "failed", "exit"


def evidence(
    view: Connection, cluster: Witness, executions: Iterable[Execution], began_at: float
) -> list[str]:
    """Return what the store believes of each run and why, and what a witness saw."""
    seen = list(view.execute(SEEN))
    lines = []
    for run, _, state, cause, token, index, _, intent in list(view.execute(ROWS)):
        lines.append(f"run {run} {state}/{cause} in {token} {index} ({intent})")
        lines += [
            f"  {at - began_at:9.1f}  {source}: {word} → {detail}"
            for one, source, at, word, detail in seen
            if one == run
        ]
        for row in cluster.segments(token, index) if token else []:
            times = [None if t is None else t - began_at for t in (row.start_at, row.end_at)]
            lines.append(f"  really {row.job_id} {row.word} {row.code}:{row.signal} {times}")
        lines += [
            f"  ran {one.job} restart {one.restart}: {one.recorded_at} {one.code}"
            for one in executions
            if one.folder.endswith(token or "/") and one.index == index
        ]
    return lines
