"""Ask several questions of Slurm at once, and give each answer to who asks it next."""

import contextlib
from collections.abc import Iterable, Iterator

from penstock.errors import TransportError
from penstock.transport.protocol import Finished, Transport


class Ahead:
    """Run commands on a transport, where some were run ahead: far away each costs a round trip."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._told: dict[tuple[str, ...], Finished | TransportError] = {}

    @contextlib.contextmanager
    def asking(self, argvs: Iterable[tuple[str, ...]]) -> Iterator[None]:
        """Ask what is going to be asked; an answer is for once, and for no longer than this."""
        wanted = list(argvs)
        if len(wanted) > 1:
            told = self._transport.run_all([list(argv) for argv in wanted])
            self._told = dict(zip(wanted, told, strict=True))
        try:
            yield
        finally:
            self._told = {}

    def is_told(self, argv: tuple[str, ...]) -> bool:
        """Return whether the answer of a command is there."""
        return argv in self._told

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Return the answer of a command: the one that is there, or run it."""
        told = self._told.pop(tuple(argv), None)
        if told is None:
            return self._transport.run(argv, stdin=stdin, timeout_s=timeout_s)
        if isinstance(told, TransportError):
            raise told
        return told
