import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.clock import Clock
from penstock.errors import (
    LimitReached,
    Lost,
    NoRoom,
    Refused,
    SchedulerError,
    SchedulerMissing,
    TransportError,
    Unsure,
)
from penstock.model.spec import Request
from penstock.scheduler import config, parse
from penstock.scheduler.options import options
from penstock.scheduler.protocol import Submission
from penstock.scheduler.slurm import SlurmScheduler
from penstock.testing.transport import in_turn
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Finished
from tests.unit.scheduler import recorded

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
Answer = Finished | TransportError
HEAD = "|".join(["JOBID", *["X"] * 11]) + "|.\n"  # of squeue


class Stopped(Clock):
    """A clock that stands."""

    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return AT.timestamp()

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def ok(out: str = "") -> Finished:
    return Finished(0, out, "")


def missing() -> TransportError:
    error = TransportError("x cannot be run")
    error.__cause__ = FileNotFoundError()
    return error


USUAL: dict[str, Answer] = {
    "sbatch --version": ok("slurm-wlm 22.05.8\n"),
    "scontrol show config": ok(recorded.out("scontrol.config")),
    "scontrol --oneliner show partition": ok(recorded.out("scontrol.partitions")),
    "scontrol show assoc_mgr": ok(recorded.out("scontrol.assoc-bob")),
    "sacct --helpformat": ok(recorded.out("sacct.helpformat")),
    "sacctmgr -n -P show assoc": ok("lab|normal\n"),
    "sacctmgr -n -P show qos": ok("normal|||\nfew||10|\n"),
    "id -un": ok("bob\n"),
    "sacct --parsable2": ok("|".join(parse.HISTORY_FIELDS) + "\n"),
}


class Scripted(LocalTransport):
    """Answer by the first words of a command, and remember what was asked."""

    def __init__(self, answers: dict[str, Answer] | None = None) -> None:
        super().__init__()
        self.answers = {
            **(answers or {}),
            **{k: v for k, v in USUAL.items() if k not in (answers or {})},
        }
        self.calls: list[list[str]] = []

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        self.calls.append(argv)
        line = " ".join(argv)
        answer = next(
            (said for words, said in self.answers.items() if line.startswith(words)), None
        )
        if answer is None:
            raise missing()
        if isinstance(answer, TransportError):
            raise answer
        return answer

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        return in_turn(self, argvs, timeout_s)


def make(answers: dict[str, Answer] | None = None) -> tuple[SlurmScheduler, Scripted]:
    transport = Scripted(answers)
    return SlurmScheduler(transport, clock=Stopped()), transport


def make_submission(request: Request | None = None, size: int = 5, **kw: object) -> Submission:
    values: dict[str, object] = {"throttle": None, "folder": "/home/alice/a", "log": "/dev/null"}
    return Submission("ps-1", "digits", size, request=request or Request(), **{**values, **kw})  # type: ignore[arg-type]


# --- what it is


def test_capabilities_are_asked_once() -> None:
    scheduler, transport = make()
    can = scheduler.capabilities()
    assert (can.name, can.version, can.cluster) == ("slurm", (22, 5, 8), "penstock")
    assert can.has_accounting
    asked = len(transport.calls)
    assert scheduler.capabilities() == can
    assert len(transport.calls) == asked


def test_accounting_is_as_late_as_its_site_says() -> None:
    assert make()[0].capabilities().accounting_lag_s == 60
    slow = SlurmScheduler(Scripted(), clock=Stopped(), accounting_lag_s=600)
    assert slow.capabilities().accounting_lag_s == 600


def test_no_accounting_where_it_is_switched_off() -> None:
    config = recorded.out("scontrol.config").replace(
        "accounting_storage/slurmdbd", "accounting_storage/none"
    )
    scheduler, _ = make({"scontrol show config": ok(config)})
    assert not scheduler.capabilities().has_accounting
    with pytest.raises(SchedulerError, match="no accounting"):
        scheduler.history([1], since=AT)


