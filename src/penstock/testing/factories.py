"""Values for tests: each ``make_…`` has sensible fields, and takes those that the test is about."""

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from penstock.model.evidence import Evidence, Exit, Known, Poll, Sighting, Task
from penstock.model.run import (
    Array,
    Capabilities,
    Intent,
    Limits,
    PlannedArray,
    ReadyRun,
    RunRow,
    StageRow,
)
from penstock.model.spec import Axis, Request, Spec, Stage, Sweep
from penstock.model.state import State
from penstock.scheduler.protocol import Submission
from penstock.settings import Settings
from penstock.settings.files import PROJECT_FILE
from penstock.store.submissions import NewSubmission

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)  # when it all happens


def at(seconds: float = 0) -> datetime:
    """Return a moment some seconds after ``AT``."""
    return AT + timedelta(seconds=seconds)


def make_request(**kw: Any) -> Request:
    """Make a request."""
    return Request(**kw)


def make_sweep(**lists: list[Any]) -> Sweep:
    """Make a sweep of one grid: ``make_sweep(lr=[0.1, 0.2], seed=[1, 2])``."""
    axes = tuple(Axis((name,), tuple((v,) for v in values)) for name, values in lists.items())
    return Sweep(grids=(axes,))


def make_stage(**kw: Any) -> Stage:
    """Make a stage."""
    return Stage(**{"name": "train", "command": ("python", "train.py", "{params}"), **kw})


def make_spec(**kw: Any) -> Spec:
    """Make a spec of one stage."""
    usual = {"experiment": "digits", "stages": (make_stage(),), "folder": "/spec", "text": "…"}
    return Spec(**{**usual, **kw})


def make_ready(**kw: Any) -> ReadyRun:
    """Make a run that waits to be planned."""
    number = kw.get("number", kw.get("id", 1))
    usual = {
        "id": number,
        "uid": f"uid-{number}",
        "stage": 1,
        "experiment": "digits",
        "number": number,
        "attempt": 1,
        "params": f'{{"seed":{number}}}',
    }
    return ReadyRun(**{**usual, **kw})


def make_run(**kw: Any) -> RunRow:
    """Make a run as queries show it."""
    number = kw.get("number", kw.get("id", 1))
    usual = {
        "id": number,
        "uid": f"uid-{number}",
        "experiment": "digits",
        "number": number,
        "stage": "train",
        "state": State.QUEUED,
        "cause": None,
        "attempt": 1,
        "params": {"seed": number},
        "tags": {},
        "metrics": {},
        "created_at": AT,
    }
    return RunRow(**{**usual, **kw})


def make_stage_row(**kw: Any) -> StageRow:
    """Make a stage as the store has it."""
    return StageRow(**{"id": 1, "stage": make_stage(), "code": None, "folder": "/spec", **kw})


def make_planned(size: int = 3, **kw: Any) -> PlannedArray:
    """Make a planned array of so many runs."""
    runs = tuple(make_ready(id=number) for number in range(1, size + 1))
    return PlannedArray(**{"stage": 1, "request": make_request(), "runs": runs, **kw})


def make_array(**kw: Any) -> Array:
    """Make an array as the store has it."""
    usual = {
        "id": 1,
        "token": "ps-1",
        "stage": 1,
        "request": make_request(),
        "size": 3,
        "throttle": None,
        "intent": Intent.INTENDED,
    }
    return Array(**{**usual, **kw})


def make_submission(**kw: Any) -> Submission:
    """Make an array for the scheduler."""
    token = kw.get("token", "ps-1")
    usual = {
        "token": token,
        "label": "digits.train",
        "size": 3,
        "throttle": None,
        "request": make_request(mem_mb=10, time_s=600),
        "folder": f"/home/arrays/{token}",
        "log": f"/home/arrays/{token}/slurm.log",
    }
    return Submission(**{**usual, **kw})


def make_new_submission(**kw: Any) -> NewSubmission:
    """Make what is known of a submission before its runs: alice's, of one stage."""
    usual = {
        "uid": secrets.token_hex(8),
        "project": "p",
        "experiment": "e",
        "user": "alice",
        "cluster": "c",
        "spec_text": "",
        "folder": "/",
        "file": "",
        "code": None,
        "stages": (make_stage(),),
    }
    return NewSubmission(**{**usual, **kw})


def make_task(word: str = "RUNNING", **kw: Any) -> Task:
    """Make the scheduler's word for one task: ``make_task("PENDING", reason="Priority")``."""
    usual = {
        "job": 12,
        "tasks": frozenset({0}),
        "word": word,
        "name": "ps-1.digits.train",
        "submit_at": AT,
        "partition": "batch",
        "user": "alice",
    }
    return Task(**{**usual, **kw})


def make_poll(*tasks: Task, **kw: Any) -> Poll:
    """Make a whole answer."""
    return Poll(**{"at": at(60), "tasks": tasks, "source": "squeue", **kw})


def make_exit(code: int | None = 0, **kw: Any) -> Exit:
    """Make a runner's last record; sealed, unless a signal is given."""
    usual = {
        "at": at(50),
        "restart": 0,
        "code": None if kw.get("signal") is not None else code,
        "signal": None,
        "cause": None,
        "detail": "",
        "is_sealed": kw.get("signal") is None,
    }
    return Exit(**{**usual, **kw})


def make_sighting(**kw: Any) -> Sighting:
    """Make what a runner's files say."""
    usual = {
        "restart": 0,
        "job": "12_0",
        "node": "n1",
        "opened_at": at(10),
        "heard_at": at(50),
    }
    return Sighting(**{**usual, **kw})


def make_evidence(**kw: Any) -> Evidence:
    """Make evidence; what squeue or sacct said was said a minute after ``AT``."""
    times = {f"{key}_at": at(60) for key in ("queue", "history") if kw.get(key) is not None}
    return Evidence(**{**times, **kw})


def make_known(state: State = State.QUEUED, **kw: Any) -> Known:
    """Make what is recorded of an attempt that was sent at ``AT``."""
    return Known(**{"attempt": 1, "state": state, "restart": 0, "sent_at": AT, **kw})


def make_limits(**kw: Any) -> Limits:
    """Make the limits of a small cluster."""
    return Limits(**{"time_s": {"batch": 86_400}, "default_partition": "batch", **kw})


def make_capabilities(**kw: Any) -> Capabilities:
    """Make what a Slurm 22.05 with accounting can do."""
    usual = {
        "name": "slurm",
        "version": (22, 5, 8),
        "cluster": "penstock",
        "has_accounting": True,
    }
    return Capabilities(**{**usual, **kw})


def make_settings(root: Path, **kw: Any) -> Settings:
    """Make the settings of a project in a folder, which becomes one."""
    root.mkdir(parents=True, exist_ok=True)
    (root / PROJECT_FILE).touch()
    return Settings(**{"root": root, "scheduler": "slurm", **kw})
