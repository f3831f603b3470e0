"""States, causes, Slurm's words, and the moves between states: tables, not code.

Source: Slurm's job_state_codes page and squeue(1), sacct(1), of 22.05 to 26.05. A flag (COMPLETING,
REQUEUE_HOLD …) hides the base state in what squeue prints, so both stand in one table.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What Penstock says of an attempt, and so of its run."""

    WAITING = "waiting"  # on other runs
    READY = "ready"  # to be planned
    QUEUED = "queued"  # planned, sent or pending in the scheduler
    HELD = "held"  # pending, and the user must act
    RUNNING = "running"
    ENDING = "ending"  # its outcome is not known yet; it may be requeued
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
LIVE = frozenset({State.QUEUED, State.HELD, State.RUNNING, State.ENDING})


class Cause(StrEnum):
    """Why an attempt ended as it did. The sentence for each is in ``CAUSES``."""

    EXIT = "exit"
    SIGNAL = "signal"
    MEMORY = "memory"
    TIME = "time"
    DEADLINE = "deadline"
    NODE = "node"
    LAUNCH = "launch"
    PREEMPTED = "preempted"
    REFUSED = "refused"
    SETUP = "setup"
    OUTPUT = "output"
    NO_RECORD = "no-record"
    LOST = "lost"
    USER = "user"
    ADMIN = "admin"
    OTHER_USER = "other-user"
    WITHDRAWN = "withdrawn"


CAUSES: dict[Cause, str] = {
    Cause.EXIT: "the command ended with a code other than 0",
    Cause.SIGNAL: "a signal ended the command",
    Cause.MEMORY: "it used more memory than it asked for",
    Cause.TIME: "it ran longer than it asked for",
    Cause.DEADLINE: "it could not end before its deadline",
    Cause.NODE: "its node failed",
    Cause.LAUNCH: "the scheduler could not start it",
    Cause.PREEMPTED: "another job took its place",
    Cause.REFUSED: "the scheduler refused it",
    Cause.SETUP: "its working folder, code or command could not be set up",
    Cause.OUTPUT: "an output is missing or could not be copied",
    Cause.NO_RECORD: "the scheduler saw it end, and it left no record",
    Cause.LOST: "neither the scheduler nor the run has been heard of for too long",
    Cause.USER: "its user cancelled it",
    Cause.ADMIN: "an administrator cancelled it",
    Cause.OTHER_USER: "another user cancelled it",
    Cause.WITHDRAWN: "it was cancelled, and Slurm keeps no record of who did it",
}


class Kind(StrEnum):
    """What a word of Slurm says of a job's life."""

    WAITING = "waiting"
    HELD = "held"
    ACTIVE = "active"
    ENDING = "ending"
    END = "end"
    SIBLING = "sibling"  # goes on elsewhere in a federation
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Word:
    """A word that Slurm prints for a state: its two letters, what it says, and the end it means."""

    code: str
    kind: Kind
    state: State
    cause: Cause | None = None


WORDS: dict[str, Word] = {
    "PENDING": Word("PD", Kind.WAITING, State.QUEUED),
    "CONFIGURING": Word("CF", Kind.WAITING, State.QUEUED),
    "POWER_UP_NODE": Word("", Kind.WAITING, State.QUEUED),
    "REQUEUED": Word("RQ", Kind.WAITING, State.QUEUED),
    "REQUEUE_FED": Word("RF", Kind.WAITING, State.QUEUED),
    "EXPEDITING": Word("", Kind.WAITING, State.QUEUED),
    "REQUEUE_HOLD": Word("RH", Kind.HELD, State.HELD),
    "SPECIAL_EXIT": Word("SE", Kind.HELD, State.HELD),
    "RESV_DEL_HOLD": Word("RD", Kind.HELD, State.HELD),
    "RUNNING": Word("R", Kind.ACTIVE, State.RUNNING),
    "RESIZING": Word("RS", Kind.ACTIVE, State.RUNNING),
    "SIGNALING": Word("SI", Kind.ACTIVE, State.RUNNING),
    "STOPPED": Word("ST", Kind.ACTIVE, State.RUNNING),
    "SUSPENDED": Word("S", Kind.ACTIVE, State.RUNNING),
    "STAGE_OUT": Word("SO", Kind.ACTIVE, State.RUNNING),
    "UPDATE_DB": Word("", Kind.ACTIVE, State.RUNNING),
    "COMPLETING": Word("CG", Kind.ENDING, State.ENDING),
    "COMPLETED": Word("CD", Kind.END, State.COMPLETED),
    "FAILED": Word("F", Kind.END, State.FAILED, Cause.EXIT),
    "OUT_OF_MEMORY": Word("OOM", Kind.END, State.FAILED, Cause.MEMORY),
    "TIMEOUT": Word("TO", Kind.END, State.FAILED, Cause.TIME),
    "DEADLINE": Word("DL", Kind.END, State.FAILED, Cause.DEADLINE),
    "NODE_FAIL": Word("NF", Kind.END, State.FAILED, Cause.NODE),
    "BOOT_FAIL": Word("BF", Kind.END, State.FAILED, Cause.NODE),
    "LAUNCH_FAILED": Word("", Kind.END, State.FAILED, Cause.LAUNCH),
    "RECONFIG_FAIL": Word("", Kind.END, State.FAILED, Cause.NODE),
    "PREEMPTED": Word("PR", Kind.END, State.FAILED, Cause.PREEMPTED),
    "CANCELLED": Word("CA", Kind.END, State.CANCELLED, Cause.USER),
    "REVOKED": Word("RV", Kind.SIBLING, State.QUEUED),
}
CODES: dict[str, str] = {word.code: name for name, word in WORDS.items() if word.code}
UNKNOWN = Word("", Kind.UNKNOWN, State.QUEUED)

