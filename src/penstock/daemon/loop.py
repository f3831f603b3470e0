"""The daemon: cycles, until it is told to end."""

import contextlib
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

from penstock.daemon import life
from penstock.daemon.life import PULSE, Pulse
from penstock.errors import PenstockError, StoreError, UsageError
from penstock.service.project import Project
from penstock.service.upkeep import Upkeep, has_live
from penstock.store import connection

if TYPE_CHECKING:
    from penstock.reconciler.cycle import Report

QUICK_S = 2.0  # between cycles that only read spools
AFTER_BUG_S = 60.0
SILENT_S = 20.0  # that a store's server may take to answer one that is to end


class Say(Protocol):
    """Write a record of the log."""

    def __call__(self, what: str, level: str = "info", **fields: object) -> None: ...  # noqa: D102


@dataclass
class Loop:
    """Cycles in one thread, each planned when the one before has ended; signals end it.

    ``opened`` is called in that thread: a connection to the store stays where it was made.
    """

    opened: Callable[[], Project]
    say: Say
    upkeep: Upkeep | None = field(default=None, init=False)
    path: Path | None = None  # of the file that says that it lives
    pulse: Pulse = field(default_factory=Pulse, init=False)
    bounds_s: tuple[float, float] = field(default=(10, 120), init=False)
    replaced: UsageError | None = field(default=None, init=False)  # who has its place

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; the step in hand is ended first.

        But a store whose server says nothing is not waited for then: what is not committed does not
        count, and the next cycle does it.
        Raises UsageError where another daemon has taken the place of this one.
        """
        self._scheduler = BlockingScheduler(
            executors={"default": ThreadPoolExecutor(1)}, timezone=UTC
        )
        self._in_hand = threading.Lock()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._plan(0)
        self._scheduler.start()
        while not self._in_hand.acquire(timeout=1):
            if connection.cut(SILENT_S):
                self.say("the store does not answer: the step in hand is broken off", "warning")
        self.say("stopped; runs in the queue go on, and are found again by the next cycle")
        self._in_hand.release()
        if self.replaced is not None:
            raise self.replaced

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.say("stopping after the step in hand", signal=signal.Signals(number).name)
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(Exception):  # a second signal finds it shut down
            self._scheduler.shutdown(wait=False)

    def _plan(self, wait_s: float) -> None:
        at = datetime.now(UTC) + timedelta(seconds=wait_s)
        self._scheduler.add_job(self._step, "date", run_date=at, misfire_grace_time=None)

    def _step(self) -> None:
        with self._in_hand:
            try:
                wait_s = self.step()
            except UsageError as error:
                self.replaced = error
                self._end()
                return
        self._plan(wait_s)

    def step(self) -> float:
        """Run one cycle; return how long to wait before the next (seconds).

        Whatever goes wrong, the daemon goes on: it may be well by the next time. Only where another
        lives whose place this is, by the file that says so, it raises UsageError.
        """
        self._hold()
        began = time.monotonic()
        before = self.pulse.trouble
        try:
            wait_s = self._cycle()
        except PenstockError as error:
            wait_s = self._failed(str(error).replace("\n", ";"))
        except Exception as error:  # noqa: BLE001  a bug must not leave a daemon that does nothing
            self.say("bug", "error", trace=traceback.format_exc())
            wait_s = max(self._failed(f"unexpected {type(error).__name__}: {error}"), AFTER_BUG_S)
        now = datetime.now(UTC)
        self.pulse.beat(now, time.monotonic() - began, wait_s)
        is_due = self.pulse.at - self.pulse.written_at >= PULSE.total_seconds()
        if self.path and (
            is_due or wait_s >= PULSE.total_seconds() or before != self.pulse.trouble
        ):
            life.write_pulse(self.path, self.pulse)
        return wait_s

    def _hold(self) -> None:
        """Look whether the file still names this daemon, so that `stop` and `status` find it."""
        if self.path is None:
            return
        try:
            life.claim(self.path, datetime.now(UTC))
        except UsageError as error:
            self.say("ending", "warning", why=error.what)
            raise
        except StoreError:
            return  # the cycle says what is wrong with the disk

    def _cycle(self) -> float:
        if self.upkeep is None:
            self.upkeep = Upkeep(self.opened())
        settings = self.upkeep.project.settings
        self.bounds_s = (settings.poll_s, settings.poll_max_s)
        report = self.upkeep.step()
        was_failed, self.pulse.failures = self.pulse.failures > 0, 0
        # That a command acts just now is no trouble. What a look met lasts until the next look:
        # cycles between them only read spools.
        if report.odd or report.polled or was_failed:
            self._tell("; ".join(report.odd))
        self._report(report)
        return QUICK_S if has_live(self.upkeep.project) else settings.poll_s

    def _report(self, report: "Report") -> None:
        for sent in report.sent:
            runs, token = sent.array.size, sent.array.token
            if sent.error is None:
                self.say("sent", runs=runs, job=sent.job, token=token)
            else:
                self.say("not sent", "warning", runs=runs, token=token, why=sent.error.what)
        if report.ended:
            self.say("ended", runs=report.ended)

    def _failed(self, words: str) -> float:
        self.pulse.failures += 1
        self._tell(words)
        shortest, longest = self.bounds_s
        return float(min(shortest * 2 ** min(self.pulse.failures, 20), longest))

    def _tell(self, words: str) -> None:
        if words and words != self.pulse.trouble:
            self.say("trouble", "warning", why=words)
        elif self.pulse.trouble and not words:
            self.say("all is well again")
        self.pulse.trouble = words
