"""Read what is known of one run, and how a group of runs stands: for people, and for watchers."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from penstock.clock import moment, stamp
from penstock.model.run import Intent
from penstock.model.spec import Request, Stage
from penstock.model.state import FINAL, LIVE, State
from penstock.store import bodies, rows
from penstock.store.connection import Connection
from penstock.store.submissions import Submitted

_LIVE = ", ".join(f"'{state}'" for state in sorted(LIVE))


@dataclass(frozen=True)
class AttemptRow:
    """One planned execution of a run. ``restarts`` are those whose spool was seen."""

    id: int
    number: int
    state: State
    cause: str | None
    detail: str
    reason: str
    restart: int
    job: str
    node: str
    created_at: datetime
    unknown_since: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    signal: int | None
    peak_bytes: int | None
    cpu_s: float | None
    token: str
    index: int
    intent: Intent
    array_job: int | None
    array_detail: str
    request: Request
    restarts: tuple[int, ...] = ()
    bad_lines: int = 0
    heard_at: datetime | None = None  # when the runner of its highest restart was heard of last


@dataclass(frozen=True)
class MetricRow:
    """The summary of a metric; ``last`` is None for NaN."""

    name: str
    last: float | None
    step: int | None
    min: float | None
    max: float | None
    count: int


@dataclass(frozen=True)
class OutputRow:
    """A result below the run's folder."""

    path: str
    digest: str
    bytes: int


@dataclass(frozen=True)
class EvidenceRow:
    """What was believed, from whom, and when."""

    attempt: int
    source: str
    at: datetime
    word: str
    detail: str


@dataclass(frozen=True)
class Origin:
    """Where a run comes from."""

    submission: str
    owner: str
    cluster: str
    file: str
    folder: str
    code: str | None
    spec: str
    created_at: datetime
    stage: Stage  # without its sweep


@dataclass(frozen=True)
class Group:
    """So many runs of an experiment in one state, with one reason or cause."""

    experiment: str
    state: State
    why: str  # the reason of those that wait, the cause of those that failed
    count: int
    example: int  # the lowest number of them


_ATTEMPT = tuple(one.name for one in fields(AttemptRow))[:-3]  # what the statement asks for
_ATTEMPTS = """
SELECT a.id, a.number, a.state, a.cause, a.detail, a.reason, a.restart, a.job, a.node, a.created_at,
       a.unknown_since, a.started_at, a.ended_at, a.exit_code, a.signal, a.peak_bytes, a.cpu_s,
       j.token, a.idx, j.intent, j.job, j.detail, j.request, a.array_id
FROM attempt a JOIN job_array j ON j.id = a.array_id WHERE a.run_id = ? ORDER BY a.number"""


def attempts(view: Connection, run: int) -> list[AttemptRow]:
    """Return the attempts of a run, the first one first."""
    return [_attempt(view, row) for row in list(view.execute(_ATTEMPTS, (run,)))]


def _attempt(view: Connection, row: tuple[Any, ...]) -> AttemptRow:
    spools = list(
        view.execute(
            "SELECT restart, bad, heard_at, opened_at FROM spool WHERE array_id = ? AND idx = ?"
            " ORDER BY restart",
            (row[23], row[18]),
        )
    )
    heard = [heard_at for _, _, heard_at, opened_at in spools if opened_at]
    known = dict(zip(_ATTEMPT, row, strict=False))
    for name in ("created_at", "unknown_since", "started_at", "ended_at"):
        known[name] = rows.time(known[name])
    known["state"] = State(known["state"])
    known["intent"] = Intent(known["intent"])
    known["request"] = bodies.request_of(known["request"])
    if not known["job"] and known["array_job"] is not None:
        known["job"] = f"{known['array_job']}_{known['index']}"  # not heard of yet by its own name
    return AttemptRow(
        **known,
        restarts=tuple(restart for restart, *_ in spools),
        bad_lines=sum(bad for _, bad, *_ in spools),
        heard_at=rows.time(heard[-1] if heard else None),
    )


def metrics(view: Connection, run: int) -> list[MetricRow]:
    """Return the summaries of a run's metrics."""
    sql = "SELECT key, last, step, min, max, count FROM metric WHERE run_id = ? ORDER BY key"
    return [MetricRow(*row) for row in view.execute(sql, (run,))]


def outputs(view: Connection, attempt: int) -> list[OutputRow]:
    """Return the results of an attempt."""
    sql = "SELECT path, digest, bytes FROM output WHERE attempt_id = ? ORDER BY path"
    return [OutputRow(*row) for row in view.execute(sql, (attempt,))]


def evidence(view: Connection, run: int) -> list[EvidenceRow]:
    """Return what was believed of a run, in the order in which it came."""
    sql = (
        "SELECT a.number, e.source, e.at, e.word, e.detail FROM evidence e "
        "JOIN attempt a ON a.id = e.attempt_id WHERE a.run_id = ? ORDER BY e.id"
    )
    return [
        EvidenceRow(number, source, moment(at), word, detail)
        for number, source, at, word, detail in view.execute(sql, (run,))
    ]