# Pending reasons with which a job waits for its user, not for the cluster; as ``same`` has them.
# The sentences are of slurmctld/job_mgr.c, of 22.05 to 25.05.
HELD_REASONS = frozenset(
    {
        "jobhelduser",
        "jobheldadmin",
        "jobholdmaxrequeue",
        "job requeued in held state",
        "job requeued in special exit state",
        "launch failed requeued held",
        "launch failure limit exceeded requeued held",
        "user env retrieval failed requeued held",
    }
)

# Pending reasons with which a job never starts unless it is changed: say so at once.
NEVER_REASONS: dict[str, str] = {
    "PartitionTimeLimit": "asks for more time than its partition allows",
    "PartitionNodeLimit": "asks for more nodes than its partition has",
    # The one word of 24.11 for what 22.05 says in sentences; both say it where a job is too large.
    "PartitionConfig": "its partition does not take such a job: too many cpus or nodes, or not for "
    "this account, group or qos (`scontrol show partition`)",
    "BadConstraints": "asks for what no node has",
    "DependencyNeverSatisfied": "waits for a job that failed",
    "InvalidQOS": "names a qos that does not exist",
    "InvalidAccount": "names an account that does not exist",
    "AccountNotAllowed": "names an account that its partition refuses",
    "QOSNotAllowed": "names a qos that its partition refuses",
}


def word(said: str) -> Word:
    """Return what Slurm's word says: ``CANCELLED by 1000`` and ``CANCELLED+`` are CANCELLED.

    ``OUT_OF_ME+`` was cut off where a column was too narrow: it is the only word that begins so.
    """
    first = said.split(" ", 1)[0].upper()
    whole = first.rstrip("+")
    meaning = WORDS.get(CODES.get(whole, whole))
    if meaning is None and first.endswith("+"):
        begun = [name for name in WORDS if whole and name.startswith(whole)]
        meaning = WORDS[begun[0]] if len(begun) == 1 else None
    return meaning or UNKNOWN


def same(reason: str) -> str:
    """Return a reason as it is compared: some programs write a sentence with underscores."""
    return reason.strip().replace("_", " ").lower()


def is_held(reason: str) -> bool:
    """Return whether a reason says that the user must act.

    squeue joins the reasons of an array's pending tasks by commas: where only some are held it
    does not say which (``is_held_in_part``), so then none is called held.
    """
    return all(_held_parts(reason))


def is_held_in_part(reason: str) -> bool:
    """Return whether a joined reason is of tasks of which some are held and others are not."""
    return any(_held_parts(reason)) and not is_held(reason)


def _held_parts(reason: str) -> list[bool]:
    return [same(part) in HELD_REASONS for part in reason.split(",")]


def cancelled_by(said: str) -> int | None:
    """Return the uid in ``CANCELLED by 1000``."""
    _, _, uid = said.partition(" by ")
    return int(uid) if uid.isdigit() else None


_ANY_END = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
# A requeue takes a job from any place before its end back to the queue.
MOVES: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.READY, State.CANCELLED}),
    State.READY: frozenset({State.QUEUED, State.CANCELLED, State.FAILED}),
    State.QUEUED: frozenset({State.HELD, State.RUNNING, State.ENDING, State.READY}) | _ANY_END,
    State.HELD: frozenset({State.QUEUED, State.RUNNING, State.ENDING}) | _ANY_END,
    State.RUNNING: frozenset({State.QUEUED, State.HELD, State.ENDING}) | _ANY_END,
    State.ENDING: frozenset({State.QUEUED, State.HELD, State.RUNNING}) | _ANY_END,
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
