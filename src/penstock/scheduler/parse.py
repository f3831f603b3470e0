"""Read what squeue and sacct print: rows to tasks, whole or not at all.

Both are asked for a header, so that an answer without one (a wrapper that failed) is no answer;
what stands before it is a site's greeting. The job's name is the last field: it may hold any
character, a newline too, so a row of squeue ends with a mark, and one of sacct where the next
begins.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from penstock.errors import SchedulerError
from penstock.model.evidence import Poll, Task
from penstock.model.state import Kind, State, word
from penstock.scheduler import expression

# id, array's id, own id, state, reason, partition, submit, start, end, nodes, user, name
QUEUE_FORMAT = "%i|%F|%A|%T|%r|%P|%V|%S|%e|%N|%u|%j|."
QUEUE_END = "|.\n"
QUEUE_FIELDS = 12
# Of sacct; those that an older or newer one lacks are left out (`sacct --helpformat` says).
HISTORY_FIELDS = (
    "JobID", "JobIDRaw", "State", "Reason", "User", "Submit", "Start", "End", "ExitCode", "MaxRSS",
    "NodeList", "Partition", "JobName",
)  # fmt: skip
NEEDED_FIELDS = frozenset({"JobID", "JobName", "State", "Submit", "End", "ExitCode"})

NO_TIME = frozenset({"", "N/A", "NA", "Unknown", "None", "NONE", "(null)"})
NO_NODE = frozenset({"", "None assigned", "(null)"})
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)[nc]?")
DURATION = re.compile(r"(?:(\d+)-)?(\d+(?::\d+){0,2})(?:\.\d+)?")
Part = tuple[Task, bool]  # is it a component of a heterogeneous job?
HISTORY_ROW = re.compile(r"\d+(?:[_+.]|\|)")


def moment(text: str) -> datetime | None:
    """Return the time of ``2026-01-31T12:00:00+0100``; without offset it is this machine's."""
    text = text.strip()
    if text in NO_TIME:
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


def memory(text: str, *, unit: str = "") -> int | None:
    """Return the bytes of ``1947276K``, ``4Gn``; ``unit`` is meant where none is written."""
    match = MEMORY.fullmatch(text.strip())
    if match is None:
        return None
    return int(float(match[1]) * UNITS[match[2] or unit])


def duration(text: str) -> int | None:
    """Return the seconds of ``1-00:00:00``, ``MM:SS``, ``MM:SS.mmm``; None for ``UNLIMITED``."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        return None
    parts = [int(part) for part in match[2].split(":")]
    if match[1] is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:  # MM, MM:SS, HH:MM:SS
        hours, minutes, seconds = parts if len(parts) == 3 else [0, *parts, 0][:3]
    return (int(match[1] or 0) * 24 + hours) * 3600 + minutes * 60 + seconds


def exit_code(text: str) -> tuple[int | None, int | None]:
    """Return code and signal of ``code:signal``; signal 0 is none."""
    code, _, number = text.partition(":")
    if not code.isdecimal():
        return None, None
    return int(code), (int(number) or None) if number.isdecimal() else None


def queue(out: str, at: datetime) -> Poll:
    """Return squeue's answer. Raises SchedulerError where it is not whole."""
    _, header, body = f"\n{out}".partition("\nJOBID|")
    rows = body.split(QUEUE_END)
    if not header or len(rows) < 2 or rows[-1] != "":
        raise _garbled("squeue", out, "no header or no end")
    tasks = _whole([_queued(row) for row in rows[1:-1]])
    return Poll(at, tuple(tasks), "squeue", _odd(tasks))


def _queued(row: str) -> Part:
    fields = row.split("|", QUEUE_FIELDS - 1)
    if len(fields) != QUEUE_FIELDS:
        raise _garbled("squeue", row, f"not {QUEUE_FIELDS} fields")
    said, array, own, state, reason, partition, submit, start, end, nodes, user, name = fields
    kind = word(state).kind
    is_waiting = kind in (Kind.WAITING, Kind.HELD)  # its times are guesses then
    try:
        tasks, leader = _tasks(said)
        task = Task(
            job=int(array) if leader is None else leader,
            tasks=tasks,
            word=state,
            name=name,
            reason="" if reason == "None" else reason,
            submit_at=moment(submit),
            start_at=None if is_waiting else moment(start),
            end_at=moment(end) if kind is Kind.END else None,
            node=nodes,
            partition=partition,
            job_raw=int(own),
            user=user,
        )
    except ValueError as error:
        raise _garbled("squeue", row, str(error)) from error
    return task, leader is not None


def _tasks(said: str) -> tuple[expression.Tasks, int | None]:
    """Return the indices, and the leader's id for a component of a heterogeneous job.

    An id of a form that is not known here says nothing of any index.
    """
    try:
        told = expression.parse(said)
    except ValueError:
        return None, None
    return told.tasks, None if told.component is None else told.job


