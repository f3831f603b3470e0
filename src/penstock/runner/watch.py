"""What goes on while a command runs: signals, beats, events, metrics, the fence."""

import os
import time
from collections.abc import Callable

from penstock import failpoint
from penstock.runner import signals, usage
from penstock.runner.command import Command
from penstock.runner.events import Events
from penstock.runner.metrics import Printed
from penstock.runner.points import Points
from penstock.runner.record import SYNC_S, Spool
from penstock.wire import claim

EACH_S = 1.0  # between two looks at events
AT_ONCE = 1 << 22  # bytes of a look
# How long after its command the runner may get a SIGTERM that went to both: where it failed, and
# where it succeeded, as hardly any does at once.
LATE_S, LATE_GOOD_S = 0.5, 0.05
DRAIN_S = 60.0  # how long what was told may take to be read when the command has ended
DRAIN_TERMED_S = 3.0  # the same after SIGTERM, when SIGKILL is near


class Fenced(Exception):
    """A higher restart has taken over: this one has no say any more."""


class Watch:
    """The watch over one run. ``command`` is None until it is started."""

    def __init__(self, spool: Spool, log: int, beat_s: float) -> None:
        self.spool = spool
        self.log = log
        self.usage = usage.Usage()
        self.points = Points()
        self.command: "Command | None" = None
        self.events: "Events | None" = None
        self.printed: "Printed | None" = None
        self.keep: "Callable[[str, str], None]" = _nowhere  # what takes files that are logged
        self.kill_after_s = 0.0  # after SIGTERM; 0: never
        self._beat_s = max(0.1, beat_s)
        self._beat_at = time.monotonic() + self._beat_s
        self._termed_at: "float | None" = None

    @property
    def is_termed(self) -> bool:
        """Say whether SIGTERM has come."""
        return self._termed_at is not None

    def pulse(self) -> None:
        """Do what is due; called often, also during long copies. Raises Fenced."""
        for number in signals.heard():
            self._hear(number)
        if time.monotonic() >= self._beat_at:
            self._beat()
        self.spool.push()
        self.spool.sync(min(SYNC_S, self._beat_s))

    def _hear(self, number: int) -> None:
        if number == signals.TERM:
            self._termed_at = self._termed_at or time.monotonic()
            self.spool.add("term", signal=number)
            self.spool.sync()
        elif number in signals.FORWARDED and self.command is not None:
            self.command.forward(number)

    def _beat(self) -> None:
        self._beat_at = time.monotonic() + self._beat_s
        self.assert_held()
        self.spool.add("beat", peak=self.usage.peak_bytes, cpu=round(self.usage.cpu_s, 2))
        failpoint.hit("runner.beat")
        _push(self.log)

    def assert_held(self, ask: bool = False) -> None:
        """Raise Fenced where a higher restart has taken over."""
        if not claim.is_held(self.spool.path, self.spool.file, ask):
            raise Fenced("a later restart of this job has taken over: this one ends")

    def until_end(self, command: Command) -> None:
        """Watch until the command has ended. Raises Fenced."""
        self.command = command
        while command.status is None:
            signals.wait(min(EACH_S, max(0.0, self._beat_at - time.monotonic())))
            command.reap()
            self.usage.look(command.pid)
            self.pulse()
            self.collect()
            if self._is_overdue():
                usage.end(usage.tree(os.getpid(), command.pid))

    def await_term(self, command: Command) -> None:
        """Give a SIGTERM time to come that a command may have heard first, and answered by a code.

        Slurm signals the processes of a job one after another, the runner last: on a busy node a
        shell's 143 was read before, and taken for an end of its own.
        """
        if command.code is None:  # whose signal that was the scheduler says
            return
        deadline = time.monotonic() + (LATE_S if command.code else LATE_GOOD_S)
        while not self.is_termed and time.monotonic() < deadline:
            signals.wait(deadline - time.monotonic())
            self.pulse()

    def _is_overdue(self) -> bool:
        return (
            self._termed_at is not None
            and self.kill_after_s > 0
            and time.monotonic() - self._termed_at > self.kill_after_s
        )

    def collect(self) -> None:
        """Take over what was told since the last time, while there is room for it."""
        if self.spool.is_stuck:
            return
        if self.printed is not None:
            self.printed.read(AT_ONCE)
        if self.events is not None:
            for record in self.events.read(AT_ONCE):
                self.spool.put(record)
            self._keep_files(self.events)
        self._put_points()

    def _keep_files(self, events: Events) -> None:
        while events.files:
            self.keep(*events.files.pop(0))

    def _put_points(self) -> None:
        for record in self.points.take():
            self.spool.put(record)

    def drain(self) -> None:
        """Take over all that was told, now that nobody tells more; note what was odd."""
        deadline = time.monotonic() + (DRAIN_TERMED_S if self.is_termed else DRAIN_S)
        while self._is_behind() and time.monotonic() < deadline:
            if self.spool.is_stuck:
                signals.wait(EACH_S)
            self.collect()
            self.pulse()
        if self._is_behind():
            self.note("not all that the command told could be read in time")
        if self.printed is not None:
            self.printed.close()
            if self.printed.note:
                self.note(self.printed.note)
        if self.events is not None:
            for record in self.events.close():
                self.spool.put(record)
            self._keep_files(self.events)
            if self.events.bad:
                what = "%d bad lines among the events; the first: %s"
                self.note(what % (self.events.bad, self.events.why))
        self._put_points()
        if self.points.left_out:
            self.note("too many metrics: %d points were left out" % self.points.left_out)

    def _is_behind(self) -> bool:
        readers = [self.printed, self.events]
        return any(reader is not None and reader.is_behind for reader in readers)

    def note(self, what: str) -> None:
        """Say something odd, in the spool and in the command's log."""
        self.spool.add("note", what=what)
        tell(self.log, what)


def _nowhere(path: str, name: str) -> None:
    """Take no file."""


def tell(log: int, what: str) -> None:
    """Write a line of ours into the command's log."""
    line = "penstock: %s\n" % what
    try:
        os.write(log, line.encode("utf-8", "backslashreplace"))
    except OSError:
        return


def _push(log: int) -> None:
    """Let other hosts see the log: an NFS client keeps it to itself for up to half a minute."""
    try:
        os.fdatasync(log)
    except OSError:
        return
