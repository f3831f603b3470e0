"""Hear signals without losing one, in a single thread.

The batch script ignores TERM, USR1 and USR2 until ``install`` has run, so that none ends a Python
that is only just starting. A handler notes the signal and wakes ``wait``; the loop acts on it.
"""

import contextlib
import os
import select
import signal
from collections import deque

# B: signals reach the runner alone, so it hands them on. TERM reaches every process of the job.
TERM = signal.SIGTERM
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
HEARD = (*FORWARDED, TERM, signal.SIGCHLD, signal.SIGCONT)

_arrived: "deque[int]" = deque()
_wake: "list[int]" = []


def _note(number: int, _frame: object) -> None:
    _arrived.append(number)


def install() -> None:
    """Begin to hear."""
    for number in HEARD:
        signal.signal(number, _note)
    if not _wake:
        ears, mouth = os.pipe()
        os.set_blocking(ears, False)
        os.set_blocking(mouth, False)
        _wake.append(ears)
        signal.set_wakeup_fd(mouth)


def restore() -> None:
    """Give a child the defaults, also for what the batch script has ignored."""
    for number in HEARD:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


def hold() -> None:
    """Keep signals pending, so that a child that is being made hears them too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)


def release() -> None:
    """Let pending signals come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


def wait(timeout_s: float) -> None:
    """Wait until a signal arrives, or for so long."""
    if not _arrived:
        select.select(_wake, [], [], max(0.0, timeout_s))
    with contextlib.suppress(BlockingIOError):
        while os.read(_wake[0], 512):
            pass


def heard() -> "list[int]":
    """Return the signals that have arrived since the last time."""
    numbers = []
    while _arrived:
        numbers.append(_arrived.popleft())
    return numbers


def name(number: int) -> str:
    """Return ``SIGTERM``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number
