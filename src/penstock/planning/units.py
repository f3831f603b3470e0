"""Read memory and time as people write them, and write time as Slurm reads it.

Sources: sbatch(1), ``--mem`` (K, M, G, T are powers of 1024) and ``--time`` (minutes, MM:SS,
HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS). A bare number is refused: to Slurm it is megabytes in one and
minutes in the other, to people it is neither.
"""

import math
import re
from fractions import Fraction

_KIB = {"K": Fraction(1), "M": Fraction(1 << 10), "G": Fraction(1 << 20), "T": Fraction(1 << 30)}
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_MEM = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(?:i?B)?", re.IGNORECASE | re.ASCII)
_WORDS = re.compile(r"(?:\d+(?:\.\d+)?[dhms] ?)+", re.IGNORECASE | re.ASCII)
_WORD = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.IGNORECASE | re.ASCII)
_DAYS = re.compile(r"(\d+)-(\d\d?)(?::(\d\d))?(?::(\d\d))?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d)", re.ASCII)
_BARE = re.compile(r"[+-]?[\d._]+", re.ASCII)
MEM_HINT = "write it with its unit: 500M, 4G, 1.5G"
TIME_HINT = 'write it with its unit: 90s, 30m, 2h, 1d, 1h30m; or as "1:30:00" or "1-12:00:00"'
_MOST = 1 << 40  # beyond any machine and any patience; within 64 bits everywhere


def mem_mb(text: str) -> int:
    """Return mebibytes, rounded up. Raises ValueError, with what is wrong."""
    match = _MEM.fullmatch(text.strip())
    if match is None:
        raise ValueError(_unread(text, "an amount of memory"))
    amount = math.ceil(Fraction(match[1]) * _KIB[match[2].upper()] / 1024)
    if not 0 < amount < _MOST:
        raise ValueError(f"{text} is no amount that a run can have")
    return amount


def time_s(text: str) -> int:
    """Return seconds, rounded up. Raises ValueError, with what is wrong."""
    text = text.strip()
    if _WORDS.fullmatch(text):
        seconds = _words(text)
    elif match := _DAYS.fullmatch(text):
        seconds = _sum(text, *match.groups())
    elif match := _CLOCK.fullmatch(text):
        # The first number may be as large as one likes: 90:00 is an hour and a half.
        hours, minutes, rest = match.groups()
        if hours is None:
            seconds = int(minutes) * 60 + _below(text, rest, 60)
        else:
            seconds = int(hours) * 3600 + _below(text, minutes, 60) * 60 + _below(text, rest, 60)
    else:
        raise ValueError(_unread(text, "a length of time"))
    if not 0 < seconds < _MOST:
        raise ValueError(f"{text} is no time that a run can have")
    return seconds


def _words(text: str) -> int:
    pairs = [(amount, unit.lower()) for amount, unit in _WORD.findall(text)]
    units = [unit for _, unit in pairs]
    if units != sorted(set(units), key="dhms".index):
        raise ValueError(f"{text} has its units twice or in another order than d, h, m, s")
    return math.ceil(sum(Fraction(amount) * _SECONDS[unit] for amount, unit in pairs))


def _sum(text: str, days: str, hours: str, minutes: str | None, seconds: str | None) -> int:
    clock = _below(text, hours, 24) * 3600 + _below(text, minutes, 60) * 60
    return int(days) * 86400 + clock + _below(text, seconds, 60)


def _below(text: str, part: str | None, end: int) -> int:
    number = int(part or 0)
    if number >= end:
        raise ValueError(f"{text} has a part that is not below {end}: {number}")
    return number


def _unread(text: str, what: str) -> str:
    return f"{text} has no unit" if _BARE.fullmatch(text) else f"{text!r} is not {what}"


def slurm_time(seconds: int) -> str:
    """Return ``1-02:03:04`` or ``02:03:04``."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{clock}" if days else clock


def people_time(seconds: int) -> str:
    """Return ``1d2h``, ``90s`` as ``1m30s``: what ``time_s`` reads."""
    out = ""
    for unit, size in _SECONDS.items():
        count, seconds = divmod(seconds, size)
        out += f"{count}{unit}" if count else ""
    return out or "0s"
