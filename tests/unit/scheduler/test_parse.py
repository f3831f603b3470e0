import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import SchedulerError
from penstock.model.evidence import Poll, Task
from penstock.model.state import Kind, word
from penstock.scheduler import parse
from tests.unit.scheduler import recorded

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
HEAD = (
    "JOBID|ARRAY_JOB_ID|JOBID|STATE|REASON|PARTITION|SUBMIT_TIME|START_TIME|END_TIME|NODELIST|"
    "USER|NAME|.\n"
)
FIELDS = parse.HISTORY_FIELDS
HISTORY_HEAD = "|".join(FIELDS) + "\n"


def queue(*rows: str) -> Poll:
    return parse.queue(HEAD + "".join(f"{row}|.\n" for row in rows), AT)


def make_row(said: str = "12_7", state: str = "RUNNING", reason: str = "None", **kw: str) -> str:
    job = kw.get("array") or said.partition("_")[0].partition("+")[0]
    submit = kw.get("submit", "2026-11-21T09:53:55+0000")
    start = kw.get("start", "2026-11-21T09:53:56+0000")
    end = kw.get("end", "2026-11-21T10:03:56+0000")
    name = kw.get("name", "ps-1.digits")
    return f"{said}|{job}|80|{state}|{reason}|batch|{submit}|{start}|{end}|n1|alice|{name}"


def make_record(job: str = "12_7", state: str = "COMPLETED", **kw: str) -> str:
    values = dict.fromkeys(FIELDS, "") | {
        "JobID": job,
        "JobIDRaw": "80",
        "State": state,
        "User": "alice",
        "Submit": "2026-11-21T09:53:55+0000",
        "Start": "2026-11-21T09:53:56+0000",
        "End": "2026-11-21T09:54:10+0000",
        "ExitCode": "0:0",
        "NodeList": "n1",
        "Partition": "batch",
        "JobName": "ps-1.digits",
    }
    return "|".join((values | kw)[field] for field in FIELDS)


def history(*rows: str) -> Poll:
    return parse.history(HISTORY_HEAD + "".join(f"{row}\n" for row in rows), AT, FIELDS)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-21T{text}+00:00")


# --- values


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("2026-11-21T09:53:55+0000", at("09:53:55")),
        ("2026-11-21T10:53:55+0100", at("09:53:55")),
        ("2026-11-21T04:23:55-0530", at("09:53:55")),
        *[(text, None) for text in ("N/A", "Unknown", "None", "NONE", "", "(null)", " N/A ")],
    ],
)
def test_moment_reads_times(text: str, wanted: datetime | None) -> None:
    assert parse.moment(text) == wanted


def test_moment_without_offset_is_this_machines() -> None:
    local = datetime(2026, 11, 21, 9, 53, 55)  # noqa: DTZ001  that is what it is about
    assert parse.moment("2026-11-21T09:53:55") == local.astimezone(UTC)


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-7))])


