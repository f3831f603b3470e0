"""Ask seldom what seldom changes, where each question is a command to a machine that is far.

An answer serves all processes of a user for an hour. For a day it serves still, and is renewed by
the command that asks for the queue, so that it costs none of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from penstock.errors import SchedulerError, TransportError
from penstock.scheduler.ahead import Ahead
from penstock.scheduler.memory import Memory
from penstock.transport.protocol import Finished

GOOD_S = 3600.0
SERVES_S = 86_400.0

Argv = tuple[str, ...]
Read = Callable[[str], object]  # raises SchedulerError for what cannot be read


class Seldom:
    """Answers of commands, as any process was told them lately."""

    def __init__(
        self, transport: Ahead, ask: Callable[..., Finished], memory: Memory | None
    ) -> None:
        """``memory`` keeps an answer for ``SERVES_S``; None: each is asked for."""
        self._transport, self._ask, self._memory = transport, ask, memory
        self._old: dict[Argv, Read] = {}

    def __call__(self, argv: Argv, read: Read) -> str:
        """Return the answer. Raises SchedulerError."""
        if self._memory is None:
            return self._asked(argv, read)
        key = " ".join(argv)
        if self._transport.is_told(argv):  # it is here already
            self._memory.keep(key, self._asked(argv, read))
        elif self._memory.age_s(key) > GOOD_S:
            self._old[argv] = read
        return self._memory.recall(key, lambda: self._asked(argv, read))

    @contextmanager
    def renewing(self, argv: Argv) -> Iterator[None]:
        """Ask a question; those whose answers are old with it. Raises SchedulerError."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._transport.asking([argv, *self._old]))
            except TransportError as error:
                raise SchedulerError(error.what, hint=error.hint) from error
            yield
            for old, read in self._old.items():
                with suppress(SchedulerError):  # it is asked with the next
                    self(old, read)
            self._old = {}

    def _asked(self, argv: Argv, read: Read) -> str:
        answer = self._ask(*argv).out
        read(answer)  # what cannot be read is not remembered
        return answer
