"""The model's squeue."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.testing.arguments import Call, Read, Stop, node_list, read, span
from penstock.testing.control import find
from penstock.testing.core import SlurmError
from penstock.testing.indices import cut, parse, spell
from penstock.testing.jobs import CODES, ENDS, PENDING, RUNNING, Job

DEFAULT = "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
VALUED = (
    "A/account j/jobs M/clusters n/name o/format O/Format p/partition q/qos S/sort t/states "
    "u/user w/nodelist i/iterate R/reservation"
)
FLAGS = (
    "a/all r/array h/noheader me l/long start s/steps json v/verbose V/version hide local "
    "federation"
)
HEADS = {
    "i": "JOBID", "F": "ARRAY_JOB_ID", "K": "ARRAY_TASK_ID", "A": "JOBID", "T": "STATE",
    "t": "ST", "r": "REASON", "R": "NODELIST(REASON)", "j": "NAME", "u": "USER", "U": "UID",
    "P": "PARTITION", "V": "SUBMIT_TIME", "S": "START_TIME", "e": "END_TIME", "N": "NODELIST",
    "D": "NODES", "C": "CPUS", "M": "TIME", "l": "TIME_LIMIT", "Q": "PRIORITY", "a": "ACCOUNT",
    "q": "QOS", "k": "COMMENT", "Z": "WORK_DIR", "o": "COMMAND", "B": "EXEC_HOST",
    "m": "MIN_MEMORY", "L": "TIME_LEFT", "y": "NICE", "E": "DEPENDENCY", "b": "TRES_PER_NODE",
}  # fmt: skip
_FIELD = re.compile(r"%(\.?)(\d*)([A-Za-z])")
_FILTERS = {
    "SQUEUE_STATES": "states", "SQUEUE_PARTITION": "partition", "SQUEUE_USERS": "user",
    "SQUEUE_NAMES": "name", "SQUEUE_ACCOUNT": "account", "SQUEUE_FORMAT": "format",
    "SQUEUE_SORT": "sort",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """What one line stands for: a record, or pending records of one array that squeue merges."""

    job: Job
    indices: tuple[int, ...] = ()  # of the merged
    reasons: tuple[str, ...] = ()
    one: int | None = None  # with -r: one task of a pending rest


def squeue(call: Call) -> str:
    """List jobs."""
    asked = read("squeue", call.argv[1:], VALUED, FLAGS)
    if "version" in asked:
        return f"slurm-wlm {call.cluster.site.version}\n"
    outside = {
        name: [call.env[variable]] for variable, name in _FILTERS.items() if variable in call.env
    }
    asked = Read({**outside, **asked.values}, asked.rest)
    is_single = asked.last("jobs").isdigit()
    if "me" in asked or "user" in asked:
        call.rpc("REQUEST_FED_INFO", "REQUEST_JOB_USER_INFO", "REQUEST_PARTITION_INFO")
    elif is_single:
        call.rpc("REQUEST_FED_INFO", "REQUEST_JOB_INFO_SINGLE")
    else:
        call.rpc("REQUEST_JOB_INFO", "REQUEST_PARTITION_INFO")
    lines = _lines(call, [job for job in _jobs(call, asked) if _is_wanted(call, asked, job)], asked)
    lines.sort(key=lambda line: (line.job.partition, line.job.word, -line.job.priority))
    form = asked.last("format", DEFAULT)
    printed = [] if "noheader" in asked else [_format(form, lambda letter: HEADS.get(letter, "?"))]
    printed += [_format(form, _cells(call, line)) for line in lines]
    return "".join(f"{text}\n" for text in printed)


def _jobs(call: Call, asked: Read) -> Iterable[Job]:
    """Return the records that the controller sends."""
    if "jobs" not in asked:
        return _federated(call, asked)
    texts = asked.last("jobs").split(",")
    found: dict[int, Job] = {}
    for text in texts:
        if not text[:1].isdigit():
            raise Stop(1, f"squeue: error: Invalid job id: {text}\n")
        try:
            found |= {job.id: job for job, _ in find(call.cluster, text)}
        except SlurmError as error:
            if len(texts) == 1:
                raise Stop(1, f"slurm_load_jobs error: {error}\n") from error
    return list(found.values())


def _federated(call: Call, asked: Read) -> list[Job]:
    """Return the records of all clusters of a federation, where squeue asks them (seen on 22.05).

    It does for a user's jobs, and where it is told to. Of a job that another cluster has it shows
    what that one says; with --all, that it is REVOKED here.
    """
    mine = dict(call.cluster.jobs)
    is_wide = "local" not in asked and not {"me", "user", "federation"}.isdisjoint(asked.values)
    sibling = call.cluster.beside() if is_wide else None
    if sibling is None:
        return list(mine.values())
    theirs = {
        number: job
        for number, job in sibling.jobs.items()
        if number not in mine or "all" not in asked
    }
    return list((mine | theirs).values())


def _is_wanted(call: Call, asked: Read, job: Job) -> bool:
    def has(name: str, value: str) -> bool:
        return name not in asked or value in asked.last(name).split(",")

    if "me" in asked and job.user != call.user:
        return False
    ok = has("user", job.user) and has("partition", job.partition)
    return ok and has("name", job.name) and has("account", job.account) and _in_states(asked, job)


def _in_states(asked: Read, job: Job) -> bool:
    text = asked.last("states").upper()
    if not text:
        return not job.is_over and job.flag != "REVOKED"
    if text == "ALL":
        return True
    wanted = set()
    for word in text.split(","):
        full = next((name for name, code in CODES.items() if code == word), word)
        if full not in CODES:
            states = ",".join(CODES)
            raise Stop(
                1,
                f"squeue: error: Invalid job state specified: {word}\n"
                f"squeue: error: Valid job states include: {states}\n\n",
            )
        wanted.add(full)
    return job.word in wanted


def _lines(call: Call, jobs: list[Job], asked: Read) -> list[Line]:
    wanted = _wanted_tasks(asked)
    if "array" in asked or "SQUEUE_ARRAY" in call.env:
        return [
            Line(job, one=index)
            for job in jobs
            for index in (job.rest if job.rest is not None else (None,))
        ]
    merged: dict[int, list[Job]] = {}
    lines = []
    for job in jobs:
        if job.array is not None and job.state == PENDING and job.flag != "COMPLETING":
            merged.setdefault(job.array, []).append(job)
        else:
            lines.append(Line(job))
    for array, records in merged.items():
        if any(job.rest is not None for job in records):
            lines += _merge(records, wanted.get(array))
        else:  # seen on 22.05: requeued tasks are put only to a rest that has never run
            lines += [Line(job) for job in records]
    return lines


def _wanted_tasks(asked: Read) -> dict[int, set[int]]:
    """Return the tasks that -j names, by array: of a pending rest it shows only those."""
    wanted: dict[int, set[int]] = {}
    for text in filter(None, asked.last("jobs").split(",")):
        array, mark, index = text.partition("_")
        if mark and array.isdigit():
            wanted.setdefault(int(array), set()).update(parse(index.strip("[]"))[0])
    return wanted


def _merge(records: list[Job], wanted: set[int] | None) -> list[Line]:
    """Put pending records of one array in one line, as squeue does (seen on 22.05).

    All but the tasks and the reasons are the first record's: so a requeued task's Submit is hidden,
    and so is SPECIAL_EXIT.
    """
    records.sort(key=lambda job: (job.rest is None, job.id))
    first = records[0]
    every = sorted({index for job in records for index in job.tasks()})
    if wanted is not None:
        every = [index for index in every if index in wanted]
        if len(every) == 1:
            owner = next(job for job in records if every[0] in job.tasks())
            return [Line(owner, one=every[0])]
    elif len(records) == 1:
        return [Line(first)]
    reasons = tuple(dict.fromkeys(job.reason_name for job in records))
    return [Line(first, tuple(every), reasons)]


def _format(form: str, cell: Callable[[str], str]) -> str:
    def one(match: re.Match[str]) -> str:
        dot, width, letter = match.groups()
        text = cell(letter)
        if not width:
            return text
        text = text[: int(width)]
        return text.rjust(int(width)) if dot else text.ljust(int(width))

    return _FIELD.sub(one, form)


def _cells(call: Call, line: Line) -> Callable[[str], str]:
    def cell(letter: str) -> str:
        if letter not in HEADS:
            return "?"
        return _id_cell(call, line, letter) if letter in "iFKA" else _cell(call, line, letter)

    return cell


def _id_cell(call: Call, line: Line, letter: str) -> str:
    job = line.job
    if letter in "FA":
        return str(job.group if letter == "F" else job.id)
    index = line.one if line.one is not None else job.index
    if job.het:
        return f"{job.het[0]}+{job.het[1]}" if letter == "i" else "N/A"
    if job.array is None:
        return str(job.id) if letter == "i" else "N/A"
    if index is not None and not line.indices:
        return f"{job.array}_{index}" if letter == "i" else str(index)
    text = spell(line.indices) if line.indices else job.rest_text()
    throttle = f"%{job.throttle}" if job.throttle and not line.indices else ""
    if letter == "K":
        return text + throttle
    return cut(f"{job.array}_[", text, throttle + "]", call.env.get("SLURM_BITSTR_LEN"))


def _cell(call: Call, line: Line, letter: str) -> str:
    job = line.job
    if letter in "TtjuUPaqkZoyE":
        return _plain(job, letter)
    if letter in "VSeMlL":
        return _time(call, job, letter)
    nodes = node_list(job.where)
    reason = ",".join(line.reasons) or job.reason
    if letter == "R":
        is_reason = job.word in ("PENDING", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE")
        return f"({reason})" if is_reason or job.flag == "SPECIAL_EXIT" else nodes
    options = job.options
    return {
        "r": reason,
        "N": nodes,
        "B": job.where[0] if job.where else "n/a",
        "D": str(options.nodes),
        "C": str(options.cpus),
        "Q": str(job.priority),
        "m": f"{options.mem_mb or 100 * options.cpus}M",
        "b": f"gres/gpu:{options.gpus}" if options.gpus else "N/A",
    }[letter]


def _plain(job: Job, letter: str) -> str:
    options = job.options
    return {
        "T": job.word,
        "t": CODES.get(job.word, job.word),
        "j": job.name,
        "u": job.user,
        "U": str(job.uid),
        "P": job.partition,
        "a": job.account,
        "q": options.qos or "normal",
        "k": options.comment or "(null)",
        "Z": options.folder,
        "o": options.command or "(null)",
        "y": "0",
        "E": options.dependency or "(null)",
    }[letter]


def _time(call: Call, job: Job, letter: str) -> str:
    now = call.cluster.now
    start = job.start_at
    if start is None and job.begin_at > now:
        start = job.begin_at
    if letter == "V":
        return call.time(job.submit_at)
    if letter == "S":
        return call.time(start)
    if letter == "l":
        return span(job.time_s, short=True)
    if letter == "e":
        is_ended = job.state in ENDS or job.flag == "COMPLETING"
        planned = None if start is None or job.time_s == float("inf") else start + job.time_s
        return call.time(job.end_at if is_ended else planned)
    used = 0.0
    if job.start_at is not None:
        used = max(0.0, (now if job.state == RUNNING else job.end_at or now) - job.start_at)
    return span(used if letter == "M" else max(0.0, job.time_s - used), short=True)
