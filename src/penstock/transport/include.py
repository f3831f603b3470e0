"""The Includes of SSH's configuration, which paramiko passes over in silence."""

import glob
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.errors import SettingsError

MOST_DEEP = 5
LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*\S)")  # as paramiko reads it
FOR_ALL = (["host", "*"], ["match", "all"])


@dataclass(frozen=True)
class Part:
    """Lines that are to be read by themselves: what they begin with is for all hosts."""

    file: Path
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """Read a file and what it includes. ``is_users``: what cannot be done is an error."""

    folder: Path  # to which paths are relative
    is_users: bool

    def parts(self, file: Path, depth: int = 0) -> Iterator[Part]:
        """Yield the parts in their order. Raises SettingsError."""
        part, is_for_all = Part(file), True
        for number, line in enumerate(self._lines(file, depth), 1):
            match = LINE.match(line)
            keyword, value = (match[1].lower(), match[2]) if match else ("", "")
            if keyword in ("host", "match"):
                is_for_all = [keyword, value.strip('"').lower()] in FOR_ALL
            if keyword != "include":
                part.lines.append(line)
            elif is_for_all:
                yield part
                for one in self._named(value, f"{file}:{number}"):
                    yield from self.parts(one, depth + 1)
                part = Part(file)
            elif self.is_users:  # found again by who looks up a host of that block: see `refuse`
                part.lines.append(f"Include {file}:{number}\n")
        yield part

    def _lines(self, file: Path, depth: int) -> list[str]:
        if depth > MOST_DEEP:
            raise SettingsError(f"{file} is included too deep", hint="does it include itself?")
        try:
            with file.open(errors="replace") as lines:
                return list(lines)
        except OSError as error:
            if depth and self.is_users:
                why = error.strerror or str(error)
                raise SettingsError(f"{file} cannot be read: {why}", hint=HINT) from error
            return []

    def _named(self, value: str, place: str) -> list[Path]:
        """Return the files that an Include names, those of a pattern in their order."""
        try:
            patterns = [Path(one).expanduser() for one in shlex.split(value, comments=True)]
        except (ValueError, RuntimeError) as error:
            raise SettingsError(f"{place}: this Include cannot be read: {error}") from error
        if self.is_users and set(value) & set("$%"):
            raise SettingsError(f"{place}: an Include with $ or % is not read", hint=HINT)
        found = [sorted(glob.glob(str(self.folder / one))) for one in patterns]  # noqa: PTH207  absolute
        return [Path(one) for some in found for one in some if Path(one).is_file()]


HINT = (
    "put what this host needs into the file itself, or into [clusters.NAME] of the settings "
    "(host as an address, user, port, key, proxy_jump)"
)


def refuse(name: str, place: str) -> None:
    """Raise SettingsError for a host of whose block an Include is a part, in which nobody looks."""
    raise SettingsError(
        f"{place}: an Include inside a Host or Match block, which is for {name}, is not read",
        hint=f"move it above the first Host, or {HINT}",
    )
