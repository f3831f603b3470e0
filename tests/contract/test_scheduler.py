"""What every scheduler must do: the local one, Slurm's commands on a model, and a real Slurm.

A further implementation is one entry of SITES. What it declares in ``capabilities().lacks`` is left
out, and the end of the test run says so.
"""

import os
import pwd
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import LimitReached, Refused
from penstock.model.evidence import Poll, Task
from penstock.model.spec import Request
from penstock.model.state import FINAL, is_held, word
from penstock.scheduler import pyslurm
from penstock.scheduler.local import LocalScheduler
from penstock.scheduler.options import options
from penstock.scheduler.protocol import Scheduler, Submission
from penstock.scheduler.pyslurm import PyslurmScheduler
from penstock.scheduler.slurm import SlurmScheduler
from penstock.testing import programs
from penstock.testing.model import Cluster
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Transport
from tests.slurm_user import UserTransport

DEADLINE_S = 60
SMALL = 10  # MB: a task that asks for no memory takes a node's
HOUR = timedelta(hours=1)
# What a task must not inherit from the job in which somebody submits.
FOREIGN = {
    "SLURM_ARRAY_TASK_ID": "77",
    "SLURM_JOB_ID": "77",
    "SLURM_CPUS_PER_TASK": "77",
    "SBATCH_ACCOUNT": "nobody",
    "SQUEUE_STATES": "CANCELLED",
    "SACCT_FORMAT": "JobID",
    "PMI_RANK": "77",
}


@dataclass
class Site:
    """A scheduler to test, a folder that its tasks may write to, and verbs beside the seam."""

    scheduler: Scheduler
    folder: Path
    hold: Callable[..., object]  # a job, or one index of it
    release: Callable[..., object]
    requeue: Callable[[int, int], object]
    limited: Callable[[], Scheduler]  # of a user who may have 20 tasks in the queue
    user: str
    uid: int
    shortest_s: int = 1  # the shortest time limit
    jobs: list[int] = field(default_factory=list)

    def needs(self, what: str) -> None:
        """Leave a test out, loudly, where the scheduler says that it lacks something."""
        can = self.scheduler.capabilities()
        if what in can.lacks:
            pytest.skip(f"the {can.name} scheduler declares that it lacks {what}")

    def submission(self, script: str = "true", size: int = 3, **request: object) -> Submission:
        """Return a submission with its script written."""
        asked = Request(**{"mem_mb": SMALL, **request})  # type: ignore[arg-type]
        folder = self.folder / f"array-{time.monotonic_ns()}"
        folder.mkdir()
        folder.chmod(0o777)
        token = f"ps-{time.monotonic_ns():x}"
        made = Submission(
            token, "contract", size, None, asked, str(folder), str(folder / "slurm.log")
        )
        self.write(made, script)
        return made

    def write(self, made: Submission, script: str) -> None:
        """Write the script of a submission."""
        lines = [f"#SBATCH {option}" for option in options(made)]
        lines += [f"#SBATCH --output={made.log}", "#SBATCH --open-mode=append --requeue"]
        text = "\n".join(["#!/bin/bash", *lines, f"cd {made.folder}", script, ""])
        path = Path(made.folder, "script.sh")
        path.write_text(text)
        path.chmod(0o755)

    def submit(self, made: Submission) -> int:
        """Submit, and remember to tidy up."""
        job = self.scheduler.submit(made)
        self.jobs.append(job)
        return job

    def wait(self, what: Callable[[Poll], bool]) -> Poll:
        """Observe until something is so."""
        deadline = time.monotonic() + DEADLINE_S
        while not what(poll := self.scheduler.observe()):
            mine = [task for task in poll.tasks if task.job in self.jobs]
            assert time.monotonic() < deadline, f"still {mine}"
            time.sleep(0.05)
        return poll

    def wait_for_end(self, job: int, size: int) -> dict[int, Task]:
        """Wait until the accounting knows the end of each task; return the newest records."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            ends = newest(self.history(job))
            if len(ends) == size and all(is_end(task) for task in ends.values()):
                return ends
            assert time.monotonic() < deadline, f"still {ends}"
            time.sleep(0.2)

    def tidy(self) -> None:
        """End what is left."""
        self.scheduler.cancel([(job, None) for job in self.jobs])
        self.wait(lambda poll: all(is_end(task) for task in poll.tasks if task.job in self.jobs))

    def history(self, job: int) -> Poll:
        """Ask the accounting for one job."""
        return self.scheduler.history([job], since=datetime.now(UTC) - HOUR)

    def said(self, made: Submission, name: str) -> str:
        """Return what tasks wrote to a file."""
        path = Path(made.folder, name)
        return path.read_text() if path.exists() else ""


def newest(poll: Poll) -> dict[int, Task]:
    """Return the record of each index that was submitted last."""
    found: dict[int, Task] = {}
    for task in sorted(
        poll.tasks, key=lambda task: task.submit_at or datetime.min.replace(tzinfo=UTC)
    ):
        found |= dict.fromkeys(task.tasks or (), task)
    return found


def is_end(task: Task) -> bool:
    return word(task.word).state in FINAL


def words(poll: Poll, job: int) -> dict[int, str]:
    """Return the word for each index; one's own goes before one that it shares."""
    mine = sorted((t for t in poll.tasks if t.job == job), key=lambda t: -len(t.tasks or ()))
    return {index: task.word for task in mine for index in task.tasks or ()}


