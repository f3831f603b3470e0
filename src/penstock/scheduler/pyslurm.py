"""Slurm by pyslurm, where it was built for this Slurm: submit and observe, without a program.

Written to its published API of 25.11. What that cannot say as well as Slurm's programs do, they
say: the accounting (pyslurm keeps one record of a job that was requeued), limits, checks, and
cancelling of tasks.
"""

import os
import re
import resource
import socket
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from penstock.errors import Refused, SchedulerError
from penstock.model.evidence import Poll
from penstock.scheduler import counted, parse, reply
from penstock.scheduler.protocol import Submission
from penstock.scheduler.sibling import is_revoked
from penstock.scheduler.slurm import SlurmScheduler
from penstock.transport.local import scrubbed
from penstock.transport.protocol import Finished

NAME = "pyslurm"
COSTS = {**counted.COSTS, "observe": 1}
# It loads the jobs of all users. Where these are many, squeue --me is the smaller question, and so
# it is asked for an hour.
CROWD = 2000
CROWDED = "the queue is long"
PLAIN = re.compile(r"--([a-z-]+)(?:=([A-Za-z0-9_./:,@%+-]+))?")
# What is said to sbatch, and how pyslurm has it. A script with any other option is sbatch's.
OPTIONS = {
    "job-name": "name", "array": "array", "output": "standard_output",
    "cpus-per-task": "cpus_per_task", "mem": "memory_per_node", "time": "time_limit",
    "partition": "partitions", "account": "account", "qos": "qos",
}  # fmt: skip
FIXED: dict[str, tuple[str | None, dict[str, Any]]] = {
    "open-mode": ("append", {"log_files_open_mode": "append"}),
    "requeue": (None, {"is_requeueable": True}),
    "export": ("ALL", {}),
}
NUMBERS = frozenset({"cpus-per-task"})
# Slurm's library reads these; whatever else begins so is of a job in which this runs.
OURS = frozenset({"SLURM_CONF", "SLURM_BITSTR_LEN", "SLURM_TIME_FORMAT"})
LIMITS = ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS")
NO_TIME = "N/A"


def version() -> tuple[int, ...] | None:
    """Return the version of the pyslurm that is installed, without loading it; None: there is none.

    Its first two numbers are those of the Slurm that it was built for.
    """
    from importlib.util import find_spec  # noqa: PLC0415  quick, where there is none

    if find_spec(NAME) is None:
        return None
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415  slow
    from importlib.metadata import version as of_package  # noqa: PLC0415

    try:
        return tuple(int(number) for number in re.findall(r"\d+", of_package(NAME))[:3])
    except PackageNotFoundError:
        return None


class PyslurmScheduler(SlurmScheduler):
    """Ask and tell Slurm through its library, from this machine."""

    @cached_property
    def _library(self) -> Any:
        """Return pyslurm; None: it cannot be loaded. Raises SchedulerError.

        Slurm's library ends the process where it finds no configuration: so the controller is
        heard before it is loaded.
        """
        if not self._config:
            return None
        self._configuration.confirm()
        flags = sys.getdlopenflags()
        os.environ["SLURM_BITSTR_LEN"] = "0"  # lists of indices whole, not cut at 64 characters
        try:
            import pyslurm  # noqa: PLC0415  it opens Slurm's library
        except (ImportError, OSError):
            return None
        finally:
            sys.setdlopenflags(flags)  # it changes them for all that is loaded later
        return pyslurm

    def submit(self, submission: Submission) -> int:
        """Cost: 1 RPC, whatever the size of the array."""
        self._assert_reached()
        described = _described(submission) if self._library and not _is_in_a_job() else None
        if described is None:
            return super().submit(submission)
        assert self._library is not None
        try:
            job = int(self._library.JobSubmitDescription(**described).submit())
        except self._library.RPCError as error:
            why = f"sbatch: error: Batch job submission failed: {error}"
            meant = reply.refusal(Finished(1, "", why))
            if isinstance(meant, Refused):  # surely: and sbatch says more of the reason
                return super().submit(submission)
            raise meant from error
        except (ValueError, TypeError, OSError):  # before anything was sent
            return super().submit(submission)
        if not job:
            raise reply.unsure("pyslurm returned no job id")
        return job

    def observe(self) -> Poll:
        """Cost: 1 RPC, for the jobs of all users; 3 of squeue's where these are very many."""
        self._configuration.confirm()
        if self._library is None or self._is_crowded():
            return super().observe()
        at = self._clock.now()
        try:
            jobs = list(self._library.Jobs.load().values())
        except self._library.RPCError as error:
            raise SchedulerError(
                f"Slurm does not tell its jobs: {error}",
                hint="nothing is known by it; it is asked again later",
            ) from error
        mine = [job for job in jobs if job.user_id == os.getuid()]
        if len(jobs) - len(mine) > CROWD:
            self._note_crowd()
        rows = "".join(f"{'|'.join(_row(job, self._user))}{parse.QUEUE_END}" for job in mine)
        poll = parse.queue(f"JOBID|{parse.QUEUE_END}{rows}", at)
        return super().observe() if any(map(is_revoked, poll.tasks)) else poll

    def _is_crowded(self) -> bool:
        return self._crowd or (self._memory is not None and self._memory.has(CROWDED))

    _crowd = False

    def _note_crowd(self) -> None:
        self._crowd = True
        if self._memory is not None:
            self._memory.keep(CROWDED, "")


