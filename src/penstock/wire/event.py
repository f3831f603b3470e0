"""What user code tells its runner: lines of JSON, appended to ``$PENSTOCK_EVENTS``.

Each line is one object, written by one ``write()``, so that threads and processes do not mix:
    {"k": "m", "at": s, "step": n or null, "values": {name: number}}
    {"k": "param", "at": s, "values": {name: JSON}}
    {"k": "tag", "at": s, "values": {name: text}}
    {"k": "file", "at": s, "path": …, "name": …}    a copy, which the runner may take away
Without a step the runner counts: each metric has its own count, from 0.
User code can write anything there, so the runner checks each line and counts the bad ones.
"""

import json
import math

FILE = "events"  # its name, in the folder of the run on scratch
KEPT = "kept"  # beside it: copies that wait for the runner
LINE = 1 << 16  # bytes of a line
NAME = 250  # characters of a name
TEXT = 8000  # characters of a tag or of a parameter's JSON


def encode(event: "dict[str, object]") -> bytes:
    """Return an event as its line. Raises ValueError where it is too long."""
    line = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )
    if len(line) >= LINE:
        raise ValueError("%d bytes are too many for one event (%d)" % (len(line), LINE))
    return line + b"\n"


def name(value: object) -> str:
    """Return a name as it is. Raises ValueError where it is none."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("a name is printable text, not %.80r" % (value,))
    if len(value) > NAME:
        raise ValueError("a name has at most %d characters, not %d" % (NAME, len(value)))
    return value


def number(value: object) -> float:
    """Return a number, also of numpy or torch. Raises ValueError where it is none."""
    if isinstance(value, (str, bytes)):
        raise ValueError("a metric is a number, not %.80r" % (value,))
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError("a metric is a number, not %.80r" % (value,)) from None


def step(value: object) -> "int | None":
    """Return a step: None, or a whole number of 64 bits. Raises ValueError where it is none."""
    if value is None:
        return None
    exact = number(value)
    if not math.isfinite(exact) or exact != int(exact) or abs(exact) >= 2**63:
        raise ValueError("a step is a whole number, not %.80r" % (value,))
    return value if isinstance(value, int) and not isinstance(value, bool) else int(exact)


def text(value: object) -> str:
    """Return a tag's value as text, cut off where it is too long."""
    whole = value if isinstance(value, str) else str(value)
    return whole if len(whole) <= TEXT else whole[: TEXT - 1] + "…"


def inside(path: object) -> str:
    """Return a name below the run's folder, as ``a/b``. Raises ValueError where it leaves."""
    parts = name(path).split("/")
    kept = [part for part in parts if part not in ("", ".")]
    if not kept or parts[0] == "" or ".." in kept:
        raise ValueError("%.80r is not a path below the run's folder" % (path,))
    return "/".join(kept)
