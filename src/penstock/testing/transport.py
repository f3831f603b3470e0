"""The model behind the Transport seam, in process, with faults to order."""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from penstock.errors import TransportError
from penstock.testing.commands import answer
from penstock.testing.files import MemoryFiles
from penstock.testing.model import Cluster
from penstock.transport import protocol
from penstock.transport.local import scrubbed
from penstock.transport.protocol import Finished, Gathered, Tail, Transport, Wanted, one_by_one


class Fault(StrEnum):
    """What may go wrong with one call."""

    TIME_OUT = "time-out"  # nothing was done, and no answer came
    DONE_THEN_TIME_OUT = "done-then-time-out"  # it was done, and no answer came
    DONE_THEN_FAIL = "done-then-fail"  # it was done, and a wrapper failed after it
    REJECT = "reject"  # not done: the controller says no
    FAIL = "fail"  # not done: the controller is not there
    HALF = "half"  # done; the answer is cut
    GARBAGE = "garbage"  # done; the answer is something else
    EMPTY = "empty"  # done; the answer is empty, and looks well
    BANNER = "banner"  # done; the answer has a site's greeting before it
    LATE = "late"  # done; by the time the answer comes, other things have happened
    MISSING = "missing"  # there is no such program now


@dataclass
class Order:
    """A fault to come: for calls that match, after some, so many times."""

    fault: Fault
    match: str = ""  # a regular expression for the words of the call
    skip: int = 0
    count: int = 1


class Files(protocol.Files, Protocol):
    """Where files are."""

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None: ...  # noqa: D102
    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes: ...  # noqa: D102
    def digest(self, path: str) -> str | None: ...  # noqa: D102
    def logs(  # noqa: D102
        self, folder: str, index: int, known: Mapping[int, int]
    ) -> list[tuple[int, bytes]]: ...


UNREACHABLE = "Unable to contact slurm controller (connect failure)"
REJECTED = "sbatch: error: Batch job submission failed: Invalid account or account/partition\n"
GARBAGE = "<html><body>502 Bad Gateway</body></html>\n"
BANNER = "*** Maintenance on Friday ***\n"


class ModelTransport:
    """Run Slurm's programs on a model. ``fault`` is asked at each call; ``order`` queues one.

    Files are in memory; or give a real transport as ``files``, for a folder of this machine.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        user: str = "alice",
        files: Files | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.cluster, self.user = cluster, user
        self.memory = MemoryFiles()
        self.files: Files = files or self.memory
        self.environment = scrubbed(environment or {})
        self.latency_s = 0.0  # simulated time that each call takes
        self.late_s = 60.0
        self.orders: list[Order] = []
        self.fault: Callable[[list[str]], Fault | None] = self.ordered
        self.calls: list[list[str]] = []

    def order(self, fault: Fault, match: str = "", *, skip: int = 0, count: int = 1) -> None:
        """Let a fault come at the next call that matches."""
        self.orders.append(Order(fault, match, skip, count))

    def ordered(self, argv: list[str]) -> Fault | None:
        """Return the fault that was ordered for this call."""
        for order in self.orders:
            if order.count and re.search(order.match, " ".join(argv)):
                if order.skip:
                    order.skip -= 1
                    continue
                order.count -= 1
                return order.fault
        return None

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Answer from the model, with a fault where one is due."""
        self.calls.append(list(argv))
        if self.latency_s:
            self.cluster.advance(self.latency_s)
        fault = self.fault(list(argv))
        if fault in (Fault.TIME_OUT, Fault.REJECT, Fault.FAIL, Fault.MISSING):
            return self._not_done(fault, argv, timeout_s)
        done = self._answer(argv, stdin)
        return done if fault is None else self._spoilt(fault, done, argv, timeout_s)

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        """Answer several, each with its own fault."""
        return in_turn(self, argvs, timeout_s)

    def _answer(self, argv: list[str], stdin: bytes) -> Finished:
        memory = self.memory if self.files is self.memory else None
        try:
            if memory is None:
                return answer(self.cluster, argv, stdin=stdin, env=self.environment, user=self.user)
            return answer(
                self.cluster,
                argv,
                stdin=stdin,
                env=self.environment,
                user=self.user,
                open_file=memory.open_file,
            )
        except FileNotFoundError as error:
            raise TransportError(f"{argv[0]} cannot be run: no such file") from error

    def _not_done(self, fault: Fault, argv: list[str], timeout_s: float) -> Finished:
        if fault is Fault.TIME_OUT:
            raise self._timed_out(argv, timeout_s)
        if fault is Fault.MISSING:
            error = TransportError(f"{argv[0]} cannot be run: no such file")
            raise error from FileNotFoundError(argv[0])
        if fault is Fault.REJECT:
            return Finished(1, "", REJECTED)
        head = "sbatch: error: Batch job submission failed: "
        return Finished(1, "", (head if argv[0] == "sbatch" else "") + UNREACHABLE + "\n")

    def _spoilt(self, fault: Fault, done: Finished, argv: list[str], timeout_s: float) -> Finished:
        if fault is Fault.DONE_THEN_TIME_OUT:
            raise self._timed_out(argv, timeout_s)
        if fault is Fault.LATE:
            self.cluster.advance(self.late_s)
            return done
        if fault is Fault.DONE_THEN_FAIL:
            return replace(done, code=1, out="", err="wrapper: lost the connection\n")
        out = {
            # Not at the end of a row: nobody can tell such an answer from a whole one.
            Fault.HALF: done.out[: len(done.out) // 2].rstrip("\n"),
            Fault.GARBAGE: GARBAGE,
            Fault.EMPTY: "",
            Fault.BANNER: BANNER + done.out,
        }[fault]
        return replace(done, out=out)

    def _timed_out(self, argv: list[str], timeout_s: float) -> TransportError:
        self.cluster.advance(timeout_s)
        error = TransportError(f"{argv[0]} did not end within {timeout_s:g} s and was killed")
        error.__cause__ = TimeoutError(f"{timeout_s:g} s")
        return error

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file."""
        self.files.put(path, data, mode=mode)

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file."""
        return self.files.get(path, offset, size)

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = 1 << 26
    ) -> Iterable[Tail]:
        """Yield what spools have beyond the known offsets."""
        return self.files.tails(folder, known, at_most=at_most)

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file, None where there is none."""
        return self.files.digest(path)

    def gather(self, wanted: Wanted, over: Container[str] = frozenset()) -> Iterable[Gathered]:
        """Yield folder by folder what spools have beyond the known offsets; fold what is over."""
        return one_by_one(self.files, wanted, over)

    def logs(self, folder: str, index: int, known: Mapping[int, int]) -> list[tuple[int, bytes]]:
        """Return restarts of an element with what their logs have beyond the known offsets."""
        return self.files.logs(folder, index, known)


def in_turn(
    transport: Transport, argvs: Sequence[list[str]], timeout_s: float
) -> list[Finished | TransportError]:
    """Run several programs one after the other, where that costs nothing."""
    told: list[Finished | TransportError] = []
    for argv in argvs:
        try:
            told.append(transport.run(argv, timeout_s=timeout_s))
        except TransportError as error:
            told.append(error)
    return told