def test_no_accounting_where_sacct_is_missing() -> None:
    scheduler, _ = make({"sacct --helpformat": missing()})
    assert not scheduler.capabilities().has_accounting


def test_silent_accounting_stops_nothing_and_is_asked_again() -> None:
    """Slurm goes on without slurmdbd for days, and sacct says nothing then, not even its help."""
    scheduler, transport = make({"sacct --helpformat": Finished(1, "", "Connection refused")})
    can = scheduler.capabilities()
    assert can.has_accounting
    with pytest.raises(SchedulerError, match="Connection refused"):
        scheduler.history([1], since=AT)
    transport.answers["sacct --helpformat"] = USUAL["sacct --helpformat"]
    scheduler.history([1], since=AT)


def test_accounting_that_turns_out_to_be_missing_is_not_waited_for() -> None:
    """Found by simulation: the first call was spoilt, and the second told that there is none."""
    scheduler, transport = make({"sacct --helpformat": Finished(1, "", "Connection refused")})
    assert scheduler.capabilities().has_accounting
    transport.answers["sacct --helpformat"] = missing()
    with pytest.raises(SchedulerError, match="no accounting"):
        scheduler.history([1], since=AT)
    assert not scheduler.capabilities().has_accounting


def test_accounting_that_is_switched_off_under_a_living_process_is_noticed() -> None:
    off = Finished(1, "", "Slurm accounting storage is disabled\n")
    scheduler, transport = make()
    assert scheduler.capabilities().has_accounting
    transport.answers["sacct --parsable2"] = off
    with pytest.raises(SchedulerError, match="disabled"):
        scheduler.history([1], since=AT)
    assert not scheduler.capabilities().has_accounting
    late, _ = make({"sacct --helpformat": off})  # with a configuration of before
    assert not late.capabilities().has_accounting


def test_capabilities_without_a_controller_are_no_answer() -> None:
    scheduler, _ = make({"scontrol show config": Finished(1, "", "connect failure\n")})
    with pytest.raises(SchedulerError, match="exit code 1"):
        scheduler.capabilities()


AWAY = Finished(
    1, "", "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)"
)


class Moving(Stopped):
    """A clock that is moved by hand."""

    at = AT

    def now(self) -> datetime:
        return self.at


def test_configuration_of_the_last_time_serves_while_the_controller_is_away(tmp_path: Path) -> None:
    clock = Moving()

    def scheduler(answers: dict[str, Answer]) -> tuple[SlurmScheduler, Scripted]:
        transport = Scripted(answers)
        return SlurmScheduler(transport, clock=clock, memory=tmp_path, way="here"), transport

    with pytest.raises(SchedulerError, match="Unable to contact"):
        scheduler({"scontrol show config": AWAY})[0].capabilities()
    can = scheduler({})[0].capabilities()
    later, transport = scheduler({"scontrol show config": AWAY})
    assert later.capabilities() == can
    asked = len(transport.calls)
    for ask in (later.limits, later.observe, lambda: later.cancel([(1, None)])):
        with pytest.raises(SchedulerError, match="Unable to contact"):
            ask()
    for tell in (later.check, later.submit):
        with pytest.raises(LimitReached, match="Unable to contact"):
            tell(make_submission())
    assert len(transport.calls) == asked  # each of Slurm's programs would have waited anew
    clock.at += timedelta(seconds=11)
    with pytest.raises(SchedulerError, match="Unable to contact"):
        later.limits()
    assert len(transport.calls) == asked + 1
    clock.at += timedelta(seconds=11)
    changed = recorded.out("scontrol.config").replace("= 1001", "= 7")
    transport.answers["scontrol show config"] = ok(changed)
    assert later.limits().max_array_size == 7


