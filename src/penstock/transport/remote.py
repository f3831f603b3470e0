"""Serve a transport's verbs on a remote machine, over its stdin and stdout.

It is sent over the connection and run by the remote's Python (3.6 or later); nothing is installed.
A message is a line of JSON with ``size``, and so many bytes. Values never pass a shell.
"""

import json
import os
import select
import subprocess
import sys
import time
import zlib
from typing import IO, Any, Dict, List, Tuple

from penstock.transport import files, programs

Header = Dict[str, Any]
Headers = List[Header]
Answer = Tuple[Header, bytes]

IDLE_S = 3600  # with nothing heard for so long, whoever asked is gone without a word
LOGIN_S = 60
FOLD_S = 20
SITE_FILE = "/etc/penstock/site.toml"
MOST_OF_SITE = 1 << 16  # characters
# Prints the variables of a login shell behind a mark: profiles print things, too.
LOGIN = ["bash", "-lc", 'printf "%s" "$1"; env -0', "bash"]


class Served:
    """What is kept between two requests: the variables that commands get."""

    def __init__(self, begin: Header) -> None:
        self._kept = frozenset(begin["kept"])
        self._forced = begin["forced"]  # type: Dict[str, str]
        self._front = begin["path"]  # type: List[str]
        self.environment = self._scrubbed({**os.environ, **begin["login"]})
        self._is_login = bool(begin["login"])
        self.login = {}  # type: Dict[str, str]  # that were found since, to be remembered
        if begin["is_login"]:
            self.log_in()

    def _scrubbed(self, environment: "Dict[str, str]") -> "Dict[str, str]":
        found = {key: value for key, value in environment.items() if key in self._kept}
        front = [os.path.expanduser(folder) for folder in self._front]
        found["PATH"] = ":".join([*front, found.get("PATH") or os.defpath])
        found.update(self._forced)
        return found

    def log_in(self) -> None:
        """Take the variables of a login shell: sites set up their PATH there."""
        if self._is_login:
            return
        self._is_login = True
        mark = "penstock-" + os.urandom(8).hex()
        try:
            shown = subprocess.run(
                [*LOGIN, mark],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=LOGIN_S,
                check=False,
            ).stdout.decode(errors="surrogateescape")
        except (OSError, subprocess.TimeoutExpired):
            return
        pairs = [one.partition("=") for one in shown.rpartition(mark)[2].split("\0")]
        found = {key: value for key, _, value in pairs if key in self._kept}
        if found.get("PATH"):
            self.login = found
            self.environment = self._scrubbed({**os.environ, **found})

    def run(self, asked: Header, body: bytes) -> Answer:
        """Run a command; one that is not on PATH is looked for as a login shell would."""
        try:
            process = programs.begin(asked["argv"], self.environment)
        except FileNotFoundError:
            if self._is_login:
                raise
            self.log_in()
            process = programs.begin(asked["argv"], self.environment)
        try:
            code, out, err = programs.finish(process, body, asked["timeout_s"])
        except subprocess.TimeoutExpired:
            return {"timed_out": True}, b""
        return {"code": code, "out": len(out)}, out + err

    def run_all(self, asked: Header, _: bytes) -> Answer:
        """Run several commands at once."""
        argvs = asked["argvs"]
        found = programs.together(argvs, self.environment, asked["timeout_s"])
        missing = [n for n, one in enumerate(found) if isinstance(one, FileNotFoundError)]
        if missing and not self._is_login:
            self.log_in()
            again = [argvs[n] for n in missing]
            more = programs.together(again, self.environment, asked["timeout_s"])
            for number, one in zip(missing, more):
                found[number] = one
        told, data = [], []  # type: Headers, List[bytes]
        for one in found:
            if isinstance(one, OSError):
                told.append(_said(one))
            elif isinstance(one, Exception):
                told.append({"timed_out": True})
            else:
                told.append({"code": one[0], "out": len(one[1]), "err": len(one[2])})
                data += one[1:]
        return {"told": told}, b"".join(data)


