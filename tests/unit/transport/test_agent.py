"""The conversation with the program on the remote, where it goes wrong early."""

import pytest

from penstock.transport.agent import Agent, Gone


class Ended:
    """The stream of a command that has ended before it was written to."""

    def __init__(self, said: bytes, error: OSError) -> None:
        self._said, self._error = said, error

    def settimeout(self, timeout_s: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        raise self._error

    def recv(self, size: int) -> bytes:
        said, self._said = self._said[:size], self._said[size:]
        return said


def begin(stream: Ended) -> None:
    Agent(stream).begin(path=[], is_login=False, login={})


def test_what_a_command_printed_is_told_though_it_ended_too_soon() -> None:
    with pytest.raises(Gone) as caught:
        begin(Ended(b"sh: python9: not found\n", OSError("Socket is closed")))
    assert caught.value.noise == b"sh: python9: not found\n"


def test_remote_that_takes_nothing_is_not_waited_for_again() -> None:
    with pytest.raises(TimeoutError):
        begin(Ended(b"", TimeoutError()))
