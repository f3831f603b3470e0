"""Programs that answer as a test says, for a PATH that has nothing else."""

import shlex
from collections.abc import Mapping
from pathlib import Path


def make_program(folder: Path, name: str, answers: Mapping[str, str]) -> Path:
    """Make a program that notes its arguments, and runs what stands beside the first that fit.

    Of what `answers` names, `*` stands for anything; what it does is a shell's. Arguments that it
    does not name are a mistake of the test: the program ends with 64.
    """
    cases = "".join(f"  {_pattern(words)}) {does} ;;\n" for words, does in answers.items())
    path = folder / name
    path.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >>{shlex.quote(str(folder / name))}.calls
case "$*" in
{cases}  *) echo "not expected: $*" >&2; exit 64 ;;
esac
"""
    )
    path.chmod(0o755)
    return path


def _pattern(words: str) -> str:
    return "*".join(shlex.quote(part) if part else "" for part in words.split("*"))


def calls(program: Path) -> list[str]:
    """Return the arguments of each call, in their order."""
    noted = program.with_name(f"{program.name}.calls")
    return noted.read_text().splitlines() if noted.exists() else []
