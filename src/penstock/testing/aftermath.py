"""What became of a project in which processes were killed: the store against witnesses.

The witnesses: a file to which each command tells that it began and that it got to its end; files of
the arms (which task started, which was killed); the spools, read here again; the scheduler's jobs.
"""

import sqlite3
import zipfile
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from penstock.wire import place, spool

POINTS = 3  # that a run tells
OUTPUTS = {"out/model": "weights\n", "out/text": "{run}\n"}
RUNS = "SELECT number, state, coalesce(run.cause, ''), attempt FROM run ORDER BY number"
ATTEMPTS = (
    "SELECT run.number, attempt.id, attempt.number, attempt.restart, token, idx, job_array.job"
    " FROM attempt JOIN run ON run.id = run_id JOIN job_array ON job_array.id = array_id"
)


@dataclass
class Aftermath:
    """What is wrong, in words."""

    runs: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Return all of it."""
        return self.lost + self.doubled + self.wrong


@dataclass(frozen=True)
class Attempt:
    """An attempt of a run, as the store has it."""

    run: int
    id: int
    number: int
    restart: int
    token: str
    index: int
    job: int | None

    def task(self, restart: int) -> str:
        """Return the name of one start of it."""
        return f"{self.job}_{self.index}.{restart}"


def judge(
    root: Path,
    jobs: dict[int, str],
    *,
    runs: int,
    cancelled: Set[int] = frozenset(),
    keeper_died: bool = False,
) -> Aftermath:
    """Judge a project when all is over. ``jobs`` are all that its scheduler ever took."""
    return _Judge(root, jobs, runs, cancelled, keeper_died).judged()


class _Judge:
    def __init__(
        self,
        root: Path,
        jobs: dict[int, str],
        runs: int,
        cancelled: Set[int],
        keeper_died: bool,
    ) -> None:
        self.root, self.jobs, self.runs, self.cancelled = root, jobs, runs, cancelled
        self.keeper_died = keeper_died
        self.found = Aftermath(runs)
        self.started = _tasks(root / "arms" / "started")
        self.killed = _tasks(root / "arms" / "killed")
        self.said = [tuple(line.split()) for line in (root / "witness").read_text().splitlines()]

    def judged(self) -> Aftermath:
        """Judge all of it."""
        with closing(sqlite3.connect(self.root / ".penstock" / "penstock.db")) as self.store:
            self._runs()
            self._jobs()
            self._leftovers()
        return self.found

    # --- runs ---

    def _runs(self) -> None:
        rows = list(self.store.execute(RUNS))
        if [number for number, *_ in rows] != list(range(1, self.runs + 1)):
            self.found.lost.append(f"of {self.runs} runs the store has {[row[0] for row in rows]}")
        attempts: dict[int, list[Attempt]] = {}
        for row in self.store.execute(ATTEMPTS):
            attempts.setdefault(row[0], []).append(Attempt(*row))
        for number, state, cause, tried in rows:
            of_run = attempts.get(number, [])
            if len(of_run) != tried or tried > 1:
                self.found.wrong.append(f"run {number}: {len(of_run)} attempts, {tried} counted")
            self._run(number, (state, cause), of_run[0] if of_run else None)

    def _run(self, number: int, end: tuple[str, str], attempt: Attempt | None) -> None:
        name = f"e/{number}"
        began = [
            (int(restart), job)
            for word, run, restart, job in self.said
            if (word, run) == ("begin", name)
        ]
        ended = {
            int(restart) for word, run, restart, _ in self.said if (word, run) == ("end", name)
        }
        if attempt is None:
            if began or end != ("cancelled", "user") or number not in self.cancelled:
                self.found.lost.append(f"{name} is {end}, with no attempt, and began {began}")
            return
        sealed = {restart for restart, records in self._spools(attempt) if _is_sealed(records)}
        self._once(name, attempt, began, sealed)
        ran = {restart for restart, _ in began} & sealed
        if end not in (right := self._right(attempt, sealed)):
            self._wrong(name, end, right, began)
        if end == ("completed", ""):
            self._whole(name, attempt, ran, ended)

    def _once(
        self, name: str, attempt: Attempt, began: list[tuple[int, str]], sealed: set[int]
    ) -> None:
        """No execution without need: only where the one before was killed, and left no record."""
        restarts = sorted(restart for restart, _ in began)
        if len(set(restarts)) < len(restarts) or {job for _, job in began} - {str(attempt.job)}:
            self.found.doubled.append(f"{name} was executed as {began}, its job is {attempt.job}")
        for restart in restarts:
            if any(lower < restart for lower in sealed):
                self.found.doubled.append(
                    f"{name}.{restart} ran, and {sorted(sealed)} has its record"
                )
            if restart and attempt.task(restart - 1) not in self.killed:
                self.found.doubled.append(
                    f"{name}.{restart} ran, and nobody had killed the one before"
                )
        if len(set(restarts) & sealed) > 1:
            self.found.doubled.append(f"{name}: records of {sorted(set(restarts) & sealed)}")

    def _right(self, attempt: Attempt, sealed: set[int]) -> set[tuple[str, str]]:
        """Return the ends that are true."""
        if sealed:
            return {("completed", "")}
        right = set()
        if attempt.run in self.cancelled:
            right.add(("cancelled", "user"))
        if self.keeper_died and attempt.task(0) not in self.started:
            right.add(("failed", "node"))  # a task that was written down, and never begun
        starts = [restart for restart in range(20) if attempt.task(restart) in self.started]
        if starts and attempt.task(starts[-1]) in self.killed:
            right.add(("failed", "signal"))
        return right

    def _wrong(
        self, name: str, end: tuple[str, str], right: set[tuple[str, str]], began: object
    ) -> None:
        words = f"{name} is {end}, and was {sorted(right)}; it began {began}"
        is_lost = end[0] not in ("completed", "failed", "cancelled") or end[1] == "lost"
        (self.found.lost if is_lost else self.found.wrong).append(words)

    def _whole(self, name: str, attempt: Attempt, ran: set[int], ended: set[int]) -> None:
        """See that a run that is completed has all that it made, once."""
        if not ran & ended:
            self.found.lost.append(f"{name} is completed, and came to its end in {sorted(ended)}")
        for path, text in OUTPUTS.items():
            file = self.root / "runs" / name / path
            if not file.is_file() or file.read_text() != text.format(run=name):
                self.found.lost.append(f"{name} is completed, and its {path} is not there")
        if left := list((self.root / "runs" / name).glob(".penstock-*")):
            self.found.wrong.append(f"{name} is completed, and {left} is left")
        kept = self.store.execute(
            "SELECT path FROM output WHERE attempt_id = ? ORDER BY path", (attempt.id,)
        )
        if [path for (path,) in kept] != sorted(OUTPUTS):
            self.found.wrong.append(f"{name}: its outputs are not those in the store")
        points = dict(
            self.store.execute(
                "SELECT restart, sum(count) FROM chunk WHERE attempt_id = ? GROUP BY restart",
                (attempt.id,),
            )
        )
        if any(many > POINTS for many in points.values()):
            self.found.doubled.append(f"{name}: {points} points by restart, not {POINTS}")
        if any(points.get(restart) != POINTS for restart in ran):
            self.found.lost.append(f"{name}: {points} points by restart, not {POINTS} of {ran}")

    def _spools(self, attempt: Attempt) -> Iterator[tuple[int, list[dict[str, object]]]]:
        folder = self.root / ".penstock" / "arrays" / attempt.token
        if not (folder / place.SPOOLS_FOLDED).exists():
            return  # nothing of it ever ran
        with zipfile.ZipFile(folder / place.SPOOLS_FOLDED) as folded:
            for name in folded.namelist():
                index, restart, _ = name.rpartition("/")[2].split(".", 2)
                if name.endswith((".open", ".done")) and int(index) == attempt.index:
                    yield int(restart), spool.decode(folded.read(name))[0]

    # --- jobs and files ---

    def _jobs(self) -> None:
        """Each array is one job, and each job is of an array."""
        known = dict(self.store.execute("SELECT token, job FROM job_array"))
        for token, job in known.items():
            of = sorted(
                number for number, name in self.jobs.items() if name.startswith(token + ".")
            )
            if len(of) > 1:
                self.found.doubled.append(f"array {token} was sent as {of}")
            elif of != ([] if job is None else [job]):
                self.found.wrong.append(f"array {token} is job {job}, and the scheduler has {of}")

    def _leftovers(self) -> None:
        """No file is left of what was killed."""
        for intent, many in self.store.execute(
            "SELECT intent, count(*) FROM job_array WHERE intent <> 'folded' GROUP BY intent"
        ):
            self.found.wrong.append(f"{many} arrays are {intent} in the end")
        for pattern in (".penstock/arrays/*/spool", ".penstock/arrays/*/log"):
            left = [str(path.relative_to(self.root)) for path in self.root.glob(pattern)]
            if left:
                self.found.wrong.append(f"left: {left}")


def _tasks(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _is_sealed(records: list[dict[str, object]]) -> bool:
    exits = [record for record in records if record["k"] == "exit"]
    return bool(exits) and exits[-1].get("sealed") is True
