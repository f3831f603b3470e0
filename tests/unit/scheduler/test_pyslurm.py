"""pyslurm as its published API has it (25.11): a small module of that shape stands for it here."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.errors import LimitReached, NoRoom, SchedulerError, SettingsError, Unsure
from penstock.model.evidence import Task
from penstock.model.spec import Request
from penstock.scheduler import choose, pyslurm, script
from penstock.scheduler.protocol import Submission
from penstock.scheduler.pyslurm import PyslurmScheduler
from penstock.scheduler.slurm import SlurmScheduler
from penstock.settings import Settings
from penstock.testing.model import Cluster
from penstock.testing.transport import ModelTransport
from penstock.transport.protocol import Finished
from tests.unit.scheduler.test_slurm import Answer, Scripted, Stopped, ok

MODULE = """
class RPCError(Exception):
    pass

class JobSubmitDescription:
    said = []
    answer = 77
    def __init__(self, **values):
        self.said.append(values)
    def submit(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

class Jobs(dict):
    answer = []
    @staticmethod
    def load():
        if isinstance(Jobs.answer, Exception):
            raise Jobs.answer
        return {job.id: job for job in Jobs.answer}
"""
QUEUE = "JOBID|ARRAY_JOB_ID|JOBID|STATE|REASON|PARTITION|SUBMIT|START|END|NODES|USER|NAME|.\n"
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
Make = Callable[..., tuple[PyslurmScheduler, Scripted, Any]]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a module of that name, version 25.11.2."""
    folder = tmp_path / "site"
    (folder / "pyslurm-25.11.2.dist-info").mkdir(parents=True)
    about = "Metadata-Version: 2.1\nName: pyslurm\nVersion: 25.11.2\n"
    (folder / "pyslurm-25.11.2.dist-info" / "METADATA").write_text(about)
    (folder / "pyslurm.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "pyslurm", raising=False)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def make(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a scheduler, what its commands were asked, and the module that stands for pyslurm."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_BITSTR_LEN", "64")  # it is set anew, and afterwards as it was

    def made(answers: dict[str, Answer] | None = None) -> tuple[PyslurmScheduler, Scripted, Any]:
        usual: dict[str, Answer] = {"sbatch --parsable": ok("88\n"), "squeue": ok(QUEUE)}
        transport = Scripted(usual | (answers or {}))
        scheduler = PyslurmScheduler(transport, clock=Stopped())
        return scheduler, transport, scheduler._library

    return made


def written(tmp_path: Path, *, extra: str = "", **request: Any) -> Submission:
    """Return a submission whose script is as Penstock writes it."""
    asked = Request(**request)
    made = Submission("ps-1", "digits", 5, 2, asked, str(tmp_path), f"{tmp_path}/slurm.log")
    text = script.render(made, python="python3", runner="/r.zip", templates=())
    Path(tmp_path, "script.sh").write_text(text.replace("#!/bin/bash\n", f"#!/bin/bash\n{extra}"))
    return made


def has_asked(transport: Scripted, program: str, *options: str) -> bool:
    return any(call[0] == program and set(options) <= set(call) for call in transport.calls)


# --- chosen


def versioned(said: str) -> Scripted:
    return Scripted({"sbatch --version": ok(said)})


def test_auto_takes_pyslurm_where_it_fits(installed: Path, tmp_path: Path) -> None:
    settings, transport = Settings(root=tmp_path), versioned("slurm 25.11.7\n")
    assert isinstance(choose.choose(settings, transport), PyslurmScheduler)
    why = "sbatch is on PATH, and pyslurm is of the version that sbatch has"
    assert choose.why(settings, transport) == ("pyslurm", why)


@pytest.mark.parametrize(
    "said", ["slurm 25.05.1\n", "slurm 26.05.0\n", "slurm-wlm 22.05.8\n", "2511\n", ""]
)
def test_auto_takes_the_commands_of_another_version(
    installed: Path, tmp_path: Path, said: str
) -> None:
    settings = Settings(root=tmp_path)
    assert type(choose.choose(settings, versioned(said))) is SlurmScheduler
    why = choose.why(settings, versioned(said))[1]
    assert why.startswith("sbatch is on PATH, and pyslurm 25.11.2 is not of the version")


def test_pyslurm_reaches_no_other_machine(installed: Path, tmp_path: Path) -> None:
    far = ModelTransport(Cluster())
    why = choose.why(Settings(root=tmp_path), far)
    assert why == ("slurm", "sbatch is on PATH, and pyslurm reaches no cluster by SSH")


def test_pyslurm_that_is_set_and_not_here_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "pyslurm", raising=False)
    settings = Settings(root=tmp_path, scheduler="pyslurm")
    with pytest.raises(SettingsError, match="and pyslurm is not installed") as caught:
        choose.choose(settings, versioned("slurm 25.11.7\n"))
    assert "pyslurm.md" in caught.value.hint


def test_pyslurm_that_is_set_and_fits_is_taken(installed: Path, tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, scheduler="pyslurm")
    assert isinstance(choose.choose(settings, versioned("slurm 25.11.0\n")), PyslurmScheduler)


def test_pyslurm_that_cannot_be_loaded_is_done_without(
    installed: Path, make: Make, tmp_path: Path
) -> None:
    (installed / "pyslurm.py").write_text("raise ImportError('libslurmfull.so: not found')")
    scheduler, _, library = make()
    assert library is None
    assert scheduler.submit(written(tmp_path)) == 88
    assert scheduler.observe().tasks == ()


def test_library_is_not_loaded_before_the_controller_was_heard(installed: Path) -> None:
    (installed / "pyslurm.py").write_text("raise SystemExit('fatal: no configuration')")
    scheduler = PyslurmScheduler(
        Scripted({"scontrol show config": Finished(1, "", "Unable to contact slurm controller")}),
        clock=Stopped(),
    )
    with pytest.raises(SchedulerError, match="Unable to contact"):
        scheduler.observe()


# --- submit


def test_submit_says_what_the_script_says(make: Make, tmp_path: Path) -> None:
    scheduler, transport, library = make()
    asked = {"partition": "a,b", "account": "lab", "qos": "few"}
    assert scheduler.submit(written(tmp_path, cpus=4, mem_mb=512, time_s=5400, **asked)) == 77
    (said,) = library.JobSubmitDescription.said
    environment = said.pop("environment")
    assert said == {
        "name": "ps-1.digits", "array": "0-4%2", "standard_output": f"{tmp_path}/slurm.log",
        "log_files_open_mode": "append", "is_requeueable": True, "cpus_per_task": 4,
        "memory_per_node": "512M", "time_limit": "01:30:00", "partitions": "a,b", "account": "lab",
        "qos": "few", "script": f"{tmp_path}/script.sh",
    }  # fmt: skip
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["SLURM_SUBMIT_DIR"] == str(Path.cwd())
    assert {"SLURM_UMASK", "SLURM_RLIMIT_NOFILE"} <= set(environment)
    assert "PYTEST_CURRENT_TEST" not in environment
    assert not has_asked(transport, "sbatch", "--parsable")


@pytest.mark.parametrize(
    "more",
    [{"gpus": 1}, {"options": ("--constraint=a100",)}, {"options": ("--hold",)},
     {"account": "the lab"}, {"extra": "#SBATCH --comment=x\n"}, {"extra": "#SBATCH -t 5\n"},
     {"extra": "#SBATCH --no-requeue\n"}],
)  # fmt: skip
def test_script_that_says_more_is_left_to_sbatch(
    make: Make, tmp_path: Path, more: dict[str, Any]
) -> None:
    scheduler, _, library = make()
    assert scheduler.submit(written(tmp_path, **more)) == 88
    assert library.JobSubmitDescription.said == []


def test_submit_from_within_a_job_is_left_to_sbatch(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, _, library = make()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    assert scheduler.submit(written(tmp_path)) == 88
    assert library.JobSubmitDescription.said == []


def test_refusal_is_heard_in_full_from_sbatch(make: Make, tmp_path: Path) -> None:
    said = f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: {POLICY}\n"  # noqa: E501
    scheduler, _, library = make({"sbatch --parsable": Finished(1, "", said)})
    library.JobSubmitDescription.answer = library.RPCError(POLICY)
    with pytest.raises(NoRoom):
        scheduler.submit(written(tmp_path))


@pytest.mark.parametrize(
    "words, kind",
    [
        ("Unable to contact slurm controller (connect failure)", LimitReached),
        ("Slurm temporarily unable to accept job, sleeping and retrying", LimitReached),
        ("Socket timed out on send/recv operation", Unsure),
        ("Zero Bytes were transmitted or received", Unsure),
        ("a word that nobody knows", Unsure),
    ],
)
def test_words_of_the_library_mean_what_sbatchs_mean(
    make: Make, tmp_path: Path, words: str, kind: type[Exception]
) -> None:
    scheduler, transport, library = make()
    library.JobSubmitDescription.answer = library.RPCError(words)
    with pytest.raises(kind):
        scheduler.submit(written(tmp_path))
    assert not has_asked(transport, "sbatch", "--parsable")


def test_no_job_id_is_no_answer(make: Make, tmp_path: Path) -> None:
    scheduler, _, library = make()
    library.JobSubmitDescription.answer = 0
    with pytest.raises(Unsure, match="no job id"):
        scheduler.submit(written(tmp_path))


# --- observe


def job(**values: Any) -> SimpleNamespace:
    usual: dict[str, Any] = {
        "id": 12, "array_id": None, "array_task_id": None, "array_tasks_waiting": None,
        "heterogeneous_id": 0, "heterogeneous_offset": 0, "state": "RUNNING",
        "state_reason": "None", "partition": "short", "submit_time": 1_795_680_000,
        "start_time": 1_795_680_060, "end_time": 1_795_683_600, "allocated_nodes": "n1",
        "user_id": os.getuid(), "name": "ps-1.digits",
    }  # fmt: skip
    return SimpleNamespace(**usual | values)


def seen(make: Make, *jobs: SimpleNamespace) -> tuple[Task, ...]:
    scheduler, transport, library = make()
    library.Jobs.answer = list(jobs)
    poll = scheduler.observe()
    assert not has_asked(transport, "squeue")
    return poll.tasks


def test_observe_reads_jobs_as_squeue_shows_them(make: Make) -> None:
    waits = {"state": "PENDING", "state_reason": "Resources", "allocated_nodes": None}
    array = {"array_id": 20}
    tasks = seen(
        make,
        job(id=20, array_tasks_waiting="3-4,7", start_time=None, **waits, **array),
        job(id=21, state="COMPLETED", **array),
        job(id=22, array_task_id=2, **array),
        job(id=23, user_id=99_999),
    )
    assert [(task.job, task.tasks and set(task.tasks), task.word) for task in tasks] == [
        (20, {3, 4, 7}, "PENDING"), (20, {0}, "COMPLETED"), (20, {2}, "RUNNING"),
    ]  # fmt: skip
    submit, start, end = (datetime.fromtimestamp(1_795_680_000 + s, UTC) for s in (0, 60, 3600))
    waiting, ended, runs = tasks
    assert (waiting.reason, waiting.start_at, waiting.node) == ("Resources", None, "")
    assert (ended.submit_at, ended.start_at, ended.end_at) == (submit, start, end)
    assert (runs.reason, runs.end_at, runs.node, runs.job_raw) == ("", None, "n1", 22)
    assert (runs.name, runs.partition, runs.user) == ("ps-1.digits", "short", "bob")


def test_a_heterogeneous_job_is_as_well_as_its_worst_component(make: Make) -> None:
    parts = [
        job(id=30, heterogeneous_id=30, state="COMPLETED"),
        job(id=31, heterogeneous_id=30, heterogeneous_offset=1, state="FAILED"),
    ]
    (task,) = seen(make, *parts)
    assert (task.job, task.word) == (30, "FAILED")


def test_a_failed_look_is_no_information(make: Make) -> None:
    scheduler, _, library = make()
    library.Jobs.answer = library.RPCError("Unable to contact slurm controller (connect failure)")
    with pytest.raises(SchedulerError, match="does not tell its jobs"):
        scheduler.observe()


def test_where_others_have_very_many_jobs_squeue_is_asked(make: Make) -> None:
    scheduler, transport, library = make()
    library.Jobs.answer = [job(id=n, user_id=99_999) for n in range(pyslurm.CROWD + 1)]
    scheduler.observe()
    assert not has_asked(transport, "squeue")
    scheduler.observe()
    assert has_asked(transport, "squeue")
