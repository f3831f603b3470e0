"""Say numbers, times and other people's text so that people can read them. Pure."""

import unicodedata
from datetime import datetime

_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def clean(text: str) -> str:
    """Return text on one line, with what could steer a terminal written out.

    That is the control characters, the direction marks that make text read otherwise than it is,
    and lone surrogates, which no terminal takes.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_plain(char) else _written_out(char) for char in text)


def clean_lines(text: str) -> str:
    """Return text of several lines, each clean."""
    return "\n".join(clean(line) for line in text.split("\n"))


def _is_plain(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or char == "\u200d"


def _written_out(char: str) -> str:
    code = ord(char)
    return _ESCAPES.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def width(text: str) -> int:
    """Return how many columns of a terminal text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char) or char == "\u200d":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """Return text that takes at most so many columns, with … where something is left out."""
    if width(text) <= columns:
        return text
    out, left = "", columns - 1
    for char in text:
        left -= _columns(char)
        if left < 0:
            break
        out += char
    return out + "…"


def duration(seconds: float | None) -> str:
    """Return ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, small, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def size(count: float | None) -> str:
    """Return bytes with a unit: ``312 B``, ``1.5 GiB``."""
    if count is None:
        return ""
    value = float(count)
    for unit in _SIZES:
        if abs(value) < 1024 or unit == _SIZES[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def number(value: float | None) -> str:
    """Return a metric's value in six significant digits at most; whole ones without a point."""
    if value is None:
        return ""
    if value == int(value) if value - value == 0 else False:
        return f"{int(value)}" if abs(value) < 1e15 else f"{value:.6g}"
    return f"{value:.6g}"


def count(many: int, one: str) -> str:
    """Return ``1 run``, ``1,200 runs``."""
    return f"{many:,} {one}" if many == 1 else f"{many:,} {one}s"


def when(at: datetime | None, now: datetime) -> str:
    """Return a time in the reader's zone: ``14:03:22`` today, ``Nov 20 14:03``, ``2024-11-20``."""
    if at is None:
        return ""
    local, today = at.astimezone(), now.astimezone()
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    if abs((today - local).days) < 180:
        return f"{local:%b} {local.day:2} {local:%H:%M}"
    return f"{local:%Y-%m-%d}"


def ago(at: datetime | None, now: datetime) -> str:
    """Return a time with its distance: ``14:03:22 (5 min ago)``."""
    if at is None:
        return ""
    return f"{when(at, now)} ({duration((now - at).total_seconds())} ago)"


def looked(asked_at: datetime | None, answered_at: datetime | None, now: datetime) -> str:
    """Return when the queue was asked; and when it answered last, where that was before."""
    if asked_at is None or asked_at == answered_at:
        return ago(asked_at, now)
    last = f"answered at {ago(answered_at, now)}" if answered_at else "never answered"
    return f"asked at {ago(asked_at, now)}, {last}"


def value(thing: object) -> str:
    """Return a parameter as its run gets it, on one line."""
    if isinstance(thing, float) and not isinstance(thing, bool):
        return repr(thing)
    if isinstance(thing, str):
        return clean(thing)
    from penstock.wire.argv import text  # noqa: PLC0415  json, only where there is a list

    return clean(text(thing))


def pairs(params: dict[str, object]) -> str:
    """Return ``lr=0.1 size=3``."""
    return " ".join(f"{clean(name)}={value(one)}" for name, one in params.items())