def test_configuration_of_another_cluster_is_not_taken_for_this_one(tmp_path: Path) -> None:
    SlurmScheduler(Scripted(), clock=Stopped(), memory=tmp_path, way="here").capabilities()
    away: dict[str, Answer] = {"scontrol show config": Finished(1, "", "connect failure\n")}
    for way in ("there", ""):
        other = SlurmScheduler(Scripted(away), clock=Stopped(), memory=tmp_path, way=way)
        with pytest.raises(SchedulerError, match="connect failure"):
            other.capabilities()


def test_far_away_another_process_does_not_ask_again_what_seldom_changes(tmp_path: Path) -> None:
    """There each question is a command, and a command like `watch` is a new process."""
    clock = Moving()

    def scheduler(**answers: Answer) -> tuple[SlurmScheduler, Scripted]:
        transport = Scripted({name.replace("_", " "): one for name, one in answers.items()})
        return SlurmScheduler(transport, clock=clock, memory=tmp_path), transport

    cut = scheduler(sacct=ok("JobID\n"))[0]
    assert cut.capabilities().has_accounting
    first, transport = scheduler()
    can = first.capabilities()
    assert transport.calls == [["sacct", "--helpformat"]], "what was cut was not remembered"
    later, transport = scheduler()
    assert later.capabilities() == can
    assert transport.calls == []
    told, transport = scheduler(
        scontrol_show_config=ok(recorded.out("scontrol.config").replace("= 1001", "= 7"))
    )
    assert told.limits().max_array_size == 7, "what is sent keeps to the limits of today"
    assert scheduler()[0].limits().max_array_size == 1001


def test_far_away_what_is_an_hour_old_is_asked_with_the_queue(tmp_path: Path) -> None:
    """It takes no command of its own, and serves meanwhile; what is a day old does not."""
    clock = Moving()
    new = recorded.out("scontrol.config").replace("= 5 sec", "= 77 sec")

    def scheduler(config: str = "") -> tuple[SlurmScheduler, Scripted]:
        answers = {"scontrol show config": ok(config)} if config else {}
        transport = Scripted({"squeue": ok(HEAD), **answers})
        return SlurmScheduler(transport, clock=clock, memory=tmp_path), transport

    can = scheduler()[0].capabilities()
    clock.at += timedelta(hours=1, seconds=1)
    late, transport = scheduler(new)
    assert late.capabilities() == can
    assert transport.calls == []
    late.observe()
    assert [argv[0] for argv in transport.calls] == ["squeue", "sbatch", "scontrol", "sacct"]
    late.observe()
    assert [argv[0] for argv in transport.calls[4:]] == ["squeue"]
    later, transport = scheduler()
    assert later.capabilities().min_job_age_s == 77
    later.observe()
    assert [argv[0] for argv in transport.calls] == ["squeue"], "all was renewed"
    clock.at += timedelta(days=1, seconds=1)
    last, transport = scheduler()
    assert last.capabilities() == can
    assert len(transport.calls) == 3


def test_far_away_a_lost_connection_is_no_answer_of_the_queue(tmp_path: Path) -> None:
    clock = Moving()
    SlurmScheduler(Scripted(), clock=clock, memory=tmp_path).capabilities()
    clock.at += timedelta(hours=2)
    transport = Cut()
    late = SlurmScheduler(transport, clock=clock, memory=tmp_path)
    late.capabilities()
    with pytest.raises(SchedulerError, match="the cable"):
        late.observe()


class Cut(Scripted):
    """Nothing can be asked any more."""

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        raise Lost("the cable is cut")


def test_way_to_slurm_is_another_with_another_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_CONF", "/here/slurm.conf")
    here = config.way()
    monkeypatch.setenv("SLURM_CONF", "/elsewhere/slurm.conf")
    assert config.way() != here


def test_limits_are_read() -> None:
    scheduler, transport = make()
    limits = scheduler.limits()
    assert limits.max_array_size == 1001
    assert limits.max_array_tasks is None
    assert limits.default_partition == "batch"
    assert limits.time_s is not None
    assert limits.time_s["urgent"] == 7200
    assert limits.room is not None
    assert limits.room <= 20
    assert ["scontrol", "show", "assoc_mgr", "users=bob", "flags=assoc,qos"] in transport.calls


