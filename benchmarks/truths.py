"""Slurm's words for states and its expressions of array tasks, with the right answer to each.

Data, from Slurm's own documentation and source: job_state_codes of the 26.05 pages, squeue(1),
sacct(1), ``_xlate_array_task_str`` and ``_print_job_job_id``. Nothing here is Penstock's.
"""

from dataclasses import asdict, dataclass

WAITS, HELD, RUNS, ENDS = "waits", "held", "runs", "ends"  # not over
GOOD, UNKNOWN = "well", "unknown"
NOT_OVER = frozenset({WAITS, HELD, RUNS, ENDS, "sibling"})


@dataclass(frozen=True)
class Said:
    """What Slurm says of one task, and what is right to make of it."""

    word: str
    right: str  # one of those above, or how it ended badly: "failed: memory", "cancelled: admin"
    reason: str = ""
    by: str = "squeue"  # who says it
    step: str = ""  # the word on its batch step
    code: str = "0:0"

    @property
    def text(self) -> str:
        """Return it for people."""
        notes = [self.reason, self.step and f"its step {self.step}"]
        if self.word == "PREEMPTED":
            notes.append("in the queue" if self.by == "squeue" else "gone from the queue")
        shown = ", ".join(note for note in notes if note)
        return f"{self.word or '(empty)'}{f' ({shown})' if shown else ''}"


def _words(right: str, *words: str) -> list[Said]:
    return [Said(word, right) for word in words]


def _ends(right: str, *words: str, code: str = "0:0") -> list[Said]:
    return [Said(word, right, by="sacct", code=code) for word in words]


STATES = (
    *_words(WAITS, "PENDING", "CONFIGURING", "POWER_UP_NODE"),
    *_words(WAITS, "REQUEUED", "REQUEUE_FED", "EXPEDITING"),
    *_words(HELD, "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"),
    Said("PENDING", HELD, reason="JobHeldUser"),
    Said("PENDING", HELD, reason="JobHeldAdmin"),
    *_words(RUNS, "RUNNING", "RESIZING", "SIGNALING", "STOPPED", "SUSPENDED"),
    *_words(RUNS, "STAGE_OUT", "UPDATE_DB"),
    *_words(ENDS, "COMPLETING"),
    *_words("sibling", "REVOKED"),
    Said("PREEMPTED", ENDS),  # its requeue may follow
    *_ends(GOOD, "COMPLETED"),
    *_ends("failed: user", "FAILED", code="1:0"),
    *_ends("failed: memory", "OUT_OF_MEMORY", "OUT_OF_ME+", code="0:125"),
    Said("FAILED", "failed: memory", by="sacct", step="OUT_OF_MEMORY", code="0:9"),
    *_ends("failed: time", "TIMEOUT", "DEADLINE"),
    *_ends("failed: machine", "NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL"),
    Said("PREEMPTED", "failed: preempted", by="sacct"),
    *_ends("cancelled", "CANCELLED", "CANCELLED+"),
    *_ends("cancelled: mine", "CANCELLED by 1000"),
    *_ends("cancelled: admin", "CANCELLED by 0"),
    *_ends("cancelled: other", "CANCELLED by 1001"),
    *_words(UNKNOWN, "", "?", "NEW_IN_2030"),
)

# The two letters of ``squeue -o %t``, and what they stand for.
CODES = (
    *_words(WAITS, "PD", "CF", "RQ", "RF"),
    *_words(HELD, "RH", "SE", "RD"),
    *_words(RUNS, "R", "RS", "SI", "ST", "S", "SO"),
    *_words(ENDS, "CG"),
    *_words("sibling", "RV"),
    *_ends(GOOD, "CD"),
    *_ends("failed: user", "F", code="1:0"),
    *_ends("failed: memory", "OOM", code="0:125"),
    *_ends("failed: time", "TO", "DL"),
    *_ends("failed: machine", "NF", "BF"),
    *_ends("failed: preempted", "PR"),
    *_ends("cancelled", "CA"),
)

CUT = None  # the list was cut off: of what is not named nothing is known
Tasks = tuple[str, ...] | None


def _of(job: str, *indices: int) -> Tasks:
    return tuple(f"{job}_{index}" for index in indices)


@dataclass(frozen=True)
class Expression:
    """A job id as printed, and the tasks that it stands for: ``12_7``; ``12`` is no array."""

    text: str
    right: Tasks
    throttle: int | None = None


EXPRESSIONS = (
    Expression("12", ("12",)),
    Expression("12_7", _of("12", 7)),
    Expression("12_[5]", _of("12", 5)),
    Expression("12_[3-7,9%2]", _of("12", 3, 4, 5, 6, 7, 9), 2),
    Expression("12_[1-3,5-8]", _of("12", 1, 2, 3, 5, 6, 7, 8)),
    Expression("12_[0-20:4]", _of("12", *range(0, 21, 4))),
    Expression("12_[0-20:4%3]", _of("12", *range(0, 21, 4)), 3),
    Expression("12_[1-3,10-30:5]", _of("12", 1, 2, 3, 10, 15, 20, 25, 30)),
    Expression("12_[0-2%1]", _of("12", 0, 1, 2), 1),
    Expression("12_007", _of("12", 7)),
    Expression("12_[001-003]", _of("12", 1, 2, 3)),
    Expression("  12_[4,6]  ", _of("12", 4, 6)),
    Expression("12_[1,3,5,...]", CUT),
    Expression("12_[1,3,...%4]", CUT, 4),
    Expression("12_[1-3,5-8:...", CUT),
    Expression("1734_[0-1,4,9,16,25,36,49,64,81", CUT),  # as 22.05 prints it
    Expression("12_[1-3,5+", CUT),  # the column was too narrow
    Expression("12_1+", CUT),
    Expression("12_4294967294", ("12",)),  # the index of what is no array
    Expression("93+0", ("93+0",)),  # a component of a heterogeneous job
    Expression("93_4+1", ("93_4+1",)),
    Expression("12.batch", ()),  # steps are no tasks
    Expression("12.extern", ()),
    Expression("12.0", ()),
    Expression("12_7.0", ()),
    Expression("12+1.batch", ()),
)


def questions() -> dict[str, object]:
    """Return what is put to each, without the answers."""
    fields = ("word", "reason", "by", "step", "code")
    asked = [{key: asdict(said)[key] for key in fields} for said in (*STATES, *CODES)]
    return {"states": asked, "expressions": [one.text for one in EXPRESSIONS]}
