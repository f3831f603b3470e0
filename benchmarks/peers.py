"""Slurm's words and expressions, put to the parsers of submitit, seml and Penstock.

What is right is in ``truths``. Each is asked in its own venv and in its own way: submitit whether a
task is over, seml in which of its lists a word is, and each which tasks an id stands for.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import venvs
from benchmarks.figures import Figure, at_least
from benchmarks.timing import As
from benchmarks.truths import (
    CODES,
    EXPRESSIONS,
    HELD,
    NOT_OVER,
    STATES,
    UNKNOWN,
    Expression,
    Said,
    questions,
)

OURS = "penstock"
Answer = dict[str, Any]
Row = tuple[str, str, dict[str, tuple[str, bool]]]  # what was said, what is right, who made what


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said to this benchmark: nothing."""
    del parser


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Print who was right and who was wrong on each; yield how many Penstock has right."""
    del given
    with venvs.workplace() as folder:
        ours, peers = venvs.product(folder), venvs.peers(folder)
        scripts = venvs.scripts(folder)
        asked = folder / "asked.json"
        asked.write_text(json.dumps(questions()))
        programs = {"submitit": peers, "seml": peers, OURS: ours}
        answers = {
            name: _ask(folder, bin_ / "python", scripts / f"peers_{name}.py", asked)
            for name, bin_ in programs.items()
        }
        versions = {name: venvs.version(peers, name) for name in ("submitit", "seml")}
    yield from _compared("words of states", states(answers), versions)
    codes = states({OURS: answers[OURS]}, CODES, first=len(STATES))
    yield from _compared("two-letter codes of states (no peer asks for them)", codes, {})
    yield from _compared("job ids and array expressions", expressions(answers), versions)


def _ask(folder: Path, python: Path, script: Path, asked: Path) -> Answer:
    told = As(folder, {"HOME": str(folder)}).run(python, script, asked).out.splitlines()[-1]
    answers: Answer = json.loads(told)
    return answers


def _compared(what: str, rows: list[Row], versions: dict[str, str]) -> Iterator[Figure]:
    print(_table(what, rows), flush=True)
    right = {name: sum(by[name][1] for _, _, by in rows) for name in rows[0][2]}
    peer = ", ".join(f"{version}: {right[name]}" for name, version in versions.items())
    yield at_least(f"{what}, right of {len(rows)}", right[OURS], "right", len(rows), peer=peer)


def _table(what: str, rows: list[Row]) -> str:
    names = list(rows[0][2])
    lines = [f"| {what} | right | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for said, right, by in rows:
        cells = [f"{text} {'✓' if is_right else '✗'}" for text, is_right in by.values()]
        lines.append(f"| `{said}` | {right} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


# --- states ---


def states(
    answers: dict[str, Answer], asked: tuple[Said, ...] = STATES, first: int = 0
) -> list[Row]:
    """Return who made what of each word."""
    return [
        (
            said.text,
            said.right,
            {
                name: (_shown(told["states"][at]), is_right(said.right, told["states"][at]))
                for name, told in answers.items()
            },
        )
        for at, said in enumerate(asked, first)
    ]


def _shown(answer: Answer) -> str:
    if "raised" in answer:
        return str(answer["raised"])
    return answer.get("kind") or ("over" if answer["over"] else "not over")


def is_right(right: str, answer: Answer) -> bool:
    """Return whether an answer is right as far as it goes; of a word in no list seml says little.

    Whoever names a kind has to name the right one; ``failed`` alone is not wrong where memory was
    the cause, only short.
    """
    if "raised" in answer or answer["over"] is not (right not in NOT_OVER | {UNKNOWN}):
        return False
    kind = answer.get("kind")
    if kind is None or right == "sibling":
        return True
    if right in (HELD, UNKNOWN) or right in NOT_OVER:
        return bool(kind == right)
    return bool(kind == right or kind == right.partition(":")[0])


# --- expressions ---


def expressions(answers: dict[str, Answer]) -> list[Row]:
    """Return who made what of each id."""
    return [
        (
            one.text,
            _tasks(one.right),
            {
                name: (_read(told["expressions"][at]), is_read(one, told["expressions"][at]))
                for name, told in answers.items()
            },
        )
        for at, one in enumerate(EXPRESSIONS)
    ]


def _read(answer: Answer) -> str:
    return answer["raised"] if "raised" in answer else _tasks(answer["tasks"])


def _tasks(tasks: list[str] | tuple[str, ...] | None) -> str:
    if tasks is None:
        return "not known"
    return ", ".join(tasks) or "nothing"


def is_read(one: Expression, answer: Answer) -> bool:
    """Return whether an id was read rightly. Of a list that was cut off nothing may be believed."""
    if "raised" in answer:
        return False
    if answer.get("throttle", one.throttle) != one.throttle:
        return False
    if one.right is None:
        return not answer["tasks"]
    if answer["tasks"] is None:
        return False
    return {_plain(task) for task in answer["tasks"]} == set(one.right)


def _plain(task: str) -> str:
    """Return a task without leading zeros."""
    job, _, index = task.partition("_")
    return f"{job}_{int(index)}" if index.isdecimal() else task
