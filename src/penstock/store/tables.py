"""The tables. Migrations make them (a test compares); statements on hot paths are plain SQL.

Times are seconds since the epoch. Names that PostgreSQL reserves (array, user, offset) are avoided:
so statements need no quoting on either database. Values of parameters and tags stand as a number or
as text, each in an index of its own, because that is how they are searched.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

_NO_ROWID = {"sqlite_with_rowid": False}
_LIVE = text("state NOT IN ('completed', 'failed', 'cancelled')")


def _where(name: str, *columns: str, where: str) -> Index:
    """Return an index over some rows only; both databases have these."""
    clause = text(where)
    return Index(name, *columns, sqlite_where=clause, postgresql_where=clause)


class Experiment(SQLModel, table=True):
    """A named group of runs, and the number that its next run gets."""

    __table_args__ = (UniqueConstraint("project", "name"),)
    id: int = Field(primary_key=True)
    project: str
    name: str
    next_number: int


class Submission(SQLModel, table=True):
    """One ``penstock submit``."""

    id: int = Field(primary_key=True)
    uid: str = Field(unique=True)
    experiment_id: int = Field(foreign_key="experiment.id")
    owner: str  # the login of who submitted, and in whose name it runs
    cluster: str
    spec: str = Field(sa_type=Text)
    folder: str
    file: str
    code: str | None  # digest of the archive
    created_at: float


class Stage(SQLModel, table=True):
    """A stage of a submission; ``body`` is JSON, without the sweep that is expanded by now."""

    __table_args__ = (UniqueConstraint("submission_id", "position"),)
    id: int = Field(primary_key=True)
    submission_id: int = Field(foreign_key="submission.id")
    position: int
    name: str
    body: str = Field(sa_type=Text)


class Run(SQLModel, table=True):
    """A run. State, cause and times are a copy of its last attempt's."""

    __table_args__ = (
        UniqueConstraint("experiment_id", "number"),
        Index("run_state", "experiment_id", "state", "number"),
        _where("run_ready", "stage_id", "id", where="state = 'ready'"),
    )
    id: int = Field(primary_key=True)
    uid: str = Field(unique=True)
    experiment_id: int = Field(foreign_key="experiment.id")
    number: int
    stage_id: int = Field(foreign_key="stage.id")
    state: str
    cause: str | None
    attempt: int  # the number of the last one; 0: none yet
    params: str = Field(sa_type=Text)  # JSON, as the spec gave them
    started_at: float | None
    ended_at: float | None


class Param(SQLModel, table=True):
    """A parameter, to be searched by. ``told`` is its JSON where the run itself told it."""

    __table_args__ = (
        _where("param_number", "key", "number", "run_id", where="number IS NOT NULL"),
        _where("param_text", "key", "text", "run_id", where="text IS NOT NULL"),
        _NO_ROWID,
    )
    run_id: int = Field(primary_key=True, foreign_key="run.id")
    key: str = Field(primary_key=True)
    number: float | None
    text: str | None
    told: str | None


class Tag(SQLModel, table=True):
    """A tag; ``number`` too where its text reads as one."""

    __table_args__ = (
        _where("tag_number", "key", "number", "run_id", where="number IS NOT NULL"),
        Index("tag_text", "key", "text", "run_id"),
        _NO_ROWID,
    )
    run_id: int = Field(primary_key=True, foreign_key="run.id")
    key: str = Field(primary_key=True)
    number: float | None
    text: str


class JobArray(SQLModel, table=True):
    """An array: the intent. ``fence`` is of who wrote it last."""

    __tablename__: ClassVar[str] = "job_array"
    __table_args__ = (Index("job_array_intent", "owner", "cluster", "intent"),)
    id: int = Field(primary_key=True)
    token: str = Field(unique=True)
    stage_id: int = Field(foreign_key="stage.id")
    owner: str
    cluster: str
    request: str = Field(sa_type=Text)  # JSON
    size: int
    throttle: int | None
    intent: str
    fence: int
    job: int | None = Field(sa_type=BigInteger)
    detail: str
    created_at: float
    sent_at: float | None
    not_before: float | None
    submit_at: float | None


class Attempt(SQLModel, table=True):
    """One planned execution of a run: element ``idx`` of an array."""

    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        UniqueConstraint("array_id", "idx"),
        Index("attempt_live", "array_id", "idx", sqlite_where=_LIVE, postgresql_where=_LIVE),
    )
    id: int = Field(primary_key=True)
    run_id: int = Field(foreign_key="run.id")
    number: int
    array_id: int = Field(foreign_key="job_array.id")
    idx: int
    state: str
    cause: str | None
    detail: str
    reason: str
    restart: int
    job: str
    node: str
    created_at: float
    unknown_since: float | None
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    signal: int | None
    peak_bytes: int | None = Field(sa_type=BigInteger)
    cpu_s: float | None


class Spool(SQLModel, table=True):
    """How far the spool of one restart was read, and what its runner said last."""

    __table_args__ = (_NO_ROWID,)
    array_id: int = Field(primary_key=True, foreign_key="job_array.id")
    idx: int = Field(primary_key=True)
    restart: int = Field(primary_key=True)
    read_to: int = Field(sa_type=BigInteger)  # bytes
    done: int  # 1: closed, and read to its end
    bad: int  # lines that did not count
    job: str
    node: str
    opened_at: float | None
    heard_at: float | None
    exit: str | None = Field(sa_type=Text)  # the last record, checked, as JSON


class Evidence(SQLModel, table=True):
    """What was believed of an attempt, from whom; a row where it changed."""

    __table_args__ = (Index("evidence_attempt", "attempt_id", "id"),)
    id: int = Field(primary_key=True)
    attempt_id: int = Field(foreign_key="attempt.id")
    source: str
    at: float
    word: str
    detail: str


class Metric(SQLModel, table=True):
    """The summary of one metric, of the highest restart of the last attempt that told it.

    NULL in ``last`` is a NaN; ``min`` and ``max`` leave NaN out.
    """

    __table_args__ = (Index("metric_last", "key", "last", "run_id"), _NO_ROWID)
    run_id: int = Field(primary_key=True, foreign_key="run.id")
    key: str = Field(primary_key=True)
    attempt: int  # its number
    restart: int
    last: float | None
    step: int | None = Field(sa_type=BigInteger)
    min: float | None
    max: float | None
    count: int


class Chunk(SQLModel, table=True):
    """Points of one metric from one restart, compressed: see ``points``."""

    __table_args__ = (UniqueConstraint("attempt_id", "restart", "key", "seq"),)
    id: int = Field(primary_key=True)
    attempt_id: int = Field(foreign_key="attempt.id")
    restart: int
    key: str
    seq: int
    count: int
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Output(SQLModel, table=True):
    """A result that stands below the run's folder."""

    __table_args__ = (_NO_ROWID,)
    attempt_id: int = Field(primary_key=True, foreign_key="attempt.id")
    path: str = Field(primary_key=True)
    digest: str
    bytes: int = Field(sa_type=BigInteger)


class Directive(SQLModel, table=True):
    """What a user asked of a run; open until it is so."""

    __table_args__ = (_where("directive_open", "run_id", "verb", where="done_at IS NULL"),)
    id: int = Field(primary_key=True)
    owner: str  # who asked
    verb: str
    run_id: int = Field(foreign_key="run.id")
    at: float
    done_at: float | None


class Lease(SQLModel, table=True):
    """Who may act for a user on a cluster, by the store's clock. The fence only grows."""

    owner: str = Field(primary_key=True)
    cluster: str = Field(primary_key=True)
    holder: str
    fence: int
    beat_at: float
    ttl_s: float
