"""Run programs of the machine that this runs on: to their end, or until their time is over.

Python 3.6 and the standard library: it is sent to remote machines too. Raises OSError.
"""

import contextlib
import os
import signal
import subprocess
import time
from typing import Dict, List, Tuple, Union

AFTER_KILL_S = 5  # what a killed program may leave in its pipes is waited for no longer
READ_S = 2.0  # to read what a program had said when the time of another was over

Ended = Tuple[int, bytes, bytes]  # exit code, stdout, stderr


def begin(argv: "List[str]", environment: "Dict[str, str]") -> "subprocess.Popen[bytes]":
    """Start a program without a shell, found on the PATH of its own environment."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv,
        executable=_which(argv[0], environment.get("PATH") or os.defpath),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us, and a time-out for all it started
    )


def _which(name: str, path: str) -> str:
    if "/" in name:
        return name
    hindered = None
    for folder in path.split(":"):
        found = os.path.join(folder, name)
        if os.path.isfile(found):
            if os.access(found, os.X_OK):
                return found
            hindered = PermissionError(13, "Permission denied", found)
    raise hindered or FileNotFoundError(2, "No such file or directory", name)


def finish(process: "subprocess.Popen[bytes]", stdin: bytes, timeout_s: float) -> "Ended":
    """Wait for a program. Raises subprocess.TimeoutExpired, once its process group is killed."""
    with process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except BaseException:
            kill(process)
            raise
        return process.returncode, out, err


def together(
    argvs: "List[List[str]]", environment: "Dict[str, str]", timeout_s: float
) -> "List[Union[Ended, Exception]]":
    """Run several programs at once; return what became of each: an OSError, a TimeoutExpired …."""
    begun = []  # type: List[Union[subprocess.Popen[bytes], OSError]]
    for argv in argvs:
        try:
            begun.append(begin(argv, environment))
        except OSError as error:
            begun.append(error)
    end = time.monotonic() + timeout_s
    told = []  # type: List[Union[Ended, Exception]]
    for one in begun:
        if isinstance(one, OSError):
            told.append(one)
            continue
        try:
            told.append(finish(one, b"", max(READ_S, end - time.monotonic())))
        except subprocess.TimeoutExpired as error:
            told.append(subprocess.TimeoutExpired(error.cmd, timeout_s))
    return told


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program with all of its process group, and do not wait long for their output."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=AFTER_KILL_S)
    except (subprocess.TimeoutExpired, ValueError):  # a child in another session holds the pipes
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