def reasons(poll: Poll, job: int) -> dict[int, str]:
    mine = sorted((t for t in poll.tasks if t.job == job), key=lambda t: -len(t.tasks or ()))
    return {index: task.reason for task in mine for index in task.tasks or ()}


# --- the sites


def local_site(folder: Path) -> Iterator[Site]:
    scheduler = LocalScheduler(str(folder / "local"), cpus=2)

    def no_limits() -> Scheduler:
        raise AssertionError("declared as lacking")

    verbs = (scheduler.hold, scheduler.release, scheduler.requeue)
    yield Site(scheduler, folder, *verbs, no_limits, me(), os.getuid())


ORDINARY = 4242  # the model's uid of whoever runs the tests: root would have other rights


def programs_site(folder: Path) -> Iterator[Site]:
    state = folder / "state"
    programs.install(folder / "bin", state, execute=True)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    transport = LocalTransport({**os.environ, "PATH": path})

    def change(**values: int) -> None:
        def do(cluster: Cluster) -> None:
            cluster.users[me()] = replace(cluster.users[me()], **values)  # type: ignore[arg-type]

        programs.change(state, do)

    def limited() -> Scheduler:
        change(max_submit=20)
        return SlurmScheduler(transport)

    change(uid=ORDINARY)
    yield replace(slurm(transport, folder, limited), user=me(), uid=ORDINARY)


def slurm_site(folder: Path) -> Iterator[Site]:
    transport = UserTransport("alice")
    shutil.chown(folder, "alice")
    uid = pwd.getpwnam("alice").pw_uid
    bob = SlurmScheduler(UserTransport("bob"))
    yield replace(slurm(transport, folder, lambda: bob), user="alice", uid=uid)


def pyslurm_site(folder: Path) -> Iterator[Site]:
    """Of whoever runs the tests: a library acts for its process."""
    transport = LocalTransport()
    built_for = pyslurm.version()
    said = transport.run(["sbatch", "--version"]).out
    if built_for is None or ".".join(map(str, built_for[:2])) not in said:
        pytest.skip(f"needs pyslurm, built for this Slurm ({said.strip()})")
    if os.getuid() == 0:
        pytest.skip("needs an ordinary user: pyslurm acts for the process that it is in")

    def limited() -> Scheduler:
        pytest.skip("needs to be another user, and pyslurm acts for this one")

    site = slurm(transport, folder, limited)
    yield replace(site, scheduler=Library(transport), user=me(), uid=os.getuid())


class Library(PyslurmScheduler):
    """pyslurm, and it is an error where Slurm's programs are asked instead."""

    def submit(self, submission: Submission) -> int:
        assert self._library is not None
        return super().submit(submission)


def slurm(transport: Transport, folder: Path, limited: Callable[[], Scheduler]) -> Site:
    def named(job: int, index: int | None) -> str:
        return str(job) if index is None else f"{job}_{index}"

    def control(*argv: str) -> None:
        # Of an array with tasks that have ended it complains, and does the rest.
        done = transport.run(["scontrol", *argv])
        assert done.code == 0 or "already finished" in done.err, done

    return Site(
        SlurmScheduler(transport),
        folder,
        lambda job, index=None: control("hold", named(job, index)),
        lambda job, index=None: control("release", named(job, index)),
        lambda job, index: control("requeue", f"{job}_{index}"),
        limited,
        user="",
        uid=-1,
        shortest_s=60,
    )


