"""How a run ended: from what was seen, the fields of its exit record."""

import signal

from penstock.runner.signals import name

MYPY = False  # typing takes time to import
if MYPY:
    from typing import Any


class Seen:
    """What was seen of the end of a command."""

    def __init__(
        self, code: "int | None", number: "int | None", is_termed: bool, oom_kills: int = 0
    ) -> None:
        self.code = code
        self.signal = number
        self.is_termed = is_termed
        self.oom_kills = oom_kills
        self.lost = ""  # what is wrong with its outputs: a sentence


def verdict(seen: Seen) -> "dict[str, Any]":
    """Return ``code``, ``signal``, ``cause``, ``detail`` and ``sealed``.

    The kernel's kill counts where the command failed: what survives a killed helper has succeeded.
    Outputs count where the command says that it succeeded.
    """
    fields = {"code": seen.code, "signal": seen.signal, "cause": None, "detail": ""}
    fields["sealed"] = seen.code is not None and not seen.is_termed
    if seen.signal is not None:
        fields["detail"] = "%s ended the command" % name(seen.signal)
    if seen.oom_kills > 0 and (seen.code or seen.signal == signal.SIGKILL):
        fields["cause"] = "memory"
        fields["detail"] = (
            "the kernel ended %d of its processes: the job used more memory than it asked for"
            % seen.oom_kills
        )
    elif seen.code == 0 and seen.lost and not seen.is_termed:
        fields["cause"], fields["detail"] = "output", seen.lost
    return fields


def exit_code(fields: "dict[str, Any]") -> int:
    """Return the runner's own exit code for an exit record: as a shell has it."""
    if fields["code"] is not None:
        return int(fields["code"])
    return 128 + int(fields["signal"] or 0)
