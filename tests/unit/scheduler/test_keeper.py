"""The local scheduler when its keeper is killed, and what only it does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import Clock
from penstock.errors import Refused, SchedulerError
from penstock.model.evidence import Task
from penstock.model.spec import Request
from penstock.scheduler import keeper, processes
from penstock.scheduler.ledger import Ledger
from penstock.scheduler.local import MIN_JOB_AGE_S, LocalScheduler
from penstock.scheduler.protocol import Submission

DEADLINE_S = 30
GATED = 'echo "$SLURM_ARRAY_TASK_ID" >> ran; until [ -e go ]; do sleep 0.02; done'


class Later(Clock):
    """A clock that is ahead."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Bench:
    """A local scheduler with a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "local"
        self.scheduler = LocalScheduler(str(self.home), cpus=2)

    def submit(self, script: str, size: int = 1, **request: Any) -> int:
        (self.folder / "script.sh").write_text(script)
        log = str(self.folder / "slurm.log")
        asked = Request(**request)
        return self.scheduler.submit(
            Submission("ps-1", "x", size, None, asked, str(self.folder), log)
        )

    def words(self) -> list[str]:
        tasks: list[Task] = []
        for task in self.scheduler.observe().tasks:
            tasks += [task] * len(task.tasks or ())
        return sorted(task.word for task in tasks)

    def ran(self) -> list[str]:
        path = self.folder / "ran"
        return sorted(path.read_text().split()) if path.exists() else []

    def keepers(self) -> list[int]:
        """Return the pids of the keepers of this folder."""
        wanted = [keeper.__name__.encode(), str(self.home).encode()]
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[-3:-1] == wanted:
                found.append(int(path.parent.name))
        return found

    def kill_keeper(self) -> None:
        (pid,) = self.keepers()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: not keeper.is_there(self.home))


def wait(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    (tmp_path / "go").touch()
    with Ledger(str(made.home)).write() as db:
        live = [row[0] for row in db.execute("SELECT DISTINCT job FROM task WHERE end_at IS NULL")]
    made.scheduler.cancel([(job, None) for job in live])
    wait(lambda: not keeper.is_there(made.home))


# --- a keeper's life


def test_a_keeper_ends_itself_when_nothing_is_left(bench: Bench) -> None:
    bench.submit("true", size=3)
    wait(lambda: bench.words() == ["COMPLETED"] * 3)
    wait(lambda: not keeper.is_there(bench.home))
    assert (bench.home / keeper.LOG).read_text() == ""


def test_one_keeper_serves_many_commands(bench: Bench) -> None:
    bench.submit(GATED)
    bench.submit(GATED)
    subprocess.run([sys.executable, "-m", keeper.__name__, str(bench.home)], check=True, timeout=30)
    wait(lambda: len(bench.ran()) == 2)
    wait(lambda: len(bench.keepers()) == 1)  # the others wait for the lock, and give up


def test_what_is_held_needs_no_keeper_until_it_is_released(bench: Bench) -> None:
    job = bench.submit(GATED, size=3)
    wait(lambda: len(bench.ran()) == 2)
    bench.scheduler.hold(job)
    (bench.folder / "go").touch()
    wait(lambda: not keeper.is_there(bench.home))
    assert bench.words() == ["COMPLETED", "COMPLETED", "PENDING"]
    assert not keeper.is_there(bench.home)
    bench.scheduler.release(job)
    wait(lambda: bench.words() == ["COMPLETED"] * 3)


def test_many_tasks_run_once_each(bench: Bench) -> None:
    bench.submit('echo "$SLURM_ARRAY_TASK_ID" >> ran', size=40)
    wait(lambda: bench.words() == ["COMPLETED"] * 40)
    assert bench.ran() == sorted(str(index) for index in range(40))


def test_what_a_script_leaves_behind_is_killed(bench: Bench) -> None:
    bench.submit("setsid sleep 600 & echo $! > child")
    wait(lambda: bench.words() == ["COMPLETED"])
    child = int((bench.folder / "child").read_text())
    wait(lambda: not processes.identity(child))


# --- killed


def test_tasks_outlive_a_keeper_and_the_next_one_adopts_them(bench: Bench) -> None:
    bench.submit(GATED, size=3)
    wait(lambda: len(bench.ran()) == 2)
    bench.kill_keeper()
    assert bench.words() == ["PENDING", "RUNNING", "RUNNING"]
    wait(lambda: keeper.is_there(bench.home))
    (bench.folder / "go").touch()
    # How the two ended nobody saw: their own records tell. The third was never touched.
    wait(lambda: bench.words() == ["COMPLETED", "NODE_FAIL", "NODE_FAIL"])
    assert bench.ran() == ["0", "1", "2"]


def test_tasks_that_ended_without_a_keeper_are_not_run_again(bench: Bench) -> None:
    bench.submit(GATED, size=2)
    wait(lambda: len(bench.ran()) == 2)
    live = [task.process for task in Ledger(str(bench.home)).tasks("word = 'RUNNING'")]
    bench.kill_keeper()
    (bench.folder / "go").touch()
    wait(lambda: not any(processes.is_alive(process) for process in live))
    wait(lambda: bench.words() == ["NODE_FAIL", "NODE_FAIL"])
    assert bench.ran() == ["0", "1"]


def test_an_adopted_task_can_be_cancelled(bench: Bench) -> None:
    job = bench.submit(GATED)
    wait(lambda: len(bench.ran()) == 1)
    bench.kill_keeper()
    bench.scheduler.cancel([(job, 0)])
    wait(lambda: bench.words() == [f"CANCELLED by {os.getuid()}"])


def test_an_adopted_task_has_its_time_limit(bench: Bench) -> None:
    bench.submit(GATED, time_s=2)
    wait(lambda: len(bench.ran()) == 1)
    bench.kill_keeper()
    wait(lambda: bench.words() == ["TIMEOUT"])


def test_an_adopted_task_can_be_requeued(bench: Bench) -> None:
    job = bench.submit(GATED)
    wait(lambda: len(bench.ran()) == 1)
    bench.kill_keeper()
    bench.scheduler.requeue(job, 0)
    wait(lambda: len(bench.ran()) == 2)
    (bench.folder / "go").touch()
    wait(lambda: bench.words() == ["COMPLETED"])


@pytest.mark.parametrize("when", ["keeper.recorded", "keeper.recorded:2", "keeper.ended"])
def test_a_keeper_killed_at_any_instant_runs_no_task_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setenv("PENSTOCK_FAILPOINT", when)
    bench.submit('echo "$SLURM_ARRAY_TASK_ID" >> ran', size=4)
    wait(lambda: not keeper.is_there(bench.home))
    monkeypatch.delenv("PENSTOCK_FAILPOINT")
    wait(lambda: not {"PENDING", "RUNNING", "COMPLETING"} & set(bench.words()))
    assert len(bench.ran()) == len(set(bench.ran())) >= 2
    completed = bench.words().count("COMPLETED")
    assert 2 <= completed <= len(bench.ran())
    assert bench.words().count("NODE_FAIL") == 4 - completed > 0


def test_a_keeper_killed_before_its_signal_still_ends_the_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_FAILPOINT", "keeper.completing")
    job = bench.submit(GATED)
    wait(lambda: len(bench.ran()) == 1)
    bench.scheduler.cancel([(job, None)])
    wait(lambda: not keeper.is_there(bench.home))
    monkeypatch.delenv("PENSTOCK_FAILPOINT")
    wait(lambda: bench.words() == [f"CANCELLED by {os.getuid()}"])


def test_what_was_not_recorded_never_runs(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(f"touch {tmp_path}/ran\n")
    child = processes.Started(str(script), str(tmp_path / "log"), str(tmp_path), {})
    child.abandon()
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 1
    assert not (tmp_path / "ran").exists()


# --- processes


def test_a_process_is_not_another_one_with_its_pid() -> None:
    mine = processes.identity(os.getpid())
    assert processes.is_alive(mine)
    pid, start, boot = mine.split(":")
    assert processes.pid_of(mine) == os.getpid()
    assert not processes.is_alive(f"{pid}:{int(start) + 1}:{boot}")
    assert not processes.is_alive(f"{pid}:{start}:another-boot")
    assert not processes.is_alive("")


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        known = processes.identity(child.pid)
        assert processes.is_alive(known)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not processes.is_alive(known)


def test_a_task_is_found_by_its_mark_in_any_session() -> None:
    environment = {"PATH": os.environ["PATH"], processes.MARK: "folder:1_0.0"}
    with subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True) as child:
        wait(lambda: processes.of_task("folder:1_0.0") == [child.pid])
        assert processes.of_task("folder:1_0.1") == []
        assert processes.of_task("none", session=child.pid) == [child.pid]
        processes.send([child.pid, 2**22 + 1], signal.SIGKILL)


# --- the rest


def test_tasks_get_a_scrubbed_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret")
    bench.submit("env > env; exec true", cpus=2)
    wait(lambda: bench.words() == ["COMPLETED"])
    told = dict(line.partition("=")[::2] for line in (bench.folder / "env").read_text().split("\n"))
    assert "MY_TOKEN" not in told
    assert "SLURM_BITSTR_LEN" not in told
    assert (told["SLURM_CPUS_PER_TASK"], told["SLURM_CLUSTER_NAME"]) == ("2", "local")
    assert told["PATH"] == os.environ["PATH"]
    assert b"secret" not in b"".join(path.read_bytes() for path in bench.home.glob("jobs.db*"))


def test_observe_forgets_what_history_remembers(bench: Bench) -> None:
    job = bench.submit("true")
    wait(lambda: bench.words() == ["COMPLETED"])
    later = LocalScheduler(str(bench.home), clock=Later(timedelta(seconds=MIN_JOB_AGE_S + 5)))
    assert later.observe().tasks == ()
    since = datetime.now(UTC) - timedelta(hours=1)
    (task,) = later.history([job], since=since).tasks
    assert (task.word, task.exit_code) == ("COMPLETED", 0)
    assert later.history([job], since=datetime.now(UTC) + timedelta(hours=1)).tasks == ()


def test_ids_are_not_given_again_when_jobs_are_forgotten(bench: Bench) -> None:
    first = bench.submit("true", size=3)
    wait(lambda: bench.words() == ["COMPLETED"] * 3)
    Ledger(str(bench.home)).forget(time.time() + 1)
    assert bench.words() == []
    assert bench.submit("true") == first + 4


def test_gpus_and_large_arrays_are_refused(bench: Bench) -> None:
    with pytest.raises(Refused, match="gpus"):
        bench.submit("true", gpus=1)
    with pytest.raises(Refused, match="at most"):
        bench.submit("true", size=100_000)


def test_requeue_of_what_does_not_run_is_an_error(bench: Bench) -> None:
    with pytest.raises(SchedulerError, match="does not run"):
        bench.scheduler.requeue(1, 0)


def test_a_ledger_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_text("this is no database, but it is long enough to be read\n" * 9)
    with pytest.raises(SchedulerError, match="cannot use its files"):
        LocalScheduler(str(tmp_path)).observe()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SchedulerError, match="cannot use its files"):
        LocalScheduler(str(tmp_path / "file" / "local")).observe()
