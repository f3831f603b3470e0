"""Tell about the run that this process is in.

    import penstock
    lr = penstock.params["lr"]
    penstock.log_metric("loss", 0.3, step=2)

Each event is one appending write to the file that ``$PENSTOCK_EVENTS`` names, so threads and
processes may all tell. Outside a run nothing is told, after one warning. What cannot be written or
understood gives one warning each, and never an exception: a training that has run for days does not
end because of its log.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping

from penstock.wire import event

MYPY = False  # typing takes time to import
if MYPY:
    from collections.abc import Iterator
    from typing import Any

NOT_IN_A_RUN = "not in a run: there are no params and nothing is logged"

_warned: "set[str]" = set()


class Params(Mapping):  # type: ignore[type-arg]
    """The parameters of this run, by name; read when first asked for. Empty outside a run."""

    def __init__(self) -> None:
        self._values: "dict[str, Any] | None" = None

    def _read(self) -> "dict[str, Any]":
        if self._values is None:
            path = os.environ.get("PENSTOCK_PARAMS")
            if not path:
                warn(NOT_IN_A_RUN)
                return {}
            with open(path, encoding="utf-8") as file:
                self._values = json.load(file)
        return self._values

    def __getitem__(self, name: str) -> "Any":
        return self._read()[name]

    def __iter__(self) -> "Iterator[str]":
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


params = Params()


def log_metric(name: str, value: "Any", step: "int | None" = None) -> None:
    """Log a number. Without a step, each metric counts its own from 0."""
    log_metrics({name: value}, step)


def log_metrics(values: "Mapping[str, Any]", step: "int | None" = None) -> None:
    """Log several numbers of one step."""
    with _harmless("metrics"):
        numbers = {event.name(name): event.number(value) for name, value in values.items()}
        tell({"k": "m", "at": now(), "step": event.step(step), "values": numbers})


def log_params(values: "Mapping[str, Any]") -> None:
    """Log parameters that the run itself decided."""
    with _harmless("params"):
        told = {event.name(name): _plain(value) for name, value in values.items()}
        tell({"k": "param", "at": now(), "values": told})


def set_tag(name: str, value: "Any") -> None:
    """Set a tag of the run; a later value takes the place of an earlier one."""
    with _harmless("tag"):
        tell({"k": "tag", "at": now(), "values": {event.name(name): event.text(value)}})


def log_artifact(path: "Any", name: "str | None" = None) -> None:
    """Keep a file or folder with the run's results, as it is now, under ``name`` (else its own)."""
    with _harmless("artifact"):
        source = os.path.abspath(os.fspath(path))
        kept = event.inside(os.path.basename(source) if name is None else name)
        tell({"k": "file", "at": now(), "path": source, "name": kept})


def keep(source: str, folder: str) -> str:
    """Return a copy that the runner may take away when it comes to it. Raises OSError."""
    import shutil  # noqa: PLC0415  few need it, and it takes time
    import tempfile  # noqa: PLC0415  as above

    os.makedirs(folder, exist_ok=True)
    copy = os.path.join(tempfile.mkdtemp(dir=folder), "copy")
    if os.path.isdir(source):
        shutil.copytree(source, copy)
    else:
        shutil.copy(source, copy)
    return copy


def tell(told: "dict[str, Any]") -> None:
    """Append an event; of a file, a copy is made first. Raises OSError, ValueError."""
    path = os.environ.get("PENSTOCK_EVENTS")
    if not path:
        return warn(NOT_IN_A_RUN)
    if told["k"] == "file":
        folder = os.path.join(os.path.dirname(path), event.KEPT)
        told = dict(told, path=keep(told["path"], folder))
    line = event.encode(told)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        count = os.write(file, line)
        if count < len(line):  # the disk is full: end the half line, so that the next is whole
            os.write(file, b"\n")
            raise OSError(28, "no space left for events", path)
    finally:
        os.close(file)
    return None


def warn(what: str) -> None:
    """Say something once."""
    if what not in _warned:
        _warned.add(what)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed
            print("penstock: %s" % what, file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def _harmless(what: str) -> "Iterator[None]":
    try:
        yield
    except Exception as error:  # noqa: BLE001  the user's training must not end here
        kind = type(error).__name__
        if kind not in _warned:
            _warned.add(kind)
            warn("%s not logged: %s" % (what, error))


def _plain(value: "Any") -> "Any":
    """Return a value that JSON has: others as text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value


def now() -> float:
    """Return the time, in seconds since the epoch."""
    return round(time.time(), 6)