def origin(view: Connection, run: int) -> Origin:
    """Return where a run comes from."""
    row = view.one(
        "SELECT s.uid, s.owner, s.cluster, s.file, s.folder, s.code, s.spec, s.created_at, g.body "
        "FROM run r JOIN stage g ON g.id = r.stage_id JOIN submission s ON s.id = g.submission_id "
        "WHERE r.id = ?",
        (run,),
    )
    assert row is not None, run
    uid, owner, cluster, file, folder, code, spec, at, body = row
    return Origin(uid, owner, cluster, file, folder, code, spec, moment(at), bodies.stage_of(body))


def has_live(view: Connection, owner: str) -> bool:
    """Return whether a user has runs that are not over, or files that are not folded."""
    arrays = "SELECT 1 FROM job_array WHERE owner = ? AND intent <> ? LIMIT 1"
    ready = (
        "SELECT 1 FROM run r JOIN stage g ON g.id = r.stage_id "
        "JOIN submission s ON s.id = g.submission_id "
        "WHERE r.state = 'ready' AND s.owner = ? LIMIT 1"
    )
    return bool(view.one(arrays, (owner, Intent.FOLDED)) or view.one(ready, (owner,)))


_COUNTS = """
SELECT e.name, r.state, '', count(*), min(r.number)
FROM experiment e JOIN run r ON r.experiment_id = e.id
WHERE e.project = ? AND (? = '' OR e.name = ?) GROUP BY e.id, r.state ORDER BY e.id"""
_WAITING = f"""
SELECT e.name, r.state,
       CASE WHEN j.intent = 'sending' THEN 'penstock:sending'
            WHEN j.intent <> 'intended' THEN a.reason
            WHEN j.detail <> '' THEN 'penstock:limit' ELSE 'penstock:unsent' END AS why,
       count(*), min(r.number)
FROM experiment e JOIN run r ON r.experiment_id = e.id
JOIN attempt a ON a.run_id = r.id AND a.number = r.attempt JOIN job_array j ON j.id = a.array_id
WHERE e.project = ? AND (? = '' OR e.name = ?) AND r.state IN ({_LIVE}) GROUP BY e.id, r.state, why
ORDER BY e.id, min(r.number)"""
_ENDED = """
SELECT e.name, r.state, coalesce(r.cause, ''), count(*), min(r.number)
FROM experiment e JOIN run r ON r.experiment_id = e.id
WHERE e.project = ? AND (? = '' OR e.name = ?) AND r.state IN ('failed', 'cancelled')
GROUP BY e.id, r.state, r.cause ORDER BY e.id, min(r.number)"""


def counts(view: Connection, project: str, experiment: str = "") -> list[Group]:
    """Return how many runs of each experiment are in which state; an index answers."""
    return _groups(view, _COUNTS, project, experiment)


def waiting(view: Connection, project: str, experiment: str = "") -> list[Group]:
    """Return the runs that are with the scheduler, by state and its reason."""
    return _groups(view, _WAITING, project, experiment)


def ended(view: Connection, project: str, experiment: str = "") -> list[Group]:
    """Return the runs that failed or were cancelled, by cause."""
    return _groups(view, _ENDED, project, experiment)


def _groups(view: Connection, sql: str, project: str, experiment: str) -> list[Group]:
    return [
        Group(name, State(state), why or "", count, example)
        for name, state, why, count, example in view.execute(sql, (project, experiment, experiment))
    ]


@dataclass(frozen=True)
class Member:
    """A run of a group."""

    id: int
    experiment: str
    number: int
    owner: str
    is_over: bool

    @property
    def name(self) -> str:
        """Return ``experiment/7``."""
        return f"{self.experiment}/{self.number}"


def members(
    view: Connection, project: str, *, experiment: str = "", submission: str = ""
) -> list[Member]:
    """Return the runs of an experiment, or of a submission by its uid or how that begins."""
    found = view.execute(
        "SELECT r.id, e.name, r.number, s.owner, r.state FROM run r "
        "JOIN experiment e ON e.id = r.experiment_id "
        "JOIN stage g ON g.id = r.stage_id JOIN submission s ON s.id = g.submission_id "
        "WHERE e.project = ? AND (? = '' OR e.name = ?) "
        "AND substr(s.uid, 1, length(?)) = ? ORDER BY r.id",
        (project, experiment, experiment, submission, submission),
    )
    return [
        Member(run, name, number, owner, State(state) in FINAL)
        for run, name, number, owner, state in found
    ]


def submitted_since(view: Connection, owner: str, since: datetime) -> Submitted | None:
    """Return a user's newest submission, if it was made since."""
    row = view.one(
        "SELECT s.id, s.uid, e.name, s.experiment_id FROM submission s "
        "JOIN experiment e ON e.id = s.experiment_id "
        "WHERE s.owner = ? AND s.created_at >= ? ORDER BY s.id DESC LIMIT 1",
        (owner, stamp(since)),
    )
    if row is None:
        return None
    numbers = view.one(
        "SELECT min(r.number), max(r.number) FROM run r JOIN stage g ON g.id = r.stage_id "
        "WHERE g.submission_id = ?",
        (row[0],),
    )
    assert numbers is not None
    return Submitted(row[0], row[1], row[2], *numbers)
