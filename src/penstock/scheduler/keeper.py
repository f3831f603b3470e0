"""The keeper of the local scheduler: one process that starts tasks, sees them end, and ends itself.

``python -m penstock.scheduler.keeper <folder>`` detaches. One lives for a folder, by a lock. Killed
at any instant it leaves a ledger from which the next one goes on: a task runs only once its process
is recorded, and a task whose process is gone is never started again by itself.
"""

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from penstock import failpoint
from penstock.scheduler import processes
from penstock.scheduler.ledger import COMPLETING, IS_LIVE, PENDING, RUNNING, Job, Ledger, TaskRow

KILL_WAIT_S = 5  # from TERM to KILL, as Slurm's KillWait
LOOK_S = 10  # the longest time between two looks
REMEMBERED_S = 30 * 86400  # how long the ledger remembers
LOCK, BELL, LOG = "keeper.lock", "keeper.bell", "keeper.log"
REQUEUE, TIMEOUT = "REQUEUE", "TIMEOUT"
GONE = "NODE_FAIL"  # its process is gone, and nobody saw how it ended
LAUNCH_FAILED = 53  # the signal with which Slurm says so


class Keeper:
    """The loop. ``turn`` does all that is due, and returns whether something is left to do."""

    def __init__(self, folder: str) -> None:
        self.ledger = Ledger(folder)
        self.statuses: dict[int, tuple[int, int]] = {}  # pid: status, peak memory in bytes
        self.watched: dict[str, int] = {}  # process: its pidfd
        self.bell = _bell(Path(folder) / BELL)
        self.due_at = 0.0

    def turn(self) -> bool:
        """Do what is due."""
        self._reap()
        now = time.time()
        self.due_at = now + LOOK_S
        for task in self.ledger.tasks(IS_LIVE):
            if not self._is_alive(task):
                self._ended(task, now)
            elif task.word == RUNNING:
                self._running(task, now)
            else:
                self._completing(task, now)
        for verdict in self.ledger.verdicts():
            if verdict.starts:
                self._start(self.ledger.job(verdict.job), verdict.starts)
        return self.ledger.unfinished() > 0

    def wait(self) -> None:
        """Wait for a process to end, for a command to ring, or for what is due by the clock."""
        poller = select.poll()
        for descriptor in (self.bell, *self.watched.values()):
            poller.register(descriptor, select.POLLIN)
        poller.poll(max(self.due_at - time.time(), 0) * 1000)
        with suppress(BlockingIOError):
            os.read(self.bell, 4096)

    # --- processes

    def _reap(self) -> None:
        """Take the status of every child that ended, also of orphans, which nobody asks for."""
        wanted = {processes.pid_of(known) for known in self.watched}
        with suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0] != 0:
                pid, status, used = ended
                if pid in wanted:
                    self.statuses[pid] = (status, used.ru_maxrss * 1024)

    def _is_alive(self, task: TaskRow) -> bool:
        if not processes.is_alive(task.process):
            self._reap()  # it may have ended just now
            return False
        if task.process not in self.watched:
            with suppress(OSError):
                self.watched[task.process] = os.pidfd_open(processes.pid_of(task.process))
        return True

    def _processes(self, task: TaskRow) -> list[int]:
        session = processes.pid_of(task.process) if task.process else 0
        return processes.of_task(self._mark(task), session)

    def _mark(self, task: TaskRow) -> str:
        return f"{self.ledger.path}:{task.job}_{task.idx}.{task.restart}"

    # --- what lives

    def _running(self, task: TaskRow, now: float) -> None:
        limit = self.ledger.job(task.job).time_s
        ends_at = None if limit is None else (task.start_at or now) + limit
        if task.ask:
            self._tell_to_end(task, task.ask, now)
        elif ends_at is not None and ends_at <= now:
            self._tell_to_end(task, TIMEOUT, now)
        elif ends_at is not None:
            self.due_at = min(self.due_at, ends_at)

    def _tell_to_end(self, task: TaskRow, end_word: str, now: float) -> None:
        self._update(task, word=COMPLETING, ask="", end_word=end_word, kill_at=now + KILL_WAIT_S)
        failpoint.hit("keeper.completing")
        processes.send(self._processes(task), signal.SIGTERM)
        self.due_at = min(self.due_at, now + KILL_WAIT_S)

    def _completing(self, task: TaskRow, now: float) -> None:
        kill_at = task.kill_at or now
        if kill_at <= now:
            processes.send(self._processes(task), signal.SIGKILL)
        self.due_at = min(self.due_at, max(kill_at, now + 0.2))

    # --- what ended

    def _ended(self, task: TaskRow, now: float) -> None:
        """See what a script that ended left behind, then write down the end of its task."""
        status = self.statuses.pop(processes.pid_of(task.process), None)
        if (descriptor := self.watched.pop(task.process, None)) is not None:
            os.close(descriptor)
        if status is not None:
            number = os.waitstatus_to_exitcode(status[0])
            task = replace(task, code=max(number, 0), signal=max(-number, 0), peak=status[1])
        left = self._processes(task)
        if left and task.word == COMPLETING and now < (task.kill_at or now):
            self._update(task, code=task.code, signal=task.signal, peak=task.peak)
            self.due_at = min(self.due_at, now + 0.2)
            return
        processes.send(left, signal.SIGKILL)
        failpoint.hit("keeper.ended")
        if task.end_word == REQUEUE:
            self._requeue(task, now)
        else:
            self._finish(task, now)

    def _requeue(self, task: TaskRow, now: float) -> None:
        self._update(
            task, word=PENDING, restart=task.restart + 1, submit_at=now, start_at=None, ask="",
            process="", end_word="", kill_at=None, code=None, signal=None,
        )  # fmt: skip

    def _finish(self, task: TaskRow, now: float) -> None:
        word = task.end_word
        if not word and task.code is None:
            word = GONE
        elif not word:
            word = "COMPLETED" if (task.code, task.signal) == (0, 0) else "FAILED"
        self._update(
            task, word=word, end_at=now, ask="", process="", code=task.code, signal=task.signal,
            peak=task.peak,
        )  # fmt: skip

    def _update(self, task: TaskRow, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self.ledger.write() as db:
            db.execute(
                f"UPDATE task SET {names} WHERE job = ? AND idx = ?",  # noqa: S608  names of ours
                (*values.values(), task.job, task.idx),
            )

    # --- what begins

    def _start(self, job: Job, count: int) -> None:
        for task in self.ledger.tasks("word = 'PENDING' AND held = 0 AND job = ?", job.id)[:count]:
            now = time.time()
            try:
                child = processes.Started(
                    f"{job.folder}/script.sh", job.log, job.folder, self._environment(job, task)
                )
            except OSError:  # as Slurm does where the folder of its log is missing
                self._update(
                    task, word="FAILED", start_at=now, end_at=now, code=0, signal=LAUNCH_FAILED
                )
                continue
            with self.ledger.write() as db:
                taken = db.execute(
                    "UPDATE task SET word = 'RUNNING', process = ?, start_at = ? WHERE job = ?"
                    " AND idx = ? AND word = 'PENDING' AND held = 0",
                    (child.identity, now, task.job, task.idx),
                ).rowcount
            if not taken:  # cancelled or held in this moment
                child.abandon()
                continue
            failpoint.hit("keeper.recorded")
            child.go()
            self.watched[child.identity] = os.pidfd_open(child.pid)
            self.due_at = 0  # look at its time limit

    def _environment(self, job: Job, task: TaskRow) -> dict[str, str]:
        """Return what Slurm would tell the task of itself, with what the submitter gave it."""
        host = socket.gethostname()
        own = job.id + 1 + task.idx
        said: dict[str, object] = {
            "SLURM_ARRAY_JOB_ID": job.id,
            "SLURM_ARRAY_TASK_COUNT": job.size,
            "SLURM_ARRAY_TASK_ID": task.idx,
            "SLURM_ARRAY_TASK_MAX": job.size - 1,
            "SLURM_ARRAY_TASK_MIN": 0,
            "SLURM_CLUSTER_NAME": "local",
            "SLURM_CPUS_ON_NODE": job.cpus,
            "SLURM_CPUS_PER_TASK": job.cpus,
            "SLURM_JOBID": own,
            "SLURM_JOB_ID": own,
            "SLURM_JOB_NAME": job.name,
            "SLURM_JOB_NODELIST": host,
            "SLURM_JOB_UID": job.uid,
            "SLURM_JOB_USER": job.user,
            "SLURM_SUBMIT_DIR": job.folder,
            "SLURMD_NODENAME": host,
            processes.MARK: self._mark(task),
        }
        if task.restart:
            said["SLURM_RESTART_COUNT"] = task.restart
        return job.variables | {key: str(value) for key, value in said.items()}


def _bell(path: Path) -> int:
    """Open the pipe by which commands wake the keeper."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # RDWR: never at its end


def ring(folder: Path) -> None:
    """Wake the keeper of a folder, if there is one."""
    with suppress(OSError):
        descriptor = os.open(folder / BELL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):
            os.write(descriptor, b"!")
        os.close(descriptor)


def is_there(folder: Path) -> bool:
    """Return whether a keeper lives."""
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def keep(folder: str) -> None:
    """Keep until nothing is left to do; return at once where another keeper lives."""
    lock = FileLock(Path(folder) / LOCK, timeout=2)  # longer than somebody's `is_there`
    try:
        lock.acquire()
    except Timeout:
        return
    processes.adopt_orphans()
    keeper = Keeper(folder)
    keeper.ledger.forget(time.time() - REMEMBERED_S)
    while True:
        if keeper.turn():
            keeper.wait()
            continue
        with keeper.ledger.write():  # so that nobody adds work between the look and the release
            if keeper.ledger.unfinished() == 0:
                lock.release()
                return


def main(folder: str) -> None:
    """Detach, and keep. The caller's process ends when the keeper has been started."""
    if os.fork() != 0:
        return
    os.setsid()
    os.chdir(folder)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    log = os.open(Path(folder) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    keep(folder)


if __name__ == "__main__":
    main(sys.argv[1])
