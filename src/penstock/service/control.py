"""What users ask of runs that exist: cancel them."""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import UsageError
from penstock.model.state import FINAL
from penstock.service import query
from penstock.service.project import Project
from penstock.store import detail, directives


@dataclass(frozen=True)
class Chosen:
    """Runs that a command is about: those that are not over, and how many are."""

    ids: tuple[int, ...]
    names: tuple[str, ...]
    over: int


def choose(project: Project, targets: Sequence[str], submission: str = "") -> Chosen:
    """Return the runs that names mean: a run, an experiment, or the uid of a submission.

    Raises NotFoundError for a name that means nothing, UsageError for runs of somebody else.
    """
    found: dict[int, detail.Member] = {}
    for target in targets:
        found |= {run.id: run for run in _meant(project, target)}
    if submission:
        with project.store.read() as view:
            rows = detail.members(view, project.settings.project_name, submission=submission)
        if not rows:
            raise query.missing(project, submission)
        found |= {run.id: run for run in rows}
    live = [run for run in found.values() if not run.is_over]
    for run in live:
        if run.owner != project.user:
            raise UsageError(
                f"{run.name} is a run of {run.owner}, who alone may cancel it",
                hint="nothing was cancelled; name your own runs only",
            )
    names = tuple(run.name for run in live)
    return Chosen(tuple(run.id for run in live), names, len(found) - len(live))


def _meant(project: Project, target: str) -> list[detail.Member]:
    with project.store.read() as view:
        rows = detail.members(view, project.settings.project_name, experiment=target)
    if rows:
        return rows
    run = query.run(project, target)
    with project.store.read() as view:
        owner = detail.origin(view, run.id).owner
    return [detail.Member(run.id, run.experiment, run.number, owner, run.state in FINAL)]


def cancel(project: Project, chosen: Chosen) -> int:
    """Ask for runs to be cancelled; a cycle carries it out. Return how many were asked for anew."""
    with project.store.write() as tx:
        return directives.insert(
            tx, directives.CANCEL, chosen.ids, user=project.user, now=project.clock.now()
        )
