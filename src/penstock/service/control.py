"""What users ask of runs that exist: cancel them."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    Raises NotFoundError for a name that means nothing.
    """
    found: dict[int, tuple[str, bool]] = {}
    for target in targets:
        for run in _meant(project, target):
            found[run.id] = (run.name, run.is_over)
    if submission:
        with project.store.read() as view:
            rows = detail.members(view, project.settings.project_name, submission=submission)
        if not rows:
            raise query.missing(project, submission)
        found |= {run.id: (run.name, run.is_over) for run in rows}
    live = {key: name for key, (name, is_over) in found.items() if not is_over}
    return Chosen(tuple(live), tuple(live.values()), len(found) - len(live))


def _meant(project: Project, target: str) -> list[detail.Member]:
    with project.store.read() as view:
        rows = detail.members(view, project.settings.project_name, experiment=target)
    if rows:
        return rows
    run = query.run(project, target)
    return [detail.Member(run.id, run.experiment, run.number, run.state in FINAL)]


def cancel(project: Project, chosen: Chosen) -> int:
    """Ask for runs to be cancelled; a cycle carries it out. Return how many were asked for anew."""
    with project.store.write() as tx:
        return directives.insert(
            tx, directives.CANCEL, chosen.ids, user=project.user, now=project.clock.now()
        )