def test_limits_take_max_array_tasks() -> None:
    config = recorded.out("scontrol.config").replace("batch_sched_delay=0", "max_array_tasks=500")
    scheduler, _ = make({"scontrol show config": ok(config)})
    assert scheduler.limits().max_array_tasks == 500


TOO_MUCH = Finished(1, recorded.out("sbatch.over-qos-limit"), recorded.err("sbatch.over-qos-limit"))


@pytest.mark.parametrize("command", ["scontrol show assoc_mgr", "sacctmgr", "id -un"])
def test_limits_do_without_what_a_site_hides(command: str) -> None:
    hidden = {command: Finished(1, "", "Access/permission denied\n")}
    scheduler, _ = make({"sbatch --parsable": TOO_MUCH, **hidden})
    with pytest.raises(NoRoom):
        scheduler.submit(make_submission())
    assert scheduler.limits().room is None


def test_limits_of_a_qos_are_asked_for_once_one_was_met(tmp_path: Path) -> None:
    qos = ok("normal||7|\nfew||10|\n")
    transport = Scripted({"sbatch --parsable": TOO_MUCH, "sacctmgr -n -P show qos": qos})

    def scheduler() -> SlurmScheduler:
        return SlurmScheduler(transport, clock=Stopped(), memory=tmp_path)

    first = scheduler()
    assert first.limits().room == 20 - 4
    assert not any(argv[0] == "sacctmgr" for argv in transport.calls)
    with pytest.raises(NoRoom):
        first.submit(make_submission())
    assert first.limits().room == 7
    asked = len(transport.calls)
    assert scheduler().limits().room == 7  # another process remembers
    assert not any(argv[0] == "sacctmgr" for argv in transport.calls[asked:])


def test_limits_do_not_ask_where_none_are_enforced() -> None:
    config = recorded.out("scontrol.config").replace("associations,limits,qos", "none")
    scheduler, transport = make({"scontrol show config": ok(config)})
    assert scheduler.limits().room is None
    assert not any("assoc_mgr" in argv for argv in transport.calls)


# --- options


def test_options_say_all_of_a_request() -> None:
    request = Request(
        cpus=4, gpus=2, mem_mb=500, time_s=90, partition="p", account="a", qos="q",
        options=("--constraint=x", "--nice"),
    )  # fmt: skip
    said = options(make_submission(request, size=8, throttle=3))
    assert said == [
        "--job-name=ps-1.digits", "--array=0-7%3", "--cpus-per-task=4", "--gres=gpu:2",
        "--mem=500M", "--time=00:01:30", "--partition=p", "--account=a", "--qos=q",
        "--constraint=x", "--nice",
    ]  # fmt: skip


def test_options_leave_out_what_is_not_asked_for() -> None:
    said = options(make_submission(size=1))
    assert said == ["--job-name=ps-1.digits", "--array=0-0", "--cpus-per-task=1"]


# --- submit, check


def test_submit_names_the_script_and_returns_the_id() -> None:
    scheduler, transport = make({"sbatch --parsable": ok("77\n")})
    assert scheduler.submit(make_submission()) == 77
    assert transport.calls == [["sbatch", "--parsable", "/home/alice/a/script.sh"]]


def test_submit_that_timed_out_is_unsure() -> None:
    late = TransportError("sbatch did not end")
    late.__cause__ = TimeoutError()
    scheduler, _ = make({"sbatch --parsable": late})
    with pytest.raises(Unsure):
        scheduler.submit(make_submission())


def test_submit_without_sbatch_is_sure() -> None:
    scheduler, _ = make()
    with pytest.raises(SchedulerMissing, match="sbatch"):
        scheduler.submit(make_submission())


