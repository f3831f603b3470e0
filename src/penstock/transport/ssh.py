"""Commands and files of a machine that is reached by SSH, over one connection for everything."""

import json
import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Protocol

from penstock.errors import NotFoundError, TransportError
from penstock.transport.local import finished, unmoved
from penstock.transport.protocol import Finished, Gathered, Tail, Wanted

MARGIN_S = 30  # an answer may come so much later than a command is killed
FILES_S = 120
FOLD_S = 600  # one array may have very many logs
GATHER_BYTES = 1 << 24  # of one answer; the rest comes with the next
PIECE_BYTES = 1 << 24  # of a large file

Said = dict[str, Any]


class Peer(Protocol):
    """Whoever answers: a connection of our own, or a process that has one for all of us."""

    def ask(
        self, said: Said, body: bytes = b"", *, timeout_s: float, is_safe: bool
    ) -> tuple[Said, bytes]:
        """Return the answer. Raises Unreachable (nothing was done) or Lost (perhaps it was).

        What ``is_safe`` may be done twice: it is asked again where the answer was lost.
        """

    def hello(self) -> Said:
        """Return what the remote said of itself: ``home``, ``uid``, ``python``."""

    def recall(self, key: str) -> str:
        """Return what was remembered; empty: nothing, or it is forgotten. Asks the remote nothing.

        Raises Unreachable where there is no connection, and none can be made.
        """

    def remember(self, key: str, what: str) -> None:
        """Remember something for as long as the connection is kept, for all who share it."""


