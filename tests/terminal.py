"""Somebody at a terminal."""

import contextlib
import os
import subprocess
from collections.abc import Sequence
from typing import Any

PATIENCE_S = 60


def typed(answer: str, args: Sequence[str], **how: Any) -> str:
    """Run a program that asks for a password, which is typed; return what its terminal showed."""
    ours, its = os.openpty()
    argv = ["setsid", "--ctty", *args]
    with subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, **how) as process:
        os.close(its)
        shown, is_typed = b"", False
        try:
            with contextlib.suppress(OSError):  # EIO: nobody has the terminal any more
                while more := os.read(ours, 1 << 12):
                    shown += more
                    if not is_typed and b"assword: " in shown:
                        os.write(ours, f"{answer}\n".encode())
                        is_typed = True
            assert process.wait(PATIENCE_S) == 0, shown.decode()
        finally:
            process.kill()
            os.close(ours)
    return shown.decode()
