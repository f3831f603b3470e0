"""Command lines as Slurm's programs read them, and how they write times and names."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path

from penstock.testing.indices import ranges
from penstock.testing.model import Cluster

INFINITE = float("inf")


class Stop(Exception):
    """A program ends here: its exit code, and what it said last."""

    def __init__(self, code: int, err: str = "", out: str = "") -> None:
        super().__init__(err)
        self.code, self.err, self.out = code, err, out


def read_file(path: str) -> bytes:
    """Return a file of this machine."""
    return Path(path).read_bytes()


@dataclass(frozen=True)
class Call:
    """One call of one program."""

    cluster: Cluster
    argv: Sequence[str]
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "alice"
    folder: str = "/"
    open_file: Callable[[str], bytes] = read_file

    @property
    def program(self) -> str:
        """Return sbatch, squeue and so on."""
        return self.argv[0].rsplit("/", 1)[-1]

    @property
    def is_admin(self) -> bool:
        """Return whether an administrator calls."""
        return self.cluster.who(self.user).is_admin

    def rpc(self, *names: str) -> None:
        """Count messages to the controller; raise Stop where it does not answer."""
        if self.cluster.is_down:
            raise Stop(1, f"{self._prefix()}{UNREACHABLE}\n")
        for name in names:
            self.cluster.rpc(name, self.user)

    def _prefix(self) -> str:
        return {
            "squeue": "slurm_load_jobs error: ",
            "sbatch": "sbatch: error: Batch job submission failed: ",
            "scancel": "scancel: error: ",
            "sdiag": "slurm_get_statistics: ",
            "sinfo": "slurm_load_partitions: ",
        }.get(self.program, "slurm_load_ctl_conf error: ")

    def time(self, at: float | None, none: str = "N/A") -> str:
        """Return a time as the environment wants it."""
        if at is None:
            return none
        form = self.env.get("SLURM_TIME_FORMAT", "standard")
        return _spell(at, self.cluster.site.utc_offset_s, form)


@lru_cache(4096)  # each look prints the same times again
def _spell(at: float, offset_s: int, form: str) -> str:
    local = datetime.fromtimestamp(at, timezone(timedelta(seconds=offset_s)))
    return local.strftime("%Y-%m-%dT%H:%M:%S" if form == "standard" else form)


UNREACHABLE = "Unable to contact slurm controller (connect failure)"


@dataclass(frozen=True)
class Read:
    """A command line that was read: values by the option's long name, and the rest."""

    values: dict[str, list[str]]
    rest: list[str]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def last(self, name: str, default: str = "") -> str:
        """Return the last value of an option."""
        return self.values.get(name, [default])[-1]


def read(
    program: str,
    argv: Sequence[str],
    valued: str,
    flags: str,
    *,
    stop_at_rest: bool = False,
    code: int = 1,
) -> Read:
    """Read options; ``valued`` and ``flags`` list them as ``o/format p/partition …``.

    Raises Stop at an unknown one, as getopt would say it.
    """
    names = {name: long for long, *shorts in _spelled(valued) for name in (long, *shorts)}
    bare = {name: long for long, *shorts in _spelled(flags) for name in (long, *shorts)}
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    todo = list(argv)
    while todo:
        word = todo.pop(0)
        if word == "--":
            rest += todo
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if stop_at_rest:
                rest += todo
                break
        elif word.startswith("--"):
            _long(program, word, todo, (names, bare, found, code))
        else:
            _short(program, word, todo, (names, bare, found, code))
    return Read(found, rest)


_Tables = tuple[dict[str, str], dict[str, str], dict[str, list[str]], int]


def _long(program: str, word: str, todo: list[str], tables: _Tables) -> None:
    names, bare, found, code = tables
    name, mark, value = word[2:].partition("=")
    if name in bare:
        found.setdefault(bare[name], []).append(value)
    elif name in names and (mark or todo):
        found.setdefault(names[name], []).append(value if mark else todo.pop(0))
    else:
        raise Stop(code, _unknown(program, f"unrecognized option '--{name}'"))


def _short(program: str, word: str, todo: list[str], tables: _Tables) -> None:
    names, bare, found, code = tables
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in bare:
            found.setdefault(bare[letter], []).append("")
        elif letter in names and (letters or todo):
            found.setdefault(names[letter], []).append(letters or todo.pop(0))
            return
        else:
            raise Stop(code, _unknown(program, f"invalid option -- '{letter}'"))


def _unknown(program: str, what: str) -> str:
    return f'{program}: {what}\nTry "{program} --help" for more information\n'


def _spelled(text: str) -> Iterable[list[str]]:
    for word in text.split():
        *shorts, long = word.split("/")
        yield [long, *shorts]


# --- times, names ---

_TIME = re.compile(r"now(?:([+-])(\d+)(second|minute|hour|day|week)?s?)?")
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, None: 1}


def moment(text: str, call: Call) -> float | None:
    """Return the time that a user wrote, or None where it is none."""
    match = _TIME.fullmatch(text)
    if match:
        sign, number, unit = match.groups()
        return call.cluster.now + (int(number or 0) * _UNITS[unit] * (-1 if sign == "-" else 1))
    if text.startswith("uts="):
        return float(text[4:])
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return at - call.cluster.site.utc_offset_s


def seconds(text: str) -> int | None:
    """Return the seconds of ``10``, ``10:30``, ``1:00:00``, ``3-0``, ``3-0:0:0``; None: no time."""
    if text.lower() in ("infinite", "unlimited"):
        return 365 * 86400
    days, mark, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in [*parts, days or "0"]) or len(parts) > 3:
        return None
    numbers = [int(part) for part in parts]
    if mark:  # D-H, D-H:M, D-H:M:S
        hours, minutes, rest = (*numbers, 0, 0)[:3]
    elif len(numbers) < 3:  # M, M:S
        hours, minutes, rest = 0, *(*numbers, 0)[:2]
    else:
        hours, minutes, rest = numbers
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + rest


def span(number: float, *, short: bool = False) -> str:
    """Return ``1-02:03:04``; short: ``3:04`` where it can be."""
    if number == INFINITE:
        return "UNLIMITED"
    whole = int(number)
    days, hours, minutes, rest = (
        whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60,
    )  # fmt: skip
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
    if short:
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{hours:02}:{minutes:02}:{rest:02}"


_NUMBERED = re.compile(r"(.*?)(\d+)")


def node_list(names: Sequence[str]) -> str:
    """Return ``n[1-3,7]``."""
    if len(names) < 2:
        return "".join(names)
    stems: dict[str, list[int]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            return ",".join(names)
        stems.setdefault(match[1], []).append(int(match[2]))
    return ",".join(
        f"{stem}[{ranges(sorted(numbers))}]" if len(numbers) > 1 else f"{stem}{numbers[0]}"
        for stem, numbers in stems.items()
    )


_MEMORY = re.compile(r"(\d+)([KMGT]?)B?", re.IGNORECASE)


def megabytes(text: str) -> int | None:
    """Return the megabytes of ``100``, ``4G``."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        return None
    scale = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024 * 1024}[match[2].upper()]
    return max(1, int(int(match[1]) * scale)) if int(match[1]) else 0
