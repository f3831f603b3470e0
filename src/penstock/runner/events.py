"""Read what user code tells (see wire.event), check each line, and make records of it."""

import json
import time

from penstock.runner.points import Points
from penstock.runner.tail import Tail
from penstock.wire import event

MYPY = False  # typing takes time to import
if MYPY:
    from typing import Any

NAMED = 5000  # params and tags of one run


class Events:
    """The events of a run: ``read`` them now and then, ``close`` at the end."""

    def __init__(self, path: str, points: Points) -> None:
        self._tail = Tail(path, event.LINE)
        self._points = points
        self._named: "set[tuple[str, str]]" = set()
        self.bad = 0
        self.why = ""  # the first bad one
        self.files: "list[tuple[str, str]]" = []  # to be copied: path, name

    def read(self, at_most: int) -> "list[dict[str, object]]":
        """Return the records of what was added; points go to the points."""
        return self._records(self._tail.lines(at_most))

    @property
    def is_behind(self) -> bool:
        """Say whether there is more to read."""
        return self._tail.is_behind

    def close(self) -> "list[dict[str, object]]":
        """Return the records of what stands at the end without a newline."""
        records = self._records(self._tail.last())
        self._tail.close()
        self.bad += self._tail.too_long
        if self._tail.too_long and not self.why:
            self.why = "a line has more than %d bytes" % event.LINE
        return records

    def _records(self, lines: "list[bytes]") -> "list[dict[str, object]]":
        records: "list[dict[str, object]]" = []
        for line in lines:
            try:
                records += self._record(line)
            except (ValueError, RecursionError) as error:
                self.bad += 1
                self.why = self.why or "%s: %.200r" % (error, line)
        return records

    def _record(self, line: bytes) -> "list[dict[str, object]]":
        if not line.strip():
            return []
        told = json.loads(line.decode())
        kind = told.get("k") if isinstance(told, dict) else None
        if kind == "m":
            self._metric(told)
            return []
        if kind in ("param", "tag"):
            return self._named_values(kind, told)
        if kind == "file":
            self.files.append((str(told.get("path")), event.inside(told.get("name"))))
            return []
        raise ValueError("no event that is known here")

    def _metric(self, told: "dict[str, Any]") -> None:
        values, step, at = _values(told), event.step(told.get("step")), _at(told)
        checked = [(event.name(name), event.number(value)) for name, value in values.items()]
        for name, value in checked:
            self._points.add(name, value, step, at)

    def _named_values(self, kind: str, told: "dict[str, Any]") -> "list[dict[str, object]]":
        records: "list[dict[str, object]]" = []
        for name, value in _values(told).items():
            self._named.add((kind, event.name(name)))
            if len(self._named) > NAMED:
                raise ValueError("more than %d params and tags" % NAMED)
            kept = event.text(value) if kind == "tag" else _short(value)
            records.append({"k": kind, "at": _at(told), "name": name, "value": kept})
        return records


def _values(told: "dict[str, Any]") -> "dict[str, Any]":
    values = told.get("values")
    if not isinstance(values, dict):
        raise ValueError("an event without values")
    return values


def _at(told: "dict[str, Any]") -> float:
    """Return when it was told; user code may have written anything."""
    at = told.get("at")
    if isinstance(at, (int, float)) and 0 < at < 1e11:
        return round(float(at), 3)
    return round(time.time(), 3)


def _short(value: object) -> object:
    """Return a parameter's value, or the beginning of its text where it is too long."""
    body = json.dumps(value, ensure_ascii=False)
    return value if len(body) <= event.TEXT else event.text(body)