class SshTransport:
    """Run commands on a remote machine, and see its files."""

    def __init__(self, peer: Peer, name: str) -> None:
        self._peer, self._name = peer, name

    @property
    def hello(self) -> Said:
        """Return what the remote said of itself."""
        return self._peer.hello()

    def recall(self, key: str) -> str:
        """Return what a process that shares the connection remembered; empty: nothing."""
        return self._peer.recall(key)

    def remember(self, key: str, what: str) -> None:
        """Remember something for those that share the connection, for as long as it is kept."""
        self._peer.remember(key, what)

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Run a program there without a shell; at the time-out its process group is killed."""
        said = {"verb": "run", "argv": argv, "timeout_s": timeout_s}
        answer, data = self._peer.ask(said, stdin, timeout_s=timeout_s + MARGIN_S, is_safe=False)
        if error := self._unended(argv[0], answer, timeout_s):
            raise error from error.__cause__
        return finished(answer["code"], data[: answer["out"]], data[answer["out"] :])

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        """Run several programs that only tell, by one command."""
        said = {"verb": "run_all", "argvs": list(argvs), "timeout_s": timeout_s}
        answer, data = self._peer.ask(said, timeout_s=timeout_s + MARGIN_S, is_safe=True)
        found: list[Finished | TransportError] = []
        for argv, one in zip(argvs, answer["told"], strict=True):
            if error := self._unended(argv[0], one, timeout_s):
                found.append(error)
                continue
            out, whole = one["out"], one["out"] + one["err"]
            found.append(finished(one["code"], data[:out], data[out:whole]))
            data = data[whole:]
        return found

    def _unended(self, name: str, said: Said, timeout_s: float) -> TransportError | None:
        """Return the error for a program that could not be run, or did not end in time."""
        if said.get("timed_out"):
            error = TransportError(
                f"{name} did not end within {timeout_s:g} s on {self._name} and was killed",
                hint="the machine or the scheduler is slow or does not answer: try again later",
            )
            error.__cause__ = TimeoutError(f"{timeout_s:g} s")
            return error
        if "errno" not in said:
            return None
        cause = OSError(said["errno"], said["error"], name)  # of the class it stands for
        error = TransportError(
            f"{name} cannot be run on {self._name}: {cause.strerror}",
            hint="a login shell there does not find it either: say where it is, with `path` "
            f"in the settings of the cluster: [clusters.{self._name}]",
        )
        error.__cause__ = cause
        return error

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file aside, then give it its name; safe on the disk before this returns."""
        self._file({"verb": "put", "path": path, "mode": mode}, "written", zlib.compress(data, 1))

    def get(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """Return bytes of a file."""
        pieces: list[bytes] = []
        while size != 0:
            wanted = PIECE_BYTES if size < 0 else min(size, PIECE_BYTES)
            said = {"verb": "get", "path": path, "offset": offset, "length": wanted}
            piece = self._file(said, "read")[1]
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece) if size > 0 else 0
            if len(piece) < wanted:
                break
        return b"".join(pieces)

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file, None where there is none."""
        found: str | None = self._file({"verb": "digest", "path": path}, "read")[0]["digest"]
        return found

    def tails(
        self, folder: str, known: Mapping[tuple[int, int], int], *, at_most: int = GATHER_BYTES
    ) -> Iterable[Tail]:
        """Yield what the spools have beyond the known offsets."""
        for found in self._gather([(folder, known)], (), at_most):
            if found.error is not None:
                raise found.error
            yield from found.tails

    def gather(self, wanted: Wanted, over: Container[str] = frozenset()) -> Iterable[Gathered]:
        """Yield the tails of several folders, and fold what is over: one question for all."""
        return self._gather(wanted, over, GATHER_BYTES)

    def _gather(self, wanted: Wanted, over: Container[str], at_most: int) -> Iterable[Gathered]:
        rows = [
            (folder, [(*place, to) for place, to in known.items()], folder in over)
            for folder, known in wanted
        ]
        timeout_s = FOLD_S if any(is_over for *_, is_over in rows) else FILES_S
        body = zlib.compress(json.dumps(rows).encode(), 1)
        said = {"verb": "gather", "at_most": at_most}
        answer, packed = self._file(said, "read", body, timeout_s=timeout_s)
        data = memoryview(zlib.decompress(packed))
        for one in answer["folders"]:
            tails = []
            for index, restart, offset, size, is_done in one["tails"]:
                tails.append(Tail(index, restart, offset, bytes(data[:size]), is_done))
                data = data[size:]
            folder = one["folder"]
            done = "folded" if folder in over else "read"
            error = self._error(one, folder, done) if "errno" in one else None
            yield Gathered(folder, tails, is_folded="is_folded" in one, error=error)

    def logs(self, folder: str, index: int, known: Mapping[int, int]) -> list[tuple[int, bytes]]:
        """Return restarts of an element with what their logs have beyond the known offsets."""
        said = {"verb": "logs", "folder": folder, "index": index, "known": dict(known)}
        answer, packed = self._file(said, "read")
        data, found = zlib.decompress(packed), []
        for restart, size in answer["logs"]:
            found.append((restart, data[:size]))
            data = data[size:]
        return found

    def _file(
        self, said: Said, done: str, body: bytes = b"", *, timeout_s: float = FILES_S
    ) -> tuple[Said, bytes]:
        """Ask for what may be asked for twice."""
        answer, data = self._peer.ask(said, body, timeout_s=timeout_s, is_safe=True)
        if "errno" in answer:
            path = said.get("path") or said.get("folder") or ""
            error = self._error(answer, path, done)
            if isinstance(error.__cause__, FileNotFoundError) and done == "read":
                raise NotFoundError(f"there is no file {path} on {self._name}") from error
            raise error
        return answer, data

    def _error(self, said: Said, path: str, done: str) -> TransportError:
        error = OSError(said["errno"], said["error"], said["file"] or path)
        hint = unmoved(path, done, error).hint
        if said["is_damaged"]:
            hint = "was it copied in part? put it back whole"
        where = path if done == "written" else said["file"] or path
        found = TransportError(
            f"{self._name}:{where} cannot be {done}: {error.strerror}", hint=hint
        )
        found.__cause__ = error
        return found