@given(st.datetimes(min_value=datetime(1970, 1, 2), timezones=ZONES))  # noqa: DTZ001  it takes none
def test_moment_reads_back_what_slurm_is_told_to_print(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    text = f"{moment:%Y-%m-%dT%H:%M:%S%z}"
    assert parse.moment(text) == moment


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00", "09:53"])
def test_moment_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|month|hour"):
        parse.moment(text)


@pytest.mark.parametrize(
    "text, unit, wanted",
    [
        ("1947276K", "", 1947276 << 10),
        ("4Gn", "", 4 << 30),
        ("4Gc", "", 4 << 30),
        ("4G", "", 4 << 30),
        ("1.50M", "", 1536 << 10),
        ("2T", "", 2 << 40),
        ("0", "", 0),
        ("512", "", 512),
        ("512", "M", 512 << 20),
        ("", "", None),
        ("16?", "", None),
        ("n/a", "", None),
    ],
)
def test_memory_reads_amounts(text: str, unit: str, wanted: int | None) -> None:
    assert parse.memory(text, unit=unit) == wanted


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("1-00:00:00", 86400),
        ("2-03:04:05", 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ("1-12", 86400 + 12 * 3600),
        ("1-12:30", 86400 + 12 * 3600 + 1800),
        ("02:00:00", 7200),
        ("10:00", 600),
        ("00:01.234", 1),
        ("90", 5400),
        ("UNLIMITED", None),
        ("Partition_Limit", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_duration_reads_times(text: str, wanted: int | None) -> None:
    assert parse.duration(text) == wanted


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("0:0", (0, None)),
        ("3:0", (3, None)),
        ("0:9", (0, 9)),
        ("0:53", (0, 53)),
        ("", (None, None)),
        ("x:0", (None, None)),
    ],
)
def test_exit_code_reads_code_and_signal(text: str, wanted: object) -> None:
    assert parse.exit_code(text) == wanted


# --- squeue


def test_queue_reads_a_running_task() -> None:
    assert queue(make_row()).tasks == (
        Task(
            12,
            frozenset({7}),
            "RUNNING",
            "ps-1.digits",
            submit_at=at("09:53:55"),
            start_at=at("09:53:56"),
            node="n1",
            partition="batch",
            job_raw=80,
            user="alice",
        ),
    )


def test_queue_of_nothing_is_a_poll_of_nothing() -> None:
    assert queue() == Poll(AT, (), "squeue")


def test_queue_drops_times_that_are_guesses() -> None:
    pending, ended = queue(make_row("12_[0-3%2]", "PENDING", "Priority"), make_row()).tasks
    assert (pending.start_at, pending.end_at, pending.reason) == (None, None, "Priority")
    assert ended.end_at is None
    (done,) = queue(make_row(state="FAILED", reason="NonZeroExitCode")).tasks
    assert done.end_at == at("10:03:56")


@pytest.mark.parametrize(
    "name", ["a|b", "a\nb", "tok.a|b c", "12|3|4", "|.", "ünï", "", "x|.y", "a\n12_3|12|5|RUNNING"]
)
def test_queue_reads_any_name(name: str) -> None:
    first, second = queue(make_row(name=name), make_row("12_8")).tasks
    assert first.name == name
    assert second.tasks == frozenset({8})


@pytest.mark.parametrize(
    "cut",
    [
        "",
        "JOBID|",
        "Welcome to the cluster\n",
        HEAD + make_row(),
        HEAD + make_row() + "|.",
        HEAD + make_row()[:20] + "|.\n",
        HEAD + make_row() + "|.\n" + make_row()[:30],
        HEAD + "slurm_load_jobs error\n",
        HEAD + make_row(submit="soon") + "|.\n",
        HEAD + make_row("12_7", array="?") + "|.\n",
    ],
)
def test_queue_that_is_not_whole_is_no_answer(cut: str) -> None:
    with pytest.raises(SchedulerError, match="not understood"):
        parse.queue(cut, AT)


def test_a_greeting_before_the_header_is_no_part_of_the_answer() -> None:
    greeting = "*** Maintenance on Friday ***\n\n"
    assert parse.queue(greeting + HEAD + make_row() + "|.\n", AT) == queue(make_row())
    out = greeting + HISTORY_HEAD + make_record() + "\n"
    assert parse.history(out, AT, FIELDS) == history(make_record())


@given(st.integers(0, 400))
def test_queue_cut_anywhere_is_no_answer_or_ends_with_a_row(length: int) -> None:
    rows = [make_row(), make_row("12_8", name="a\nb|c"), make_row("12_9")]
    whole = HEAD + "".join(f"{row}|.\n" for row in rows)
    try:
        poll = parse.queue(whole[:length], AT)
    except SchedulerError:
        return
    assert poll.tasks == queue(*rows).tasks[: len(poll.tasks)]


def test_queue_says_nothing_of_tasks_in_a_list_that_is_cut_off() -> None:
    poll = queue(make_row("12_[1,3,...%4]", "PENDING"), make_row("12_?", array="12"))
    assert [task.tasks for task in poll.tasks] == [None, None]
    assert poll.odd == ("12: indices not understood",)


@pytest.mark.parametrize(
    "words, whole",
    [
        (("COMPLETED", "FAILED", "COMPLETED"), "FAILED"),
        (("CANCELLED", "COMPLETED"), "CANCELLED"),
        (("COMPLETED", "COMPLETED"), "COMPLETED"),
        (("FAILED", "RUNNING"), "RUNNING"),
    ],
)
def test_heterogeneous_job_is_as_well_as_its_worst_component(
    words: tuple[str, ...], whole: str
) -> None:
    rows = [make_row(f"93+{n}", said, array=str(93 + n)) for n, said in enumerate(words)]
    other = make_row("7_1", "COMPLETED")
    assert [(task.job, task.word) for task in queue(*rows, other).tasks] == [
        (93, whole),
        (7, "COMPLETED"),
    ]
    records = [make_record(f"93+{n}", said) for n, said in enumerate(words)]
    assert [(task.job, task.word) for task in history(*records).tasks] == [(93, whole)]


def test_queue_keeps_unknown_words_and_says_so_once() -> None:
    poll = queue(make_row(state="DREAMING"), make_row("12_8", "DREAMING"), make_row("12_9", "?"))
    assert [task.word for task in poll.tasks] == ["DREAMING", "DREAMING", "?"]
    assert [one.split(",")[0] for one in poll.odd] == [
        "Slurm says 'DREAMING' of job 12",
        "Slurm says '?' of job 12",
    ]


def recorded_queues() -> list[str]:
    plain = "%i|%F|%K|%T|%r|%P|%V|%S|%e|%M|%N|%j"
    return [
        name
        for name, row in recorded.index().items()
        if f"-o '{plain}'" in row["command"] and row["exit"] == 0 and " -h " in row["command"]
    ]


def read_recorded_queue(name: str) -> Poll:
    """Read a recording, with its columns brought into our order."""
    rows = []
    for line in recorded.out(name).splitlines():
        said, array, _, state, reason, part, submit, start, end, _, nodes, job = line.split("|", 11)
        fields = [said, array, array, state, reason, part, submit, start, end, nodes, "alice", job]
        rows.append("|".join(fields))
    return queue(*rows)


@pytest.mark.parametrize("name", recorded_queues())
def test_queue_reads_what_slurm_printed(name: str) -> None:
    poll = read_recorded_queue(name)
    lines = recorded.out(name).splitlines()
    assert len(poll.tasks) == sum(not re.match(r"\d+\+[1-9]", line) for line in lines)
    is_cut = name in ("array-pending.squeue-short", "array-pending.squeue-32")
    assert bool(poll.odd) == is_cut
    assert all(task.submit_at is not None for task in poll.tasks)


def test_queue_reads_the_recorded_arrays() -> None:
    tasks = {task.name: task for task in read_recorded_queue("array-pending.squeue").tasks}
    assert tasks["throttled"].tasks == range(6)
    assert tasks["stepped"].tasks == range(0, 41, 4)
    assert tasks["single"].tasks == frozenset({7})
    assert tasks["sliced"].tasks == frozenset({1, 4, 5, 6, 8, 9})
    assert {1, 978} < set(tasks["holed"].tasks or ())
    assert tasks["holed"].tasks == tasks["holed-throttled"].tasks


# --- sacct


def test_history_reads_a_record_with_its_steps() -> None:
    poll = history(
        make_record(ExitCode="0:9", State="FAILED"),
        make_record("12_7.batch", "FAILED", MaxRSS="4236K", JobName="batch", User=""),
        make_record("12_7.0", "FAILED", MaxRSS="4M", JobName="srun", User=""),
        make_record("12_8", "CANCELLED by 1000", Start="None", NodeList="None assigned"),
    )
    first, second = poll.tasks
    assert (first.exit_code, first.exit_signal, first.max_rss_bytes) == (0, 9, 4236 << 10)
    assert first.end_at == at("09:54:10")
    assert (second.word, second.start_at, second.node) == ("CANCELLED by 1000", None, "")
    assert poll.source == "sacct"


def test_history_of_nothing_is_a_poll_of_nothing() -> None:
    assert history() == Poll(AT, (), "sacct")


def test_history_keeps_every_record_of_a_requeued_task() -> None:
    poll = history(
        make_record(state="PREEMPTED"),
        make_record("12_7.batch", "CANCELLED", MaxRSS="1M"),
        make_record(Submit="2026-11-21T09:55:00+0000", End="Unknown", state="RUNNING"),
        make_record("12_7.batch", "RUNNING"),
    )
    assert [task.word for task in poll.tasks] == ["PREEMPTED", "RUNNING"]
    assert [task.max_rss_bytes for task in poll.tasks] == [1 << 20, None]
    assert [task.exit_code for task in poll.tasks] == [0, None]


def test_history_takes_out_of_memory_from_a_step() -> None:
    (task,) = history(
        make_record(state="FAILED", ExitCode="0:125"), make_record("12_7.batch", "OUT_OF_MEMORY")
    ).tasks
    assert task.word == "OUT_OF_MEMORY"


def test_history_leaves_other_words_though_a_step_is_out_of_memory() -> None:
    (task,) = history(make_record(), make_record("12_7.0", "OUT_OF_MEMORY")).tasks
    assert task.word == "COMPLETED"


def test_history_drops_a_step_of_another_job() -> None:
    (task,) = history(make_record(), make_record("12_8.batch", MaxRSS="1M")).tasks
    assert task.max_rss_bytes is None


def test_history_reads_a_waiting_rest() -> None:
    (task,) = history(make_record("79_[0-20%2]", "PENDING", Start="Unknown", End="Unknown")).tasks
    assert task.tasks == range(21)
    assert (task.exit_code, task.start_at) == (None, None)


@pytest.mark.parametrize("name", ["a|b", "a\nb", "a\nb|c\tx", "x\n\ny"])
def test_history_reads_any_name(name: str) -> None:
    first, second = history(make_record(JobName=name), make_record("12_8")).tasks
    assert first.name == name
    assert second.tasks == frozenset({8})


def test_history_without_fields_that_this_sacct_lacks() -> None:
    fields = ("JobID", "State", "Submit", "JobName")
    out = "JobID|State|Submit|JobName\n12_7|COMPLETED|2026-11-21T09:53:55+0000|x\n"
    (task,) = parse.history(out, AT, fields).tasks
    assert (task.job_raw, task.exit_code, task.user) == (None, None, "")


@pytest.mark.parametrize(
    "out",
    [
        "",
        "Slurm accounting storage is disabled\n",
        make_record() + "\n",
        HISTORY_HEAD + make_record(),
        HISTORY_HEAD + "12_7|80|COMPL\n",
        HISTORY_HEAD + "garbage\n",
        HISTORY_HEAD + make_record(Submit="soon") + "\n",
        HISTORY_HEAD + make_record("12_[1-x]") + "\n",
        HISTORY_HEAD[:-5] + "\n",
    ],
)
def test_history_that_is_not_whole_is_no_answer(out: str) -> None:
    with pytest.raises(SchedulerError, match="not understood"):
        parse.history(out, AT, FIELDS)


def recorded_histories() -> list[str]:
    return [
        name
        for name, row in recorded.index().items()
        if row["command"].startswith("sacct -n --parsable2")
        and row["exit"] == 0
        and row["command"].endswith(",JobName")
        and "delimiter" not in row["command"]
    ]


def read_recorded_history(name: str) -> Poll:
    fields = recorded.option(name, "-o").split(",")
    return parse.history("|".join(fields) + "\n" + recorded.out(name), AT, fields)


@pytest.mark.parametrize("name", recorded_histories())
def test_history_reads_what_slurm_printed(name: str) -> None:
    poll = read_recorded_history(name)
    ids = [line.partition("|")[0] for line in recorded.out(name).splitlines()]
    assert len(poll.tasks) == len([said for said in ids if "." not in said])
    assert poll.odd == ()
    ends = [task for task in poll.tasks if word(task.word).kind is Kind.END]
    assert all(task.end_at is not None for task in ends)


def test_recordings_are_there() -> None:
    assert len(recorded_queues()) > 10
    assert len(recorded_histories()) > 10


def test_history_tells_of_requeues_in_the_recording() -> None:
    tasks = read_recorded_history("preempted-ended.sacct-steps").tasks
    mine = [
        task for task in tasks if task.name == "preempted-requeued" and task.tasks == frozenset({0})
    ]
    assert [task.word for task in mine] == ["PREEMPTED", "COMPLETED"]
    assert mine[0].submit_at is not None
    assert mine[1].submit_at is not None
    assert mine[0].submit_at < mine[1].submit_at
    assert replace(mine[1], max_rss_bytes=None) != mine[1]