def test_submit_refused_says_so() -> None:
    answer = Finished(1, "", recorded.err("sbatch.bad-partition"))
    scheduler, _ = make({"sbatch --parsable": answer})
    with pytest.raises(Refused, match="nowhere"):
        scheduler.submit(make_submission())


@pytest.mark.parametrize(
    "err, wanted",
    [
        ("allocation failure: Invalid qos specification\n", Refused),
        ("sbatch: error: AssocMaxSubmitJobLimit\nallocation failure: Job …\n", LimitReached),
    ],
)
def test_check_raises_what_sbatch_would_say(err: str, wanted: type[Exception]) -> None:
    scheduler, _ = make({"sbatch --test-only": Finished(1, "", err)})
    with pytest.raises(wanted):
        scheduler.check(make_submission())


def test_check_passes_where_slurm_says_when_it_would_start() -> None:
    scheduler, transport = make({"sbatch --test-only": Finished(0, "", "sbatch: Job 3 to start")})
    scheduler.check(make_submission())
    assert transport.calls[0][:2] == ["sbatch", "--test-only"]


# --- observe, history, find


def test_observe_asks_once_for_all() -> None:
    scheduler, transport = make({"squeue": ok(HEAD)})
    assert scheduler.observe().at == AT
    (argv,) = transport.calls
    assert argv[:4] == ["squeue", "--me", "--all", "--states=all"]


@pytest.mark.parametrize(
    "name", ["squeue.slurmctld-down", "squeue.munge-down", "squeue.no-configuration"]
)
def test_observe_that_failed_is_no_answer(name: str) -> None:
    scheduler, _ = make({"squeue": Finished(1, recorded.out(name), recorded.err(name))})
    with pytest.raises(SchedulerError, match="exit code 1"):
        scheduler.observe()


def test_observe_of_nothing_at_all_is_no_answer() -> None:
    scheduler, _ = make({"squeue": ok("")})
    with pytest.raises(SchedulerError):
        scheduler.observe()


def test_history_is_one_question_about_an_age() -> None:
    scheduler, transport = make()
    scheduler.history([9, 7, 9], since=AT - timedelta(hours=1))
    (argv,) = [argv for argv in transport.calls if "--parsable2" in argv]
    assert "--jobs=7,9" in argv
    assert "--starttime=now-3601seconds" in argv
    assert "--duplicates" in argv
    assert "--allocations" not in argv


def test_history_of_a_time_to_come_asks_for_now() -> None:
    scheduler, transport = make()
    scheduler.history([1], since=AT + timedelta(hours=1))
    assert "--starttime=now-1seconds" in transport.calls[-1]


def test_history_of_no_job_asks_nobody() -> None:
    scheduler, transport = make()
    assert scheduler.history([], since=AT).tasks == ()
    assert transport.calls == []


def test_history_asks_only_for_fields_that_sacct_has() -> None:
    scheduler, transport = make(
        {
            "sacct --helpformat": ok("JobID State Submit JobName End ExitCode\n"),
            "sacct --parsable2": ok("JobID|State|Submit|End|ExitCode|JobName\n"),
        }
    )
    scheduler.history([1], since=AT)
    assert "--format=JobID,State,Submit,End,ExitCode,JobName" in transport.calls[-1]


@pytest.mark.parametrize("name", ["sacct.slurmdbd-down", "sacct.mariadb-down", "sacct.disabled"])
def test_history_that_failed_is_no_answer(name: str) -> None:
    answer = Finished(1, recorded.out(name), recorded.err(name))
    scheduler, _ = make({"sacct --parsable2": answer})
    with pytest.raises(SchedulerError):
        scheduler.history([1], since=AT)


