"""Runners of a simulation: they keep the rules of the real one, on a model's files and in its time.

What a runner does to files is what ``wire.claim`` and ``runner.element`` do: claim or take over,
open, the command, the exit record, close. Its steps take no time here; where a real one may be
between two of them when something happens, that is drawn.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from penstock.runner.verdict import Seen, exit_code, verdict
from penstock.testing.files import MemoryFiles
from penstock.testing.jobs import Plan, Process
from penstock.testing.model import Cluster
from penstock.wire import claim, over, place, spool

TERM, KILL = 15, 9
CLAIMS = FENCES = True  # a check of the check may turn them off
BEAT_S = 200  # seldom, for each is read and stored; yet a run that beats is never called lost
NOTHING = Plan(0.1, claim.TAKEN)  # a runner that found it may not run


@dataclass
class Execution:
    """The command of an element, run once: what really happened."""

    folder: str
    index: int
    job: int
    restart: int
    run: str  # uid
    plan: Plan  # of the command
    began_at: float
    heard_at: float  # when its runner last told that it lives
    is_running: bool = True
    is_termed: bool = False
    recorded_at: float | None = None  # when it closed a sealed record
    code: int | None = None  # of that
    is_unclosed: bool = False  # it wrote one, and lost power before it was closed
    is_unsealed: bool = False  # it wrote one of a signal's, and lost power


@dataclass
class Element:
    """The files of one element."""

    owner: int
    restarts: dict[int, str] = field(default_factory=dict)  # restart → path of its spool
    executions: list[Execution] = field(default_factory=list)


class Runners:
    """All runners of a cluster. ``decide`` draws what a command does."""

    def __init__(
        self, cluster: Cluster, files: MemoryFiles, decide: Callable[[Process], Plan], seed: int
    ) -> None:
        self.cluster, self.files, self.decide = cluster, files, decide
        self.random = random.Random(seed)
        self.executions: list[Execution] = []
        self._elements: dict[tuple[str, int], Element] = {}
        cluster.behave = self.begin
        cluster.on_end = self.end
        cluster.on_signal = self.signal

    # --- begin ---

    def begin(self, process: Process) -> Plan:
        """Do what the runner does before the command; return how its own process will end."""
        place_of = _place(process)
        if place_of is None:
            return Plan(1, 0)  # somebody else's job
        folder, index = place_of
        plan = self.decide(process)
        if plan.is_launch_failure:
            return plan
        entry = self._entry(folder, index)
        element = self._elements.setdefault(place_of, Element(process.array))
        is_late = process.restart <= max(element.restarts, default=-1)
        is_taken = element.owner != process.array or is_late
        told = self.files.files.get(f"{folder}/{place.OVER}")
        is_over = told is not None and over.has(told, index)
        if entry is None or is_over or (is_taken and CLAIMS):
            return NOTHING
        self._take_over(element)
        before = self._sealed(element)
        self._open(element, folder, index, process)
        if before is not None:
            self._close(element, process.restart, dict(before, at=self._now()))
            element.executions[-1].recorded_at = self.cluster.now
            element.executions[-1].code = int(str(before["code"]))
            return replace(NOTHING, code=int(str(before["code"])))
        execution = Execution(
            folder,
            index,
            process.array,
            process.restart,
            str(entry["uid"]),
            plan,
            began_at=self.cluster.now,
            heard_at=self.cluster.now,
        )
        element.executions.append(execution)
        self.executions.append(execution)
        process.data = execution
        return _of_runner(plan)

    def _entry(self, folder: str, index: int) -> dict[str, object] | None:
        data = self.files.files.get(f"{folder}/{place.MANIFEST}")
        if data is None:
            return None  # the array has ended
        header, rest = data.split(b"\n", 1)
        size = int(json.loads(header)["size"])
        entry: dict[str, object] = json.loads(rest.split(b"\n")[size + index])
        return entry

    def _take_over(self, element: Element) -> None:
        for restart, path in element.restarts.items():
            if path.endswith(".open"):
                element.restarts[restart] = closed = _closed(path)
                self.files.rename(path, closed)

    def _sealed(self, element: Element) -> dict[str, object] | None:
        for restart in sorted(element.restarts, reverse=True):
            records, _, _ = spool.decode(self.files.files[element.restarts[restart]])
            exits = [record for record in records if record["k"] == "exit"]
            if exits and exits[-1]["sealed"]:
                return exits[-1]
        return None

    def _open(self, element: Element, folder: str, index: int, process: Process) -> None:
        path = f"{folder}/{place.spool(index, process.restart)}"
        element.restarts[process.restart] = path
        self._tell(
            path,
            k="open",
            token=folder.rsplit("/", 1)[-1],
            index=index,
            restart=process.restart,
            job=f"{process.array}_{index}",
            node=process.nodes[0],
            pid=1,
        )

    # --- during ---

    def beat(self) -> None:
        """Tell of those that run that they do, as each does by itself; before somebody looks."""
        for one in self.executions:
            if one.is_running and self.cluster.now - one.heard_at >= BEAT_S:
                one.heard_at = self.cluster.now
                self._tell(self._path(one), k="beat", peak=1 << 20, cpu=0.1)

    def signal(self, process: Process, number: int) -> None:
        """Note a signal, as the runner does."""
        if number != TERM or not isinstance(process.data, Execution):
            return
        process.data.is_termed = True
        self._tell(self._path(process.data), k="term", signal=number)

    # --- end ---

    def end(self, process: Process) -> None:
        """Do what the runner does after the command; nothing where it was killed with it."""
        execution = process.data
        if not isinstance(execution, Execution):
            return
        execution.is_running = False
        if process.was_lost or process.signal == KILL:
            if process.was_lost and self.random.random() < 0.2:  # it had just ended
                record = self._exit(execution)
                self._tell(self._path(execution), **record)
                execution.is_unclosed = bool(record["sealed"])
                execution.is_unsealed = not record["sealed"] and not execution.is_termed
            return
        element = self._elements[execution.folder, execution.index]
        record = self._exit(execution)
        if max(element.restarts) != execution.restart and FENCES:
            self._fenced(execution, record)
            return
        self._close(element, execution.restart, record)
        if record["sealed"]:
            execution.recorded_at, execution.code = self.cluster.now, execution.plan.code

    def _fenced(self, execution: Execution, record: dict[str, object]) -> None:
        """End as one that a later restart has taken over: perhaps killed before it knows."""
        path, chance = self._path(execution), self.random.random()
        if chance < 0.5:
            self._tell(path, **record)
        if chance < 0.25 or chance >= 0.5:
            self._tell(path, **dict(record, code=None, signal=KILL, sealed=False))

    def _exit(self, execution: Execution) -> dict[str, object]:
        plan = execution.plan
        code, number = (None, plan.signal) if plan.signal else (plan.code, None)
        if execution.is_termed:
            code, number = (None, TERM) if plan.term_code is None else (plan.term_code, None)
        elif plan.is_oom:
            code, number = None, KILL
        return dict(
            verdict(Seen(code, number, execution.is_termed, int(plan.is_oom))),
            k="exit",
            peak=1 << 20,
            cpu=0.1,
            wall=1.0,
            log=[0, 0],
        )

    def _close(self, element: Element, restart: int, record: dict[str, object]) -> None:
        path = element.restarts[restart]
        self._tell(path, **record)
        element.restarts[restart] = closed = _closed(path)
        self.files.rename(path, closed)

    def _path(self, execution: Execution) -> str:
        return self._elements[execution.folder, execution.index].restarts[execution.restart]

    def _now(self) -> float:
        return round(self.cluster.now, 3)

    def _tell(self, path: str, **record: object) -> None:
        self.files.append(path, spool.encode(dict(record, at=self._now())))


def _of_runner(plan: Plan) -> Plan:
    """Return how the runner ends whose command ends so; SIGKILL is of all that runs."""
    if plan.signal == KILL:
        return plan
    number = KILL if plan.is_oom else plan.signal  # the runner outlives its command
    term = plan.term_code if plan.term_code is not None else 128 + TERM
    code = exit_code({"code": None if number else plan.code, "signal": number})
    return replace(plan, code=code, signal=0, is_oom=False, term_code=term)


def _closed(path: str) -> str:
    return path[: -len("open")] + "done"


def _place(process: Process) -> tuple[str, int] | None:
    """Return the array's folder, the last word of the script that was sent, and the index."""
    words = process.job.options.script.decode().split()
    folder = words[-1].strip("'\"") if words else ""
    if "/arrays/" not in folder or process.index is None:
        return None
    return folder, process.index
