"""Slurm by its commands. Each verb says what it costs the controller, in RPCs (``sdiag``)."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from penstock.clock import Clock, SystemClock, stamp
from penstock.errors import NoRoom, SchedulerError, SchedulerMissing, TransportError, Unreachable
from penstock.model.evidence import Poll
from penstock.model.run import Capabilities, Limits
from penstock.scheduler import config, held, parse, reply, room, sibling
from penstock.scheduler.ahead import Ahead
from penstock.scheduler.expression import spelled
from penstock.scheduler.memory import Memory
from penstock.scheduler.options import options
from penstock.scheduler.protocol import Submission
from penstock.scheduler.seldom import SERVES_S, Seldom
from penstock.transport.protocol import Finished, Transport

# sbatch itself sleeps and asks again for two minutes where MaxJobCount is reached.
SUBMIT_TIMEOUT_S = 180
ACCOUNTING_TIMEOUT_S = 120
REMEMBERED_S = 3600
MET_LIMIT = "a submit limit was met"
AT_ONCE = 1000  # ids of one scancel or sacct: one argument may have 128 KiB
# Without -s sacct shows no refused, and by it alone no running job; so `find` asks both ways.
EVERY_STATE = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S,TO"
# Of jobs that are gone: cancelling them is no error.
GONE = re.compile(r"Invalid job id specified|already (completing|finished)|has already finished")
PARTITIONS = ("scontrol", "--oneliner", "show", "partition")
VERSION = ("sbatch", "--version")
FIELDS = ("sacct", "--helpformat")
QUEUE = ("squeue", "--me", "--all", "--states=all", f"--format={parse.QUEUE_FORMAT}")
ELSEWHERE = tuple(sibling.FEDERATION if word == "--all" else word for word in QUEUE)
WHO = ("id", "-un")
DISABLED = "accounting storage is disabled"  # what sacct says where there is none
EMPTY_SCRIPT = b"#!/bin/sh\n"

Item = TypeVar("Item")


class SlurmScheduler:
    """Ask and tell Slurm over a transport."""

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock | None = None,
        memory: Path | None = None,
        way: str = "",
        accounting_lag_s: int = 60,
    ) -> None:
        """``memory`` is a folder for what is slow to ask and seldom changes.

        ``way`` names how the transport reaches Slurm; with it the configuration is remembered too.
        """
        self._way = way
        self._lag_s = accounting_lag_s
        self._transport = Ahead(transport)
        self._clock = clock or SystemClock()
        self._folder = memory
        self._met_limit = False
        self._fields: frozenset[str] | None = None  # of sacct; None: it has not answered yet
        self._is_first = True
        self._told: tuple[object, Capabilities] | None = None  # and of what they were made

    def capabilities(self) -> Capabilities:
        """Cost: 2 RPCs, once: the configuration, and a ping that scontrol adds.

        Where the controller is away it is what it was last: so the runs' own files can be read.
        Where sacct does not answer (slurmdbd is down: not even its help) there is an accounting,
        until it is heard that there is none.
        """
        version, configured = self._version, self._config
        if self._is_first:
            self._is_first = False
            with suppress(SchedulerError):
                self._history_fields()
        has_accounting = self._fields is None or bool(self._fields)
        made_of = configured, has_accounting
        if self._told is None or self._told[0] != made_of:
            can = Capabilities(
                name="slurm",
                version=version,
                cluster=configured.get("ClusterName", ""),
                has_accounting=has_accounting,
                min_job_age_s=_number(configured.get("MinJobAge", ""), 300),
                accounting_lag_s=self._lag_s,
            )
            self._told = made_of, can
        return self._told[1]

    @cached_property
    def _version(self) -> tuple[int, ...]:
        return parse.version(self._seldom(VERSION, parse.version))

    def hear_version(self, said: str) -> None:
        """Take what ``sbatch --version`` has said already, if it did."""
        if version := parse.version(said):
            self._version = version

    def _history_fields(self) -> frozenset[str]:
        """Return the fields that sacct knows; none where there is no accounting.

        Raises SchedulerError where it does not answer; then it is asked again.
        """
        if self._fields is None:
            self._fields = self._ask_fields()
        return self._fields

    def _ask_fields(self) -> frozenset[str]:
        if self._config.get("AccountingStorageType", "").endswith(("none", "(null)")):
            return frozenset()
        try:
            return parse.fields(self._seldom(FIELDS, parse.fields))
        except SchedulerError as error:
            if isinstance(error, SchedulerMissing) or DISABLED in error.what:
                return frozenset()
            raise

    @cached_property
    def _configuration(self) -> config.Config:
        last = None
        if self._folder is not None and self._way:
            path = self._folder / f"slurm.config.{os.getuid()}"
            memory = Memory(path, for_s=math.inf, now=lambda: stamp(self._clock.now()))
            last = config.Last(memory, self._way)
        return config.Config(lambda: self._seldom(config.ASK, config.read), last, self._clock.now)

    @cached_property
    def _seldom(self) -> Seldom:
        """Ask what seldom changes: far away, as any process was told it lately."""
        memory = None
        if self._folder is not None and not self._way:
            path = self._folder / f"slurm.seldom.{os.getuid()}"
            memory = Memory(path, for_s=SERVES_S, now=lambda: stamp(self._clock.now()))
        return Seldom(self._transport, self._ask, memory)

    @property
    def _config(self) -> dict[str, str]:
        return self._configuration.known()

    def limits(self) -> Limits:
        """Cost: 2 RPCs; at first 2 more; once a limit was met 2 queries of slurmdbd an hour."""
        self._configuration.confirm()  # what is sent keeps to the limits of today
        with self._transport.asking(self._unknown()):
            found = self._limits()
            with suppress(SchedulerError):
                self.capabilities()  # they are wanted next, and their answers are here
            return found

    def _unknown(self) -> Iterator[tuple[str, ...]]:
        """Yield what limits are made of, and at first what is asked only once."""
        yield PARTITIONS
        if not self._configuration.is_known:
            yield config.ASK
        once = {"_version": VERSION, "_user": WHO}
        yield from (argv for name, argv in once.items() if name not in self.__dict__)
        if self._is_first:
            yield FIELDS

    def _limits(self) -> Limits:
        most = re.search(r"\bmax_array_tasks=(\d+)", self._config.get("SchedulerParameters", ""))
        shown = self._ask(*PARTITIONS).out
        partitions = list(map(room.pairs, filter(None, shown.splitlines())))
        times = {row.get("PartitionName", ""): row.get("MaxTime", "") for row in partitions}
        defaults = [row["PartitionName"] for row in partitions if row.get("Default") == "YES"]
        return Limits(
            max_array_size=_number(self._config.get("MaxArraySize", ""), 1001),
            max_array_tasks=int(most[1]) if most else None,
            room=self._room(),
            time_s={name: time for name, text in times.items() if (time := parse.duration(text))},
            default_partition=defaults[0] if defaults else None,
        )

    def _room(self) -> int | None:
        """Return how many more tasks the user may submit; None where that is not known."""
        enforced = self._config.get("AccountingStorageEnforce", "")
        if not {"limits", "safe"} & set(enforced.split(",")):
            return None
        try:
            shown = self._ask(
                "scontrol", "show", "assoc_mgr", f"users={self._user}", "flags=assoc,qos"
            )
            if not self._has_met_limit():
                return room.room(shown.out, self._user, {}, {})
            return room.room(shown.out, self._user, self._default_qos, self._qos_limits)
        except SchedulerError:
            return None  # a site may hide it; what is too much is then refused for now

    @cached_property
    def _user(self) -> str:
        return self._ask(*WHO).out.strip()

    @cached_property
    def _default_qos(self) -> dict[str, str]:
        """Return the default qos of the user in each account."""
        here = f"cluster={self._config['ClusterName']}"  # slurmdbd may have those of others, too
        where = ("assoc", "where", f"user={self._user}", here, "format=Account,DefaultQOS")
        lines = self._recall("sacctmgr", "-n", "-P", "show", *where).splitlines()
        return {account: qos for account, _, qos in (line.partition("|") for line in lines)}

    @cached_property
    def _qos_limits(self) -> dict[str, room.Qos]:
        columns = "format=Name,GrpSubmit,MaxSubmitPU,MaxSubmitPA"
        return room.qos_table(self._recall("sacctmgr", "-n", "-P", "show", "qos", columns))

    # What a qos allows only slurmdbd tells, and slowly. It is asked once a limit was met that the
    # controller's answer did not show; most users never meet one.

    def _has_met_limit(self) -> bool:
        return self._met_limit or (self._memory is not None and self._memory.has(MET_LIMIT))

    def _note_limit(self) -> None:
        self._met_limit = True
        if self._memory is not None:
            self._memory.keep(MET_LIMIT, "")

    def _recall(self, *argv: str) -> str:
        """Ask slurmdbd at most once an hour."""
        if self._memory is None:
            return self._ask(*argv).out
        return self._memory.recall(" ".join(argv), lambda: self._ask(*argv).out)

    @cached_property
    def _memory(self) -> Memory | None:
        if self._folder is None:
            return None
        path = self._folder / f"slurm.{self._config['ClusterName']}.{self._user}"
        return Memory(path, for_s=REMEMBERED_S, now=lambda: stamp(self._clock.now()))

    def check(self, submission: Submission) -> None:
        """Cost: 2 RPCs. Whether the runs would ever start Slurm does not say."""
        self._assert_reached()
        argv = ["sbatch", "--test-only", *options(submission)]
        answer = self._run(argv, stdin=EMPTY_SCRIPT)
        if answer.code != 0:
            raise reply.refusal(answer)

    def submit(self, submission: Submission) -> int:
        """Cost: 1 RPC, whatever the size of the array."""
        self._assert_reached()
        known = self._config if self._configuration.is_known else {}
        try:
            answer = self._run(
                ["sbatch", "--parsable", f"{submission.folder}/script.sh"],
                timeout_s=SUBMIT_TIMEOUT_S,
            )
        except SchedulerMissing:
            raise
        except SchedulerError as error:
            if isinstance(error.__cause__, Unreachable):
                raise  # the machine was not even spoken to: surely nothing was submitted
            raise reply.unsure(error.what) from error
        try:
            return reply.job(answer, known.get("ClusterName", ""))
        except NoRoom:
            self._note_limit()
            raise

    def observe(self) -> Poll:
        """Cost: 3 RPCs as an ordinary user. Arrays stay in one row until their tasks start.

        Where one such row has held tasks and others, 3 more, for all such arrays; and where another
        cluster of a federation has a job, 3 more.
        """
        self._configuration.confirm()
        at = self._clock.now()

        def ask(options: Sequence[str], asked: tuple[str, ...] = QUEUE) -> Poll:
            return parse.queue(self._ask(*asked, *options).out, at)

        with self._seldom.renewing(QUEUE):
            poll = ask(())
        return sibling.followed(held.apart(poll, ask), lambda: ask((), ELSEWHERE))

    def history(self, jobs: Iterable[int], *, since: datetime) -> Poll:
        """Cost: none to the controller, one query of the accounting."""
        at = self._clock.now()
        wanted = [str(job) for job in sorted(set(jobs))]

        def ask(*more: str) -> Poll:
            asked = ("--duplicates", self._since(since), *more)
            jobs = [f"--jobs={','.join(ids)}" for ids in _chunks(wanted, AT_ONCE)]
            return _joined(at, [self._history(at, *asked, some) for some in jobs])

        return sibling.followed(ask(), lambda: ask(sibling.FEDERATION))

    def find(self, token: str, *, since: datetime) -> Poll:
        """Cost: none to the controller, two queries of the accounting for all of the user's jobs.

        A held or otherwise pending job is in the queue only: that has to be asked too.
        """
        at = self._clock.now()
        window = ("--allocations", "--duplicates", self._since(since), "--endtime=now")
        polls = [
            self._history(at, *window),
            self._history(at, *window, f"--state={EVERY_STATE}"),
        ]
        found = _joined(at, polls)
        tasks = [task for task in found.tasks if f"{task.name}.".startswith(f"{token}.")]
        return Poll(at, tuple(dict.fromkeys(tasks)), "sacct", found.odd)

    def _since(self, since: datetime) -> str:
        """Return the window's begin, as an age: the cluster's clock may be in another zone."""
        age = (self._clock.now() - since).total_seconds()
        return f"--starttime=now-{max(math.ceil(age), 0) + 1}seconds"

    def _history(self, at: datetime, *arguments: str) -> Poll:
        known = self._history_fields()
        if not known:
            raise SchedulerError(
                "this cluster has no accounting", hint="only its queue and the runs themselves tell"
            )
        fields = [field for field in parse.HISTORY_FIELDS if field in known]
        asked = ("sacct", "--parsable2", f"--format={','.join(fields)}", *arguments)
        try:
            answer = self._ask(*asked, timeout_s=ACCOUNTING_TIMEOUT_S)
        except SchedulerError as error:
            if DISABLED in error.what:
                self._fields = frozenset()  # switched off while this process lived
            raise
        return parse.history(answer.out, at, fields)

    def cancel(self, targets: Iterable[tuple[int, int | None]]) -> None:
        """Cost: 1 RPC for each array, whole or in part."""
        self._configuration.confirm()
        for ids in _chunks(list(spelled(targets, AT_ONCE)), AT_ONCE):
            answer = self._run(["scancel", *ids])
            lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
            bad = [line for line in lines if not GONE.search(line)]
            if bad or (answer.code != 0 and not lines):
                raise SchedulerError(
                    f"scancel failed: {'; '.join(bad) or f'exit code {answer.code}'}",
                    hint="it is tried again",
                )

    def _assert_reached(self) -> None:
        """Raise where the controller is away: nothing needs to be sent to know that."""
        try:
            self._configuration.confirm()
        except SchedulerError as error:
            if reply.NOT_SENT.search(error.what):
                raise reply.away(error.what) from error
            raise

    def _ask(self, *argv: str, timeout_s: float = 60) -> Finished:
        """Return the answer of a command that succeeded."""
        answer = self._run(list(argv), timeout_s=timeout_s)
        if answer.code != 0:
            said = answer.err.strip() or answer.out.strip()[:200]
            raise SchedulerError(
                f"{argv[0]} failed with exit code {answer.code}: {said}",
                hint="nothing is known by it; it is asked again later",
            )
        return answer

    def _run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        try:
            answer = self._transport.run(argv, stdin=stdin, timeout_s=timeout_s)
        except TransportError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise SchedulerMissing(
                    f"there is no program named {argv[0]} here",
                    hint='load your site\'s Slurm module, or set `scheduler = "local"`',
                ) from error
            raise SchedulerError(error.what, hint=error.hint) from error
        if answer.code == 127:  # of a shell or a wrapper that did not find it
            raise SchedulerMissing(f"{argv[0]} cannot be run: {answer.err.strip()}")
        return answer


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _joined(at: datetime, polls: Iterable[Poll]) -> Poll:
    polls = list(polls)
    tasks = tuple(task for poll in polls for task in poll.tasks)
    return Poll(at, tasks, "sacct", tuple(dict.fromkeys(odd for poll in polls for odd in poll.odd)))


def _number(text: str, default: int) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else default
