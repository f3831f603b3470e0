"""What runs wrote: while they run, after their files were folded, and through a requeue."""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from penstock.errors import NotFoundError, StoreError
from penstock.model.run import Intent
from penstock.model.state import FINAL, State
from penstock.service import query
from penstock.service.project import Project
from penstock.service.reasons import LIMIT, SENDING, UNSENT, Who, explain
from penstock.service.upkeep import freshen
from penstock.store.detail import AttemptRow
from penstock.transport.protocol import Transport
from penstock.wire import place

NAME = re.compile(r"(?P<index>[0-9]+)\.(?P<restart>[0-9]+)\.log")
STEP_S = 0.5  # between two looks at a file that may grow
FAR_STEP_S = 5.0  # … each of which is a command there
FRESHEN = timedelta(seconds=2)


@dataclass(frozen=True)
class Log:
    """The log of one restart: a file, or a file in a zip once its array was folded."""

    folder: Path  # of the array
    index: int
    restart: int

    @property
    def path(self) -> Path:
        """Return where the file is while the array lives."""
        return self.folder / place.log(self.index, self.restart)

    def read(self, offset: int = 0) -> bytes:
        """Return what stands beyond an offset."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read()
        except FileNotFoundError:
            return self._folded()[offset:]

    def _folded(self) -> bytes:
        member = place.log(self.index, self.restart).removeprefix(place.LOGS + "/")
        try:
            with zipfile.ZipFile(self.folder / place.LOGS_FOLDED) as archive:
                return archive.read(member)
        except (FileNotFoundError, KeyError):
            return b""
        except (OSError, zipfile.BadZipFile) as error:
            raise StoreError(
                f"{self.folder / place.LOGS_FOLDED} cannot be read: {error}",
                hint="was it copied in part? the runs themselves are on the record",
            ) from error


@dataclass(frozen=True)
class FarLog(Log):
    """A log on a cluster that is reached by SSH."""

    transport: Transport

    def read(self, offset: int = 0) -> bytes:
        """Return what stands beyond an offset."""
        known = {self.restart: offset}
        return dict(self.transport.logs(str(self.folder), self.index, known)).get(self.restart, b"")


def logs(project: Project, attempt: AttemptRow, cluster: str = "") -> list[Log]:
    """Return the logs of an attempt, one for each restart that wrote, in order."""
    if cluster in project.settings.clusters:
        return _far_logs(project.on(cluster), attempt)
    folder = project.settings.home / "arrays" / attempt.token
    shard = (folder / place.log(attempt.index, 0)).parent
    names = [path.name for path in shard.glob(f"{attempt.index}.*.log")]
    if not names:
        names = _folded_names(folder / place.LOGS_FOLDED)
    found = (NAME.fullmatch(name) for name in names)
    restarts = {
        int(match["restart"]) for match in found if match and int(match["index"]) == attempt.index
    }
    return [Log(folder, attempt.index, restart) for restart in sorted(restarts)]


def _far_logs(there: Project, attempt: AttemptRow) -> list[Log]:
    """Return the logs of an attempt on another cluster. There is one at least once it has begun."""
    transport = there.world.transport
    folder = there.settings.home / "arrays" / attempt.token
    restarts = range(attempt.restart + 1) if attempt.started_at is not None else ()
    return [FarLog(folder, attempt.index, restart, transport) for restart in restarts]


def _folded_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.rpartition("/")[2] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


def chosen(whole: query.Detail, number: int | None) -> AttemptRow:
    """Return an attempt by its number, else the last. Raises NotFoundError, which says why."""
    name = whole.run.name
    if whole.last is None:
        raise NotFoundError(f"{name} has not started: {why_waiting(whole)}", hint=_HINT)
    if number is None:
        return whole.last
    for attempt in whole.attempts:
        if attempt.number == number:
            return attempt
    raise NotFoundError(f"{name} has no attempt {number}", hint=f"it has 1 to {whole.last.number}")


_HINT = "`penstock logs -f` waits for it; `penstock show` tells all that is known"


def why_waiting(whole: query.Detail) -> str:
    """Return in plain words why a run has written nothing."""
    state, last = whole.run.state, whole.last
    if state in FINAL:
        return f"{state} ({whole.run.cause})"
    if last is None:
        return "it waits to be sent: `penstock tick` or the daemon does that"
    if state in (State.QUEUED, State.HELD):
        if last.array_job is None:
            return explain(_unsent(last)).words + (
                f" ({last.array_detail})" if last.array_detail else ""
            )
        reason = explain(last.reason)
        end = f"; it {reason.who}" if reason.who is Who.NEVER else ""
        return f"job {last.array_job} is in the queue: {reason.words}{end}"
    return "it runs, and has written nothing yet"


def _unsent(last: AttemptRow) -> str:
    if last.intent is Intent.SENDING:
        return SENDING
    return LIMIT if last.array_detail else UNSENT


@dataclass(frozen=True)
class Words:
    """A piece of a log that is followed."""

    attempt: int
    restart: int
    data: bytes


def follow(project: Project, name: str, number: int | None = None) -> Iterator[Words]:
    """Yield what a run writes until it has ended, through requeues and further attempts.

    ``Words`` without data say that time has passed, so that the caller can tell why nothing comes.
    """
    read: dict[tuple[int, int], int] = {}
    fresh_at = project.clock.now() - FRESHEN
    while True:
        if project.clock.now() - fresh_at >= FRESHEN:
            freshen(project)
            fresh_at = project.clock.now()
        whole = query.whole(project, name)
        is_over = whole.run.state in FINAL
        if whole.last is not None:
            yield from _news(project, chosen(whole, number), whole.origin.cluster, read)
        if is_over:
            return
        yield Words(whole.run.attempt, 0, b"")
        is_far = whole.origin.cluster in project.settings.clusters
        project.clock.sleep(FAR_STEP_S if is_far else STEP_S)


def _news(
    project: Project, attempt: AttemptRow, cluster: str, read: dict[tuple[int, int], int]
) -> Iterator[Words]:
    for log in logs(project, attempt, cluster):
        place_ = (attempt.number, log.restart)
        data = log.read(read.get(place_, 0))
        if data:
            read[place_] = read.get(place_, 0) + len(data)
            yield Words(attempt.number, log.restart, data)