def _whole(parts: Iterable[Part]) -> list[Task]:
    """Return the tasks; of a heterogeneous job's components the worst, while they last one alive.

    Its leader may have succeeded where another failed: the id that was submitted stands for all.
    """
    found: dict[object, Task] = {}
    for number, (task, is_component) in enumerate(parts):
        if not is_component:
            found[number] = task
            continue
        key = task.job, task.tasks, task.submit_at
        found[key] = max(found.get(key, task), task, key=_badness)
    return list(found.values())


def _badness(task: Task) -> int:
    meaning = word(task.word)
    if meaning.kind is not Kind.END:
        return 3
    return {State.FAILED: 2, State.CANCELLED: 1}.get(meaning.state, 0)


def _odd(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return what a user should be warned of, once for each."""
    strange = {task.word: task.job for task in tasks if word(task.word).kind is Kind.UNKNOWN}
    words = [
        f"Slurm says {one!r} of job {job}, which Penstock does not know: its runs stay as they are"
        for one, job in strange.items()
    ]
    cut = [f"{task.job}: indices not understood" for task in tasks if task.tasks is None]
    return tuple(dict.fromkeys([*words, *cut]))


def history(out: str, at: datetime, fields: Sequence[str]) -> Poll:
    """Return sacct's answer: every record of ``-D``, in its order, each with what its steps say.

    ``fields`` are those asked for; JobName is the last. Raises SchedulerError.
    """
    _, header, body = f"\n{out}".partition(f"\n{'|'.join(fields)}\n")
    if not header or not out.endswith("\n"):
        raise _garbled("sacct", out, "no header or no end")
    parts: list[Part] = []
    owners: list[expression.Expression] = []
    for row in _rows(body):
        values = dict(zip(fields, row.split("|", len(fields) - 1), strict=False))
        if len(values) != len(fields):
            raise _garbled("sacct", row, f"not {len(fields)} fields")
        try:
            said = expression.parse(values["JobID"])
            if said.step:
                if owners and owners[-1] == replace(said, step=""):
                    parts[-1] = _with_step(parts[-1][0], values), parts[-1][1]
            else:
                parts.append((_recorded(said, values), said.component is not None))
                owners.append(said)
        except ValueError as error:
            raise _garbled("sacct", row, str(error)) from error
    tasks = _whole(parts)
    return Poll(at, tuple(tasks), "sacct", _odd(tasks))


def _rows(body: str) -> Iterator[str]:
    """Yield rows; a line that does not begin as one is more of the name before it."""
    row = ""
    for line in body.split("\n")[:-1]:
        if HISTORY_ROW.match(line):
            if row:
                yield row
            row = line
        elif row:
            row += "\n" + line
        else:
            raise _garbled("sacct", line, "no job id")
    if row:
        yield row


def _recorded(said: expression.Expression, values: dict[str, str]) -> Task:
    code, number = exit_code(values.get("ExitCode", ""))
    state, reason = values["State"], values.get("Reason", "")
    is_end = word(state).kind is Kind.END
    raw = values.get("JobIDRaw", "")
    return Task(
        job=said.job,
        tasks=said.tasks,
        word=state,
        name=values["JobName"],
        reason="" if reason == "None" else reason,
        submit_at=moment(values["Submit"]),
        start_at=moment(values.get("Start", "")),
        end_at=moment(values.get("End", "")),
        node="" if values.get("NodeList", "") in NO_NODE else values["NodeList"],
        partition=values.get("Partition", ""),
        exit_code=code if is_end else None,
        exit_signal=number if is_end else None,
        job_raw=int(raw) if raw.isdecimal() else None,
        user=values.get("User", ""),
    )


def _with_step(task: Task, values: dict[str, str]) -> Task:
    """Give a record the memory of its step, and the word that only a step has.

    A job may be FAILED where its batch step is OUT_OF_MEMORY.
    """
    peak = memory(values.get("MaxRSS", ""))
    if peak is not None:
        task = replace(task, max_rss_bytes=max(peak, task.max_rss_bytes or 0))
    if values["State"].startswith("OUT_OF_ME") and task.word == "FAILED":
        task = replace(task, word="OUT_OF_MEMORY")
    return task


def _garbled(program: str, text: str, why: str) -> SchedulerError:
    shown = text if len(text) < 200 else text[:200] + "…"
    return SchedulerError(
        f"{program} answered what is not understood ({why}): {shown!r}",
        hint=f"run {program} by hand; a wrapper or a site's setting may change what it prints",
    )


def version(out: str) -> tuple[int, ...]:
    """Read what ``sbatch --version`` printed; empty, where it names none."""
    return tuple(int(number) for number in re.findall(r"\d+", out)[:3])


def fields(out: str) -> frozenset[str]:
    """Read what ``sacct --helpformat`` printed. Raises SchedulerError where it is cut."""
    found = frozenset(out.split())
    if missing := NEEDED_FIELDS - found:  # an empty or cut answer is none
        raise SchedulerError(
            f"sacct --helpformat names no {', '.join(sorted(missing))}", hint="run it by hand"
        )
    return found
