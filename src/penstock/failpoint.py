"""Name the instants at which a test may end the process; free of cost elsewhere.

``PENSTOCK_FAILPOINT=name`` kills the process (SIGKILL) when it first passes ``name``;
``name:3`` the third time; ``name=raise`` raises ``Tripped`` instead. A simulation sets ``trip``.
Python 3.6: the runner has failpoints too.
"""

import os
import signal


class Tripped(BaseException):
    """A failpoint fired; nothing in the product catches this."""


def _parse(text: str) -> "tuple[str, int, str]":
    name, _, action = text.partition("=")
    name, _, count = name.partition(":")
    return name, int(count or 1), action or "kill"


_name, _left, _action = _parse(os.environ.get("PENSTOCK_FAILPOINT", ""))


def _from_environment(name: str) -> None:
    global _left  # noqa: PLW0603  one process, one failpoint
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        if _action == "raise":
            raise Tripped(name)
        os.kill(os.getpid(), signal.SIGKILL)


trip = _from_environment if _name else None


def hit(name: str) -> None:
    """Pass a named instant."""
    if trip is not None:
        trip(name)
