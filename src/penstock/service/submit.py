"""Submit: from a file to runs in the store, all or none; then one cycle that sends them."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path

from penstock.errors import LimitReached, SchedulerError, SchedulerMissing, SpecError
from penstock.model.run import Limits, PlannedArray, ReadyRun, StageRow
from penstock.model.spec import Params, Spec, Stage
from penstock.planning import arrays, sweep
from penstock.planning.load import load, renamed
from penstock.reconciler.cycle import Report, cycle
from penstock.reconciler.send import new_token
from penstock.scheduler import script
from penstock.scheduler.protocol import Submission
from penstock.service import image, search
from penstock.service.project import Project
from penstock.staging import code
from penstock.store import submissions
from penstock.store.submissions import NewSubmission, Param, Submitted
from penstock.wire import argv, place


@dataclass(frozen=True)
class Preview:
    """What a submission would do."""

    spec: Spec
    sizes: dict[str, int]  # runs of each stage
    runs: list[tuple[str, Params, list[str]]]  # stage, parameters, command: the first of them
    scripts: list[tuple[str, str]]  # label and text of each array's script
    waiting: int  # runs that wait in the store until the cluster has room


def read_spec(path: Path, *, experiment: str | None = None) -> Spec:
    """Return the spec of a file. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", file=str(path), hint="is the path right?"
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError("is not UTF-8 text", file=str(path), hint="save it as UTF-8") from error
    spec = load(text, file=str(path), folder=str(path.resolve().parent))
    return renamed(spec, experiment) if experiment else spec


def preview(project: Project, spec: Spec, *, show: int | None = None) -> Preview:
    """Return what a submission would do, with so many of its runs; change nothing."""
    limits = project.world.scheduler.limits()
    spec = image.located(project, spec)
    check(project, spec, limits)
    rows = {n: StageRow(n, stage, None, spec.folder) for n, stage in enumerate(spec.stages)}
    planned = list(arrays.plan(_would_be_ready(spec), rows, limits, limits.room))
    shown = islice(all_runs(spec), show)
    sizes = {stage.name: sweep.size(stage.sweep) for stage in spec.stages}
    return Preview(
        spec=spec,
        sizes=sizes,
        runs=[
            (spec.stages[n].name, params, argv.render(list(spec.stages[n].command), {**params}))
            for n, params in shown
        ],
        scripts=[_script(project, spec, one, number) for number, one in enumerate(planned)],
        waiting=sum(sizes.values()) - sum(len(one.runs) for one in planned),
    )


def _would_be_ready(spec: Spec) -> Iterator[ReadyRun]:
    for number, (stage, _) in enumerate(all_runs(spec), 1):
        yield ReadyRun(number, "", stage, spec.experiment, number, 1, "")


def _script(project: Project, spec: Spec, one: PlannedArray, number: int) -> tuple[str, str]:
    token = f"ps-dry-run-{number}"
    stage = spec.stages[one.stage]
    submission = _submission(project, spec, stage, token, len(one.runs), one.throttle)
    return submission.label, _render(project, submission)


def _render(project: Project, submission: Submission) -> str:
    return script.render(
        submission,
        python=project.settings.python,
        runner=str(project.settings.home / "runner.zip"),
        templates=project.settings.templates,
    )


def _submission(
    project: Project, spec: Spec, stage: Stage, token: str, size: int, throttle: int | None
) -> Submission:
    folder = project.settings.home / "arrays" / token
    return Submission(
        token=token,
        label=arrays.label(spec.experiment, stage.name),
        size=size,
        throttle=throttle,
        request=stage.request,
        folder=str(folder),
        log=str(folder / place.SLURM_LOG),
    )


def all_runs(spec: Spec) -> Iterator[tuple[int, Params]]:
    """Yield the position of the stage and the parameters of every run, in order."""
    for number, stage in enumerate(spec.stages):
        yield from zip(repeat(number), sweep.expand(stage.sweep))


def _to_be_stored(spec: Spec) -> Iterator[tuple[int, tuple[Param, ...]]]:
    """Yield the same as the store keeps it."""
    for number, stage in enumerate(spec.stages):
        yield from zip(repeat(number), sweep.combine(stage.sweep, submissions.param))


def check(project: Project, spec: Spec, limits: Limits | None) -> None:
    """Ask the scheduler whether it would take each stage, with nothing stored.

    Raises Refused, and UsageError or SettingsError where no script can be made.
    """
    for stage in spec.stages:
        if limits is not None:
            arrays.check_time(stage.request, limits)
        submission = _submission(project, spec, stage, new_token(), 1, None)
        _render(project, submission)
        try:
            project.world.scheduler.check(submission)
        except LimitReached:
            continue  # the runs wait in the store until there is room, or the scheduler is back


def limits_of(project: Project) -> Limits | None:
    """Return the limits; None where the scheduler does not tell them now."""
    try:
        return project.world.scheduler.limits()
    except SchedulerMissing:
        raise
    except SchedulerError:
        return None


def submit(project: Project, spec: Spec, limits: Limits | None) -> Submitted:
    """Store a submission: all of its runs, READY, or nothing.

    Raises SpecError, Refused, StagingError, StoreError. What was returned cannot be lost.
    """
    world = project.world
    settings = project.here
    spec = image.located(project, spec)
    check(project, spec, limits)
    archive = code.archive(
        Path(spec.folder),
        globs=spec.code,
        home=settings.home,
        exclude=[settings.home, settings.results, *_images(spec)],
    )
    _deliver(project, archive)
    new = NewSubmission(
        uid=secrets.token_hex(8),
        project=settings.project_name,
        experiment=spec.experiment,
        user=project.user,
        cluster=world.cluster,
        spec_text=spec.text,
        folder=spec.folder,
        file=spec.file,
        code=archive.digest,
        # What this shell finds is not what a cluster elsewhere has.
        stages=spec.stages if world.alias else tuple(_as_called(stage) for stage in spec.stages),
        tags=spec.tags,
    )
    with project.store.write() as tx:
        return submissions.insert(tx, new, _to_be_stored(spec), project.clock.now())


def _images(spec: Spec) -> list[Path]:
    """Return images, which are no code; relative ones were made absolute."""
    found = [stage.environment.apptainer for stage in spec.stages]
    return [Path(path) for path in found if path]


def _deliver(project: Project, archive: code.Archive) -> None:
    """Bring the code to where the runs are, if it is not there."""
    there = str(project.settings.home / "code" / archive.path.name)
    if project.settings.home != project.here.home:
        transport = project.world.transport
        if transport.digest(there) is None:  # it is named by its content, and written whole
            transport.put(there, archive.path.read_bytes())


# The programs that a command finds are those of the moment of submit, whoever sends it and when:
# a daemon's or cron's are others.
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV")


def _as_called(stage: Stage) -> Stage:
    # What an image has is its own; of this shell it takes where apptainer is.
    names = ("PATH",) if stage.environment.apptainer else KEPT_VARIABLES
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return replace(stage, env=tuple({**kept, **dict(stage.env)}.items()))


def send(project: Project, limits: Limits | None) -> Report:
    """Send what is ready: one cycle, by limits that were told just now."""
    if project.world.alias:
        search.on(project, project.world.alias)
    return cycle(project.world, look=False, plan=True, limits=limits)