def me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


SITES = {
    "local": local_site, "programs": programs_site, "slurm": slurm_site, "pyslurm": pyslurm_site,
}  # fmt: skip
REAL = [pytest.param(name, marks=pytest.mark.slurm) for name in ("slurm", "pyslurm")]
HERE = ["local", "programs", *REAL]
# Slurm's shortest time limit is a minute, and it looks every half one.
SLOW = ["local", *(pytest.param(name, marks=pytest.mark.long) for name in ("programs",))]
SLOW += [pytest.param(one.values[0], marks=[*one.marks, pytest.mark.long]) for one in REAL]


@pytest.fixture(params=HERE)
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    with tempfile.TemporaryDirectory(prefix="penstock-contract-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for made in SITES[request.param](folder):
            yield made
            made.tidy()


# --- what it is


def test_capabilities_are_stable(site: Site) -> None:
    can = site.scheduler.capabilities()
    assert can.name
    assert can.cluster
    assert can.version
    assert can.has_accounting
    assert site.scheduler.capabilities() == can


def test_limits_hold_an_array(site: Site) -> None:
    limits = site.scheduler.limits()
    assert limits.max_array_size > 100
    assert limits.room is None or limits.room >= 0


# --- check


def test_check_of_what_would_be_accepted_submits_nothing(site: Site) -> None:
    made = site.submission()
    Path(made.folder, "script.sh").unlink()  # a check may come before the script
    site.scheduler.check(made)
    assert not [task for task in site.scheduler.observe().tasks if made.token in task.name]


def test_check_refuses_more_cpus_than_there_are(site: Site) -> None:
    with pytest.raises(Refused) as caught:
        site.scheduler.check(site.submission(cpus=10_000))
    assert caught.value.hint


@pytest.mark.parametrize(
    "lack, request_",
    [
        ("partitions", {"partition": "no-such-partition"}),
        ("accounts", {"account": "no-such-account"}),
        ("qos", {"qos": "no-such-qos"}),
        ("options", {"options": ("--no-such-option",)}),
    ],
)
def test_what_does_not_exist_is_refused(site: Site, lack: str, request_: dict[str, Any]) -> None:
    site.needs(lack)
    made = site.submission(**request_)
    with pytest.raises(Refused):
        site.scheduler.check(made)
    with pytest.raises(Refused):
        site.submit(made)


def test_submit_without_a_script_is_refused(site: Site) -> None:
    made = site.submission()
    Path(made.folder, "script.sh").unlink()
    with pytest.raises(Refused):
        site.submit(made)


def test_more_than_the_limit_is_refused_for_now(site: Site) -> None:
    site.needs("limits")
    limited = site.limited()
    made = site.submission("sleep 600", size=21)
    assert limited.limits().room == 20
    with pytest.raises(LimitReached):
        limited.check(made)
    with pytest.raises(LimitReached):
        limited.submit(made)


# --- a life


def test_every_task_runs_once_and_its_end_is_told(site: Site) -> None:
    made = site.submission('echo "$SLURM_ARRAY_TASK_ID" >> ran; exit "$SLURM_ARRAY_TASK_ID"')
    before = datetime.now(UTC) - timedelta(seconds=2)
    job = site.submit(made)
    poll = site.wait(lambda poll: set(words(poll, job)) == {0, 1, 2})
    told = next(task for task in poll.tasks if task.job == job)
    assert told.name == f"{made.token}.contract"
    assert told.user == site.user
    assert told.submit_at is not None
    assert before <= told.submit_at <= datetime.now(UTC) + timedelta(seconds=2)
    ends = site.wait_for_end(job, 3)
    assert [ends[index].word for index in range(3)] == ["COMPLETED", "FAILED", "FAILED"]
    assert [ends[index].exit_code for index in range(3)] == [0, 1, 2]
    assert all(task.exit_signal is None for task in ends.values())
    assert all(task.start_at and task.end_at and task.node for task in ends.values())
    assert sorted(site.said(made, "ran").split()) == ["0", "1", "2"]


def test_an_end_is_observed(site: Site) -> None:
    job = site.submit(site.submission(size=1))
    poll = site.wait(lambda poll: words(poll, job).get(0) == "COMPLETED")
    (task,) = [task for task in poll.tasks if task.job == job]
    assert task.end_at is not None


def test_a_signal_is_told(site: Site) -> None:
    job = site.submit(site.submission("kill -9 $$", size=1))
    end = site.wait_for_end(job, 1)[0]
    assert (end.word, end.exit_code, end.exit_signal) == ("FAILED", 0, 9)


def test_tasks_know_themselves_and_nothing_of_the_submitter(site: Site) -> None:
    made = site.submission('env > "env.$SLURM_ARRAY_TASK_ID"', size=2)
    job = site.submit(made)
    site.wait_for_end(job, 2)
    for index in range(2):
        lines = site.said(made, f"env.{index}").splitlines()
        told = dict(line.partition("=")[::2] for line in lines)
        assert told["SLURM_ARRAY_JOB_ID"] == str(job)
        assert told["SLURM_ARRAY_TASK_ID"] == str(index)
        assert told["SLURM_JOB_ID"] != "77"
        assert told["SLURM_CPUS_PER_TASK" if "SLURM_CPUS_PER_TASK" in told else "PATH"] != "77"
        assert "SLURM_RESTART_COUNT" not in told
        assert told["SLURMD_NODENAME"]
        assert told["HOME"]
        assert not {"SBATCH_ACCOUNT", "SQUEUE_STATES", "SACCT_FORMAT", "PMI_RANK"} & set(told)


def test_output_is_appended_to_the_log(site: Site) -> None:
    made = site.submission('echo "out $SLURM_ARRAY_TASK_ID"; echo "err" >&2', size=2)
    Path(made.log).write_text("before\n")
    Path(made.log).chmod(0o666)
    site.wait_for_end(site.submit(made), 2)
    lines = site.said(made, "slurm.log").splitlines()
    assert lines[0] == "before"
    assert sorted(lines[1:]) == ["err", "err", "out 0", "out 1"]


def test_no_folder_for_the_log_is_a_failed_launch(site: Site) -> None:
    made = site.submission("touch ran", size=1)
    (site.folder / "file").touch()  # a missing folder Slurm makes since 24.11
    made = replace(made, log=str(site.folder / "file" / "log"))
    site.write(made, "touch ran")
    end = site.wait_for_end(site.submit(made), 1)[0]
    assert (end.word, end.exit_code, end.exit_signal) == ("FAILED", 0, 53)
    assert not Path(made.folder, "ran").exists()


# --- waiting


def gated(site: Site, size: int, throttle: int | None = None) -> tuple[Submission, int]:
    """Submit tasks that run until ``go`` is there."""
    body = 'echo "$SLURM_ARRAY_TASK_ID" >> ran; until [ -e go ]; do sleep 0.05; done'
    made = replace(site.submission("", size=size), throttle=throttle)
    site.write(made, body)
    return made, site.submit(made)


def test_a_throttle_lets_so_many_run(site: Site) -> None:
    made, job = gated(site, 3, throttle=1)
    poll = site.wait(lambda poll: list(words(poll, job).values()).count("RUNNING") == 1)
    poll = site.wait(
        lambda poll: sorted(reasons(poll, job).values())[1:] == ["JobArrayTaskLimit"] * 2
    )
    assert sorted(words(poll, job).values()) == ["PENDING", "PENDING", "RUNNING"]
    site.wait(lambda _: site.said(made, "ran").split() == ["0"])  # it runs before it writes
    Path(made.folder, "go").touch()
    ends = site.wait_for_end(job, 3)
    spans = sorted((task.start_at, task.end_at) for task in ends.values())
    assert all(one[1] <= two[0] for one, two in pairwise(spans))  # type: ignore[operator]


def test_what_waits_is_told_in_few_words(site: Site) -> None:
    _, job = gated(site, 50, throttle=1)
    poll = site.wait(lambda poll: "RUNNING" in words(poll, job).values())
    assert len([task for task in poll.tasks if task.job == job]) == 2
    assert set(words(poll, job)) == set(range(50))


def test_held_tasks_wait_until_they_are_released(site: Site) -> None:
    made, job = gated(site, 2, throttle=1)
    site.wait(lambda poll: "RUNNING" in words(poll, job).values())
    site.hold(job)
    site.wait(lambda poll: reasons(poll, job).get(1) == "JobHeldUser")
    Path(made.folder, "go").touch()
    poll = site.wait(lambda poll: words(poll, job).get(0) != "RUNNING")
    assert words(poll, job)[1] == "PENDING"
    site.release(job)
    assert site.wait_for_end(job, 2)[1].word == "COMPLETED"


def test_held_task_is_told_from_those_of_its_array_that_are_not(site: Site) -> None:
    made, job = gated(site, 5, throttle=1)
    site.wait(lambda poll: words(poll, job).get(0) == "RUNNING")
    site.hold(job, 2)
    poll = site.wait(lambda poll: reasons(poll, job).get(2) == "JobHeldUser")
    assert not any(is_held(reasons(poll, job)[index]) for index in (1, 3, 4))
    assert len([task for task in poll.tasks if task.job == job]) == 3  # others in few words
    assert words(poll, job) == {0: "RUNNING", **dict.fromkeys((1, 2, 3, 4), "PENDING")}
    site.release(job, 2)
    poll = site.wait(lambda poll: reasons(poll, job).get(2) != "JobHeldUser")
    Path(made.folder, "go").touch()
    assert {task.word for task in site.wait_for_end(job, 5).values()} == {"COMPLETED"}


def test_a_job_waits_for_resources(site: Site) -> None:
    site_cpus = 2 if "partitions" in site.scheduler.capabilities().lacks else 8
    made, job = gated(site, 1)
    wide = site.submission("true", size=5, cpus=site_cpus)
    site.wait(lambda poll: words(poll, job).get(0) == "RUNNING")
    later = site.submit(wide)
    if site_cpus == 2:  # nothing else runs there
        poll = site.wait(lambda poll: bool(words(poll, later)))
        assert set(reasons(poll, later).values()) == {"Resources"}
    Path(made.folder, "go").touch()
    assert {task.word for task in site.wait_for_end(later, 5).values()} == {"COMPLETED"}


# --- cancel


def test_cancel_of_a_slice_that_waits_leaves_the_rest(site: Site) -> None:
    made, job = gated(site, 5, throttle=1)
    site.wait(lambda poll: words(poll, job).get(0) == "RUNNING")
    site.scheduler.cancel([(job, 3), (job, 1), (job, 2)])
    # Slurm forgets such a slice at once, and its accounting never hears of it (seen on 22.05).
    poll = site.wait(lambda poll: "PENDING" not in {words(poll, job).get(i) for i in (1, 2, 3)})
    assert {words(poll, job).get(i, "CANCELLED")[:9] for i in (1, 2, 3)} == {"CANCELLED"}
    assert (words(poll, job)[0], words(poll, job)[4]) == ("RUNNING", "PENDING")
    Path(made.folder, "go").touch()
    site.wait(lambda poll: words(poll, job).get(4, "COMPLETED") == "COMPLETED")
    assert sorted(site.said(made, "ran").split()) == ["0", "4"]


def test_cancel_of_what_runs_ends_it_and_says_by_whom(site: Site) -> None:
    made, job = gated(site, 2)
    site.wait(lambda poll: set(words(poll, job).values()) == {"RUNNING"})
    site.scheduler.cancel([(job, 0)])
    site.wait(lambda poll: words(poll, job).get(0, "CANCELLED").startswith("CANCELLED"))
    Path(made.folder, "go").touch()
    ends = site.wait_for_end(job, 2)
    assert ends[0].word == f"CANCELLED by {site.uid}"
    assert ends[1].word == "COMPLETED"


def test_cancel_reaches_processes_that_made_a_session_of_their_own(site: Site) -> None:
    made = site.submission(
        "setsid sleep 600 & echo $! > child; trap 'exit 3' TERM; touch up; wait; sleep 600", size=1
    )
    job = site.submit(made)
    site.wait(lambda _: Path(made.folder, "up").exists())
    child = int(site.said(made, "child"))
    site.scheduler.cancel([(job, None)])
    assert site.wait_for_end(job, 1)[0].word.startswith("CANCELLED")
    site.wait(lambda _: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_task_that_ignores_term_is_killed(site: Site) -> None:
    made = site.submission("trap '' TERM; touch up; while :; do sleep 0.1; done", size=1)
    job = site.submit(made)
    site.wait(lambda _: Path(made.folder, "up").exists())
    site.scheduler.cancel([(job, 0)])
    assert site.wait_for_end(job, 1)[0].word.startswith("CANCELLED")


def test_cancel_of_a_whole_array(site: Site) -> None:
    made, job = gated(site, 4, throttle=2)
    site.wait(lambda _: len(site.said(made, "ran").split()) == 2)  # RUNNING is said before that
    site.scheduler.cancel([(job, None)])
    site.wait(lambda poll: all(w.startswith("CANCELLED") for w in words(poll, job).values()))
    assert sorted(site.said(made, "ran").split()) == ["0", "1"]


def test_cancel_of_what_is_not_there_is_no_error(site: Site) -> None:
    job = site.submit(site.submission(size=1))
    site.wait_for_end(job, 1)
    site.scheduler.cancel([(99_999_999, None), (99_999_998, 3), (job, 0), (job, None)])
    assert site.wait_for_end(job, 1)[0].word == "COMPLETED"


# --- requeue


def test_a_requeued_task_runs_again_as_its_next_restart(site: Site) -> None:
    made = site.submission(
        'echo "${SLURM_RESTART_COUNT:-0} $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID" >> ran\n'
        "until [ -e go ]; do sleep 0.05; done",
        size=2,
    )
    job = site.submit(made)
    site.wait(lambda _: len(site.said(made, "ran").splitlines()) == 2)
    first = site.wait(lambda poll: words(poll, job).get(1) == "RUNNING")
    time.sleep(1.1)  # Submit has seconds, and a requeue rewrites it
    site.requeue(job, 1)
    site.wait(lambda _: len(site.said(made, "ran").splitlines()) == 3)
    again = site.wait(lambda poll: words(poll, job).get(1) == "RUNNING")
    Path(made.folder, "go").touch()
    ends = site.wait_for_end(job, 2)
    assert {task.word for task in ends.values()} == {"COMPLETED"}
    assert sorted(site.said(made, "ran").splitlines()) == [f"0 {job} 0", f"0 {job} 1", f"1 {job} 1"]
    assert submitted(first, job, 1) < submitted(again, job, 1)


def submitted(poll: Poll, job: int, index: int) -> datetime:
    told = [t.submit_at for t in poll.tasks if t.job == job and t.tasks and index in t.tasks]
    assert told[0] is not None
    return max(at for at in told if at is not None)


# --- limits of time


@pytest.mark.parametrize("site", SLOW, indirect=True)
@pytest.mark.timeout(300)
def test_a_task_beyond_its_time_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "DEADLINE_S", 200)
    made = site.submission("touch up; sleep 600", size=1, time_s=site.shortest_s)
    end = site.wait_for_end(site.submit(made), 1)[0]
    assert end.word == "TIMEOUT"
    assert Path(made.folder, "up").exists()


# --- look-ups


def test_find_knows_a_job_by_its_token(site: Site) -> None:
    made = site.submission(size=2)
    job = site.submit(made)
    other = site.submit(site.submission(size=1))
    site.wait_for_end(job, 2)
    site.wait_for_end(other, 1)
    poll = site.scheduler.find(made.token, since=datetime.now(UTC) - HOUR)
    assert {task.job for task in poll.tasks} == {job}
    assert not site.scheduler.find(made.token[:-1], since=datetime.now(UTC) - HOUR).tasks


def test_find_of_what_waits_is_in_the_queue_at_least(site: Site) -> None:
    made, job = gated(site, 2, throttle=1)
    site.wait(lambda poll: words(poll, job).get(1) == "PENDING")
    told = [
        *site.scheduler.find(made.token, since=datetime.now(UTC) - HOUR).tasks,
        *site.scheduler.observe().tasks,
    ]
    assert {task.job for task in told if task.name.startswith(made.token)} == {job}


def test_history_of_an_unknown_job_is_empty(site: Site) -> None:
    assert site.history(66_999_999).tasks == ()


def test_one_history_tells_of_many_jobs(site: Site) -> None:
    jobs = [site.submit(site.submission(size=1)) for _ in range(2)]
    for job in jobs:
        site.wait_for_end(job, 1)
    poll = site.scheduler.history(jobs, since=datetime.now(UTC) - HOUR)
    assert {task.job for task in poll.tasks} == set(jobs)


def test_jobs_with_one_token_are_two(site: Site) -> None:
    made = site.submission(size=1)
    one, two = site.submit(made), site.submit(made)
    assert one != two
    site.wait_for_end(one, 1)
    site.wait_for_end(two, 1)
    poll = site.scheduler.find(made.token, since=datetime.now(UTC) - HOUR)
    assert {task.job for task in poll.tasks} == {one, two}
