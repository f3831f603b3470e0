"""Eight processes at one store, writers that are killed among them, and what came of it.

Two submit, two read spools in, two call Penstock's own commands, two look whether what they see is
whole. What a writer is about to do, and what it has done, it notes in a file of its own.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.store import check
from penstock.store.connection import Store, open_store
from penstock.testing import member
from penstock.testing.member import PROJECT, STOP

ROLES = ("submit", "submit", "ingest", "ingest", "command", "command", "look", "look")
KILLED = range(4)  # who is killed now and then: a shell's command goes on without its shell
KILL_EVERY_S = 3.0
PATIENCE_S = 180.0


@dataclass
class Outcome:
    """What came of a crowd. ``lost``, ``doubled``, ``wrong`` and ``errors`` are to be empty."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # that a look found, or the last check
    errors: list[str] = field(default_factory=list)  # that ended a member
    transactions: int = 0
    runs: int = 0
    points: int = 0
    commands: int = 0
    looks: int = 0
    killed: int = 0
    longest_wait_s: float = 0.0  # for the store, of a transaction that writes


def crowd(folder: Path, *, lasts_s: float, url: str = "", seed: int = 0) -> Outcome:
    """Let eight processes work on one store for a while; return what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    url = url or f"sqlite:///{folder / 'penstock.db'}"
    store = open_store(url, create=True)
    member.prepare(folder, store, url)
    outcome = Outcome()
    members = {number: _start(folder, url, number) for number in range(len(ROLES))}
    draw = random.Random(seed)
    try:
        _await_all(folder, members, outcome)
        end = time.monotonic() + lasts_s
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, KILL_EVERY_S))
            _see(members, outcome)
            number = draw.choice(KILLED)
            members[number].send_signal(signal.SIGKILL)
            members[number].wait()
            outcome.killed += 1
            members[number] = _start(folder, url, number)
    finally:
        (folder / STOP).touch()
        for one in members.values():
            try:
                one.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
                outcome.errors.append(f"process {one.pid} did not end")
    _see(members, outcome)
    judge(folder, store, outcome)
    store.close()
    return outcome


def _start(folder: Path, url: str, number: int) -> "subprocess.Popen[bytes]":
    words = [ROLES[number], str(number), str(folder), url]
    return subprocess.Popen(
        [sys.executable, "-m", "penstock.testing.member", *words], stdin=subprocess.DEVNULL
    )


def _await_all(
    folder: Path, members: "dict[int, subprocess.Popen[bytes]]", outcome: Outcome
) -> None:
    """Wait until each has noted something: on a machine that is busy they take long to begin."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and not all(
        any(_notes(folder / f"notes.{number}")) for number in members
    ):
        _see(members, outcome)
        if outcome.errors:
            return
        time.sleep(0.1)


def _see(members: "dict[int, subprocess.Popen[bytes]]", outcome: Outcome) -> None:
    for number, one in members.items():
        if one.poll():
            outcome.errors.append(f"{ROLES[number]} {number} ended with {one.returncode}")


# --- what came of it


def judge(folder: Path, store: Store, outcome: Outcome) -> None:
    """Compare the store with what its writers noted, and with the spools."""
    notes = [note for path in sorted(folder.glob("notes.*")) for note in _notes(path)]
    for note in notes:
        outcome.transactions += note.get("is", "") == "done"
        outcome.looks += note.get("is", "") == "look"
        outcome.longest_wait_s = max(outcome.longest_wait_s, note.get("wait_s", 0.0))
        outcome.wrong += note.get("wrong", [])
    _judge_submissions(notes, store, outcome)
    for number, role in enumerate(ROLES):
        if role == "ingest":
            _judge_points(folder, store, number, outcome)
    outcome.wrong += check.check(store)


def _notes(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # its writer was killed in the middle of it


def _judge_submissions(notes: list[dict[str, Any]], store: Store, outcome: Outcome) -> None:
    """Compare what is stored with what was begun, and with what was done."""
    begun = {str(note["name"]): int(str(note["runs"])) for note in notes if note["is"] == "begin"}
    done = {str(note["name"]) for note in notes if note["is"] == "done" and "name" in note}
    with store.read() as view:
        found = list(
            view.execute(
                "SELECT e.name, count(DISTINCT s.id), count(r.id), max(r.number) FROM experiment e"
                " JOIN submission s ON s.experiment_id = e.id"
                " LEFT JOIN run r ON r.experiment_id = e.id GROUP BY e.id"
            )
        )
    stored = {name: row for name, *row in found if name != PROJECT}
    outcome.runs = sum(runs for _, runs, _ in stored.values())
    outcome.commands = sum(name.startswith("command") for name in done)
    outcome.lost += [f"{name}: nothing of it is there" for name in done - stored.keys()]
    for name, (times, runs, last) in stored.items():
        wanted = begun.get(name, 0)
        if runs < wanted:
            outcome.lost.append(f"{name}: {runs} of {wanted} runs")
        if runs > wanted or times > 1 or (last or 0) > wanted:
            outcome.doubled.append(f"{name}: {runs} of {wanted} runs, {times} submissions, {last}")


def _judge_points(folder: Path, store: Store, number: int, outcome: Outcome) -> None:
    """Compare the points that are stored with those that the spools have."""
    member.read_in(folder, store, number)  # what came last
    written = member.points_of(folder, number)
    with store.read() as view:
        stored = dict(
            view.execute(
                "SELECT a.idx, sum(c.count) FROM chunk c JOIN attempt a ON a.id = c.attempt_id"
                " JOIN job_array j ON j.id = a.array_id WHERE j.token = ? GROUP BY a.idx",
                (member.token(number),),
            )
        )
    outcome.points += sum(written.values())
    for index, points in written.items():
        kept = stored.get(index, 0)
        what = f"{member.token(number)}, element {index}: {kept} of {points} points"
        if kept < points:
            outcome.lost.append(what)
        elif kept > points:
            outcome.doubled.append(what)