# --- submit


def _is_in_a_job() -> bool:
    """Say whether this runs in a job: pyslurm would hand that job's variables on."""
    return any(name.startswith("SLURM_") and name not in OURS for name in os.environ)


def _described(submission: Submission) -> dict[str, Any] | None:
    """Return the description of a job as pyslurm takes it; None: it has no words for it."""
    script = Path(submission.folder, "script.sh")
    try:
        text = script.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found: dict[str, Any] = {}
    for word in _options(text):
        match = PLAIN.fullmatch(word)
        if match is None:
            return None
        name, value = match[1], match[2]
        if name in FIXED and FIXED[name][0] == value:
            found.update(FIXED[name][1])
        elif name in OPTIONS and value is not None:
            found[OPTIONS[name]] = int(value) if name in NUMBERS else value
        else:
            return None
    return {**found, "script": str(script), "environment": _environment()}


def _options(text: str) -> Iterator[str]:
    """Yield the words of a script's ``#SBATCH`` lines, which end where its commands begin."""
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            yield from line.split()[1:]
        elif line.strip() and not line.startswith("#"):
            return


def _environment() -> dict[str, str]:
    """Return what sbatch would hand on, with what it says of this process itself."""
    umask = os.umask(0o077)
    os.umask(umask)
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0] for name in LIMITS}
    return {
        **scrubbed(os.environ),
        "SLURM_UMASK": f"{umask:04o}",
        "SLURM_SUBMIT_DIR": os.getcwd(),  # noqa: PTH109  as sbatch has it
        "SLURM_SUBMIT_HOST": socket.gethostname(),
        **{f"SLURM_RLIMIT_{name}": str(value % (1 << 64)) for name, value in limits.items()},
    }


# --- observe


def _row(job: Any, user: str) -> Sequence[str]:
    """Return a job as squeue shows it: one reading of Slurm's words serves both."""
    return (
        _expression(job),
        str(job.array_id or job.id),
        str(job.id),
        job.state or "",
        job.state_reason or "",
        job.partition or "",
        _time(job.submit_time),
        _time(job.start_time),
        _time(job.end_time),
        job.allocated_nodes or "",
        user,
        job.name or "",
    )


def _expression(job: Any) -> str:
    """Return ``12_[1-3]``, ``12_3``, ``12+1`` or ``12``. Of an index 0 pyslurm says None."""
    if job.heterogeneous_id:
        return f"{job.heterogeneous_id}+{job.heterogeneous_offset or 0}"
    if not job.array_id:
        return str(job.id)
    waiting = job.array_tasks_waiting
    return f"{job.array_id}_[{waiting}]" if waiting else f"{job.array_id}_{job.array_task_id or 0}"


def _time(stamp: Any) -> str:
    if not isinstance(stamp, int) or stamp <= 0:
        return NO_TIME
    return datetime.fromtimestamp(stamp, UTC).isoformat()
