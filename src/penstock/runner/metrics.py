"""Read metrics from what a command prints."""

import contextlib
import re
import signal
from collections.abc import Iterator

from penstock.runner.points import Points
from penstock.runner.tail import Tail
from penstock.wire import event

LINE = 4096  # bytes of a line that are looked at
PATIENCE_S = 2.0  # for one line; a regular expression can take for ever

# `name: value`, `name=value`, also quoted as in {'loss': 0.3}. Not `12:30`, not `host:8080`.
PAIRS = (
    r"(?<![\w.@/-])(?P<name>[A-Za-z_][\w./@-]*)[\"']?(?:\s*=\s*|\s*:\s+)"
    r"(?P<value>[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?))"
    r"(?=$|[\s,;|)\]}%])"
)


class TooSlow(Exception):
    """The regular expression takes too long on a line."""


_is_armed = False


def _ring(*_: object) -> None:
    if _is_armed:
        raise TooSlow


class Printed:
    """The metrics in a log. ``pattern`` is True for pairs, or a regular expression.

    With groups ``name`` and ``value`` each match is a point; else each named group is a metric of
    its own. A group ``step`` gives the step; else each metric counts. Raises ValueError (re.error
    is another) where the expression is none.
    """

    def __init__(self, path: str, pattern: object, points: Points) -> None:
        text = PAIRS if pattern is True or not pattern else str(pattern)
        self._points = points
        self._tail = Tail(path, 1 << 20, b"\n\r")  # progress bars rewrite their line
        self.note = ""
        try:
            self._find = re.compile(text, re.IGNORECASE if text is PAIRS else 0)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError("metrics.stdout is no regular expression: %s" % error) from None
        self._groups = set(self._find.groupindex) - {"step"}
        if not self._groups:
            raise ValueError(
                "metrics.stdout names no metric: write groups (?P<name>…) and (?P<value>…), or one "
                "group for each metric, as (?P<loss>…)"
            )
        signal.signal(signal.SIGALRM, _ring)

    def read(self, at_most: int) -> None:
        """Add the points of what was printed since the last time."""
        if not self.note:
            self._lines(self._tail.lines(at_most))

    @property
    def is_behind(self) -> bool:
        """Say whether there is more to read."""
        return not self.note and self._tail.is_behind

    def close(self) -> None:
        """Add what stands at the end without a newline."""
        if not self.note:
            self._lines(self._tail.last())
        self._tail.close()

    def _lines(self, lines: "list[bytes]") -> None:
        for raw in lines:
            line = raw[:LINE].decode("utf-8", "replace")
            try:
                matches = self._matches(line)
            except TooSlow:
                self.note = (
                    "metrics.stdout took more than %g s on the line %.80r, so nothing more is read "
                    "from the log" % (PATIENCE_S, line)
                )
                return
            for match in matches:
                self._match(match.groupdict())

    def _matches(self, line: str) -> "list[re.Match[str]]":
        # The re module looks for signals now and then, so an alarm gets us out of it.
        global _is_armed  # noqa: PLW0603  a signal handler has no other way to know
        _is_armed = True
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        try:
            return list(self._find.finditer(line))
        finally:
            _is_armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _match(self, found: "dict[str, str | None]") -> None:
        with contextlib.suppress(ValueError):  # a group that is no number is no metric
            step = event.step(_number(found["step"])) if found.get("step") else None
            for name, value in self._pairs(found):
                with contextlib.suppress(ValueError):
                    self._points.add(event.name(name), _number(value), step)

    def _pairs(self, found: "dict[str, str | None]") -> "Iterator[tuple[object, str | None]]":
        if {"name", "value"} <= self._groups:
            yield found["name"], found["value"]
        else:
            for name in sorted(self._groups):
                if found[name] is not None:
                    yield name, found[name]


def _number(text: "str | None") -> float:
    return float((text or "").replace(",", ""))
