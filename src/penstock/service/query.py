"""Ask the record: runs by a filter, one run in whole, how experiments stand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from penstock.errors import NotFoundError
from penstock.model.run import RunRow
from penstock.model.state import FINAL, State
from penstock.service import belief
from penstock.service.project import Project
from penstock.service.upkeep import pace_of
from penstock.store import detail, resolutions, search, upcoming
from penstock.store.detail import AttemptRow, EvidenceRow, Group, MetricRow, Origin, OutputRow
from penstock.store.resolutions import Sending
from penstock.store.upcoming import Unknown

PLAIN = re.compile(r"(?P<experiment>[\w.-]+)(/(?P<number>[0-9]+))?")  # a name alone


@dataclass(frozen=True)
class Detail:
    """All that is known of a run."""

    run: RunRow
    folder: Path  # where its results go
    attempts: tuple[AttemptRow, ...]
    metrics: tuple[MetricRow, ...]
    outputs: tuple[OutputRow, ...]  # of the last attempt
    origin: Origin
    evidence: tuple[EvidenceRow, ...]

    @property
    def last(self) -> AttemptRow | None:
        """Return the last attempt; None before the first."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True)
class Silence:
    """Runs that nobody has heard of for a while, and what becomes of them."""

    runs: int
    since: datetime  # of the first
    example: str  # one of them
    lost_at: datetime  # when the first of them is called lost, at the earliest
    unanswered: str  # who has to answer before that: "queue", "accounting" or nobody


@dataclass(frozen=True)
class Standing:
    """How the runs of an experiment stand."""

    experiment: str
    states: dict[State, int]
    waiting: tuple[Group, ...] = ()
    ended: tuple[Group, ...] = ()
    asking: tuple[Sending, ...] = ()  # arrays of which only their user can know what became
    unknown: Silence | None = None

    @property
    def total(self) -> int:
        """Return how many runs there are."""
        return sum(self.states.values())

    @property
    def over(self) -> int:
        """Return how many have ended."""
        return sum(many for state, many in self.states.items() if state in FINAL)

    @property
    def is_over(self) -> bool:
        """Return whether all have ended."""
        return self.over == self.total


def standings(project: Project, experiment: str = "", *, why: bool = True) -> list[Standing]:
    """Return how experiments stand, in the order in which they were made.

    Raises NotFoundError where one is named that is not there.
    """
    name = project.settings.project_name
    with project.store.read() as view:
        counts = detail.counts(view, name, experiment)
        waiting = detail.waiting(view, name, experiment) if why else []
        ended = detail.ended(view, name, experiment) if why else []
        sending = resolutions.sending(view, user=project.user) if why else []
        silent = upcoming.unknown(view, name, before=_silent(project)) if why else []
    if experiment and not counts:
        raise missing(project, experiment)
    names = dict.fromkeys(group.experiment for group in counts)
    return [
        Standing(
            one,
            {group.state: group.count for group in counts if group.experiment == one},
            tuple(group for group in waiting if group.experiment == one),
            tuple(group for group in ended if group.experiment == one),
            tuple(it for it in sending if _asks(it, name, one)),
            _silence(project, [it for it in silent if it.experiment == one]),
        )
        for one in names
    ]


def silence(project: Project, *, owner: str) -> Silence | None:
    """Return which of somebody's runs nobody has heard of."""
    name = project.settings.project_name
    with project.store.read() as view:
        found = upcoming.unknown(view, name, before=_silent(project))
    return _silence(project, [one for one in found if one.owner == owner])


def _silence(project: Project, found: Sequence[Unknown]) -> Silence | None:
    if not found:
        return None
    ends = []
    for one in found:
        pace = pace_of(project, one.cluster, one.owner)
        settings = project.settings.at(one.cluster)
        lost_at = belief.lost_at(settings, pace, one.silent_at, None)
        ends.append((lost_at, pace.unanswered))
    lost_at, unanswered = min(ends)
    return Silence(
        sum(one.runs for one in found),
        min(one.since for one in found),
        f"{found[0].experiment}/{found[0].example}",
        lost_at,
        unanswered,
    )


def _silent(project: Project) -> dict[str, datetime]:
    """Return since when a run of a cluster must be silent to be told of: a record may come late."""
    settings, now = project.settings, project.clock.now()
    return {
        name: now - timedelta(seconds=settings.at(name).record_grace_s)
        for name in ("", *settings.clusters)
    }


def _asks(array: Sending, project: str, experiment: str) -> bool:
    is_of = array.project == project and array.experiment == experiment
    return is_of and bool(array.question) and not array.is_answered


def missing(project: Project, name: str) -> NotFoundError:
    """Return the error for a run or an experiment that is not there."""
    with project.store.read() as view:
        known = detail.counts(view, project.settings.project_name)
    names = list(dict.fromkeys(group.experiment for group in known))
    return NotFoundError(
        f"there is no run or experiment {name!r} in {project.settings.root}",
        hint=f"there are: {', '.join(names[-8:])}" if names else "nothing was submitted here yet",
    )


def runs(
    project: Project, words: str = "", *, sort: str = "", limit: int | None = None
) -> list[RunRow]:
    """Return the runs that a filter lets through; the name of an experiment or a run is one, too.

    Raises UsageError for a filter or an order that cannot be read, NotFoundError for such a name.
    """
    with project.store.read() as view:
        found = search.runs(
            view, _filter(words), project=project.settings.project_name, sort=sort, limit=limit
        )
    if not found and PLAIN.fullmatch(words.strip()):
        raise missing(project, words.strip())
    return found


def count(project: Project, words: str = "", *, most: int) -> int:
    """Return how many runs a filter lets through; ``most`` and one: there are more."""
    name = project.settings.project_name
    with project.store.read() as view:
        return search.count(view, _filter(words), project=name, most=most)


def _filter(words: str) -> str:
    name = PLAIN.fullmatch(words.strip())
    if name is None:
        return words
    return f"{'run' if name['number'] else 'experiment'} = {words.strip()}"


def run(project: Project, name: str) -> RunRow:
    """Return the run of a name (``experiment/7``) or uid. Raises NotFoundError."""
    with project.store.read() as view:
        found = search.run(view, name, project=project.settings.project_name)
    if found is None:
        raise missing(project, name)
    return found


def whole(project: Project, name: str) -> Detail:
    """Return all that is known of a run. Raises NotFoundError."""
    found = run(project, name)
    with project.store.read() as view:
        attempts = detail.attempts(view, found.id)
        return Detail(
            run=found,
            folder=project.settings.results / found.name,
            attempts=tuple(attempts),
            metrics=tuple(detail.metrics(view, found.id)),
            outputs=tuple(detail.outputs(view, attempts[-1].id)) if attempts else (),
            origin=detail.origin(view, found.id),
            evidence=tuple(detail.evidence(view, found.id)),
        )


def as_data(project: Project, one: RunRow) -> dict[str, Any]:
    """Return a run as JSON has it; the keys are documented, and stay."""
    return {
        "run": one.name,
        "uid": one.uid,
        "experiment": one.experiment,
        "number": one.number,
        "stage": one.stage,
        "state": one.state,
        "cause": one.cause,
        "attempt": one.attempt,
        "params": one.params,
        "tags": one.tags,
        "metrics": {name: _finite(value) for name, value in one.metrics.items()},
        "created_at": one.created_at,
        "started_at": one.started_at,
        "ended_at": one.ended_at,
        "folder": str(project.settings.results / one.name),
    }


def _finite(value: float | None) -> float | str | None:
    """Return a number as JSON can say it: NaN and the infinities are text."""
    if value is None or value - value == 0:
        return value
    return str(value)