def test_find_asks_both_ways_and_takes_the_token_alone() -> None:
    names = ["ps-1.digits", "ps-2.digits", "PS-1.x", "ps-1", "ps-10.digits"]
    rows = [
        f"{n}|{n}|COMPLETED||u|2026-11-21T09:00:00+0000|||0:0||||{name}"
        for n, name in enumerate(names)
    ]
    out = "\n".join(["|".join(parse.HISTORY_FIELDS), *rows]) + "\n"
    scheduler, transport = make({"sacct --parsable2": ok(out)})
    poll = scheduler.find("ps-1", since=AT)
    assert [task.job for task in poll.tasks] == [0, 3]
    asked = [argv for argv in transport.calls if "--parsable2" in argv]
    assert [any(word.startswith("--state=") for word in argv) for argv in asked] == [False, True]


# --- cancel


def cancelled(targets: list[tuple[int, int | None]], answer: Finished | None = None) -> list[str]:
    scheduler, transport = make({"scancel": answer or ok()})
    scheduler.cancel(targets)
    assert len(transport.calls) <= 1
    return transport.calls[0][1:] if transport.calls else []


def test_cancel_is_one_call_for_slices_and_whole_jobs() -> None:
    targets: list[tuple[int, int | None]] = [(5, None), (7, 3), (7, 1), (7, 2), (7, 9), (5, 1)]
    assert cancelled(targets) == ["5", "7_[1-3,9]"]


def test_cancel_of_nothing_asks_nobody() -> None:
    assert cancelled([]) == []


def test_cancel_of_many_stays_below_the_length_of_an_argument() -> None:
    scheduler, transport = make({"scancel": ok()})
    scheduler.cancel([(1, index) for index in range(0, 60_000, 2)])
    words = [word for argv in transport.calls for word in argv]
    assert max(map(len, words)) < 128 << 10
    assert sum(word.startswith("1_[") for word in words) == 30


@pytest.mark.parametrize(
    "err",
    [
        "scancel: error: Kill job error on job id 1: Invalid job id specified\n",
        "scancel: error: Kill job error on job id 1: Job/step already completing or completed\n",
        "scancel: error: Kill job error on job id 1: Job has already finished\n",
    ],
)
def test_cancel_of_what_is_gone_is_no_error(err: str) -> None:
    assert cancelled([(1, None)], Finished(1, "", err)) == ["1"]


@pytest.mark.parametrize("name", ["not-mine", "slurmctld-down", "munge-down"])
def test_cancel_that_failed_says_so(name: str) -> None:
    row = recorded.index()[f"scancel.{name}"]
    with pytest.raises(SchedulerError, match="scancel failed"):
        cancelled([(1, None)], Finished(int(row["exit"]), "", recorded.err(f"scancel.{name}")))


def test_cancel_that_failed_without_a_word_says_so() -> None:
    with pytest.raises(SchedulerError, match="exit code 3"):
        cancelled([(1, None)], Finished(3, "", ""))


VERBS: list[tuple[str, Callable[[SlurmScheduler], object]]] = [
    ("sbatch --version", lambda scheduler: scheduler.capabilities()),
    ("scontrol --oneliner", lambda scheduler: scheduler.limits()),
    ("sbatch --test-only", lambda scheduler: scheduler.check(make_submission())),
    ("squeue", lambda scheduler: scheduler.observe()),
    ("sacct --parsable2", lambda scheduler: scheduler.history([1], since=AT)),
    ("sacct --parsable2", lambda scheduler: scheduler.find("ps-1", since=AT)),
    ("scancel", lambda scheduler: scheduler.cancel([(1, None)])),
]


@pytest.mark.parametrize("command, verb", VERBS, ids=lambda value: str(value)[:20])
def test_a_command_that_cannot_be_run_is_no_answer(
    command: str, verb: Callable[[SlurmScheduler], object]
) -> None:
    scheduler, _ = make({command: TransportError("broken")})
    with pytest.raises(SchedulerError, match="broken"):
        verb(scheduler)
    scheduler, _ = make({command: missing()})
    with pytest.raises(SchedulerMissing, match=shlex.split(command)[0]):
        verb(scheduler)
    scheduler, _ = make({command: Finished(127, "", "runuser: no such program\n")})
    with pytest.raises(SchedulerMissing):
        verb(scheduler)