# --- files


def put(asked: Header, body: bytes) -> Answer:
    """Write a file."""
    files.put(asked["path"], zlib.decompress(body), asked["mode"])
    return {}, b""


def get(asked: Header, _: bytes) -> Answer:
    """Read a file."""
    return {}, files.get(asked["path"], asked["offset"], asked["length"])


def digest(asked: Header, _: bytes) -> Answer:
    """Tell a file's digest."""
    return {"digest": files.digest(asked["path"])}, b""


def gather(asked: Header, body: bytes) -> Answer:
    """Tell what the spools of several arrays have beyond the known offsets; fold what is over.

    After some time no further one is folded: whoever asked waits for the others' tails.
    """
    left, told, data = asked["at_most"], [], []  # type: int, Headers, List[bytes]
    folded_s = 0.0
    for folder, rows, is_over in json.loads(zlib.decompress(body).decode()):
        known = {(index, restart): offset for index, restart, offset in rows}
        tails = []  # type: List[List[Any]]
        one = {"folder": folder, "tails": tails}  # type: Header
        told.append(one)
        try:
            if is_over:
                files.close(folder)
            for index, restart, offset, more, is_done in files.tails(folder, known, left):
                tails.append([index, restart, offset, len(more), is_done])
                data.append(more)
                left -= len(more)
            if is_over and left > 0 and folded_s < FOLD_S:
                began = time.monotonic()
                files.fold(folder)
                folded_s += time.monotonic() - began
                one["is_folded"] = True
        except OSError as error:
            one.update(_said(error))
        if left <= 0:
            break
    return {"folders": told}, zlib.compress(b"".join(data), 1)


def logs(asked: Header, _: bytes) -> Answer:
    """Tell what the logs of an element have beyond the known offsets."""
    known = {int(restart): offset for restart, offset in asked["known"].items()}
    found = list(files.logs(asked["folder"], asked["index"], known))
    sizes = [[restart, len(data)] for restart, data in found]
    return {"logs": sizes}, zlib.compress(b"".join(data for _, data in found), 1)


def ping(_: Header, __: bytes) -> Answer:
    """Say that all is well."""
    return {}, b""


def _said(error: OSError) -> Header:
    return {
        "errno": error.errno,
        "error": error.strerror or str(error),
        "file": error.filename if isinstance(error.filename, str) else "",
        "is_damaged": isinstance(error, files.Damaged),
    }


# --- messages


VERBS = {one.__name__: one for one in (put, get, digest, gather, logs, ping)}  # type: Dict[str, Any]


def serve(begin: Header) -> None:
    """Answer requests until there are no more."""
    out = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)  # stdout is for messages alone
    os.dup2(quiet, 2)
    served = Served(begin)
    verbs = dict(VERBS, run=served.run, run_all=served.run_all)
    _write(out, {"mark": begin["mark"], **_hello(), "login": served.login}, b"")
    served.login = {}
    stdin = sys.stdin.buffer
    while select.select([stdin], [], [], IDLE_S)[0]:
        line = stdin.readline()
        if not line.endswith(b"\n"):
            return
        asked = json.loads(line.decode())
        body = stdin.read(asked["size"])
        if len(body) < asked["size"]:
            return  # cut off: half a request is none
        try:
            said, data = verbs[asked["verb"]](asked, body)
        except OSError as error:
            said, data = _said(error), b""
        if served.login:
            said, served.login = dict(said, login=served.login), {}
        _write(out, said, data)


def _hello() -> Header:
    try:
        with open(SITE_FILE, encoding="utf-8") as file:
            site = file.read(MOST_OF_SITE)
    except (OSError, ValueError):
        site = ""
    return {
        "site": site,
        "home": os.path.expanduser("~"),
        "uid": os.getuid(),
        "python": list(sys.version_info[:3]),
    }


def _write(out: "IO[bytes]", said: Header, data: bytes) -> None:
    out.write(json.dumps(dict(said, size=len(data))).encode() + b"\n")
    out.write(data)
    out.flush()
