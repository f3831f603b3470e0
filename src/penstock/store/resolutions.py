"""What is to become of arrays that are SENDING where nobody but the user can know.

A user's answer is a directive on the first run of the array; its verb names the array. The
reconciler carries it out.
"""

from dataclasses import dataclass
from datetime import datetime

from penstock.clock import moment, stamp
from penstock.model.run import Intent
from penstock.store.connection import Connection

ADOPT = "adopt"
RESEND = "resend"


@dataclass(frozen=True)
class Sending:
    """An array that is perhaps with the scheduler."""

    id: int
    token: str
    cluster: str
    project: str
    experiment: str
    first: int  # number of its first run
    size: int
    sent_at: datetime
    question: str  # for the user; empty: it is still being looked up
    is_answered: bool


@dataclass(frozen=True)
class Answer:
    """What a user said of an array. ``job`` is None: send it again."""

    directive: int
    array: int
    token: str
    intent: Intent
    job: int | None


_SENDING = """
SELECT j.id, j.token, j.cluster, e.project, e.name, r.number, j.size, j.sent_at, j.detail,
       EXISTS (SELECT 1 FROM directive d WHERE d.run_id = r.id AND d.done_at IS NULL
               AND d.verb LIKE '% ' || j.token || '%')
FROM job_array j JOIN attempt a ON a.array_id = j.id AND a.idx = 0
JOIN run r ON r.id = a.run_id JOIN experiment e ON e.id = r.experiment_id
WHERE j.owner = ? AND j.intent = 'sending' ORDER BY j.id"""


def sending(view: Connection, *, user: str) -> list[Sending]:
    """Return the arrays of a user that are SENDING, the oldest first."""
    return [
        Sending(
            made,
            token,
            cluster,
            project,
            name,
            first,
            size,
            moment(at or 0),
            detail,
            bool(answered),
        )
        for made, token, cluster, project, name, first, size, at, detail, answered in view.execute(
            _SENDING, (user,)
        )
    ]


def owner_of_job(view: Connection, job: int, *, cluster: str) -> str:
    """Return the token of the array that is not over and has a job; empty: none."""
    found = view.one(
        "SELECT token FROM job_array WHERE job = ? AND cluster = ? AND intent = 'accepted'",
        (job, cluster),
    )
    return found[0] if found else ""


def answer(tx: Connection, token: str, *, job: int | None, user: str, now: datetime) -> bool:
    """Store a user's answer, in place of an earlier one; False: the array is not SENDING."""
    found = tx.one(
        "SELECT a.run_id FROM job_array j JOIN attempt a ON a.array_id = j.id AND a.idx = 0"
        " WHERE j.token = ? AND j.intent = 'sending'",
        (token,),
    )
    if found is None:
        return False
    verb = f"{RESEND} {token}" if job is None else f"{ADOPT} {token} {job}"
    tx.execute(
        "UPDATE directive SET done_at = ? WHERE run_id = ? AND done_at IS NULL"
        " AND (verb = ? OR verb LIKE ?)",
        (stamp(now), found[0], f"{RESEND} {token}", f"{ADOPT} {token} %"),
    )
    tx.execute(
        "INSERT INTO directive (owner, verb, run_id, at) VALUES (?, ?, ?, ?)",
        (user, verb, found[0], stamp(now)),
    )
    return True


def answers(view: Connection, *, user: str, cluster: str) -> list[Answer]:
    """Return the open answers about a user's arrays, the oldest first."""
    found = view.execute(
        "SELECT d.id, d.verb, j.id, j.token, j.intent FROM directive d"
        " JOIN attempt a ON a.run_id = d.run_id AND a.idx = 0"
        " JOIN job_array j ON j.id = a.array_id"
        " WHERE d.done_at IS NULL AND d.verb <> 'cancel' AND j.owner = ? AND j.cluster = ?"
        " ORDER BY d.id",
        (user, cluster),
    )
    told = []
    for directive, verb, array, token, intent in found:
        word, _, rest = verb.partition(" ")
        named, _, job = rest.partition(" ")
        if named == token and word in (ADOPT, RESEND):
            told.append(
                Answer(directive, array, token, Intent(intent), int(job) if word == ADOPT else None)
            )
    return told


def job_told(view: Connection, array: int) -> int | None:
    """Return the job that the runners of an array name; None: none has begun, or they differ."""
    found = {
        job.partition("_")[0]
        for (job,) in view.execute(
            "SELECT DISTINCT job FROM spool WHERE array_id = ? AND job <> ''", (array,)
        )
    }
    told = found.pop() if len(found) == 1 else ""
    return int(told) if told.isdecimal() else None
