"""One of a crowd: ``python -m penstock.testing.member ROLE NUMBER FOLDER URL``.

It works until there is a file ``stop``, and may be killed at any instant.
"""

import contextlib
import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.model.run import PlannedArray
from penstock.model.spec import Request, Stage
from penstock.store import attempts, ingest, submissions
from penstock.store.connection import Connection, Store
from penstock.store.submissions import NewSubmission
from penstock.store.writers import Writers
from penstock.transport.local import LocalTransport
from penstock.wire import place, spool

PROJECT = "crowd"
STOP = "stop"
ELEMENTS = 8  # of each array whose spools are read in
MOST_RUNS = 200  # of a submission
MOST_REST_S = 0.1  # between two transactions: half of the time somebody writes all the same
WHO: dict[str, Any] = {"user": "crowd", "cluster": "crowd"}
INGESTERS = (2, 3)
# Each is to be 0 in every state that a reader may see.
LOOKS = {
    "a submission with a part of its runs": (
        "SELECT count(*) FROM submission s WHERE s.folder = 'crowd' AND CAST(s.spec AS INTEGER) <>"
        " (SELECT count(*) FROM run r JOIN stage t ON t.id = r.stage_id"
        " WHERE t.submission_id = s.id)"
    ),
    "a number that would be given again": (
        "SELECT count(*) FROM experiment e WHERE e.next_number <>"
        " (SELECT coalesce(max(number), 0) + 1 FROM run r WHERE r.experiment_id = e.id)"
    ),
    "points without their sum": (
        "SELECT count(*) FROM metric m WHERE m.key = 'loss' AND m.count <>"
        " (SELECT sum(c.count) FROM chunk c JOIN attempt a ON a.id = c.attempt_id"
        " WHERE a.run_id = m.run_id AND c.key = m.key)"
    ),
    "points beside what was read of their spool": (
        "SELECT count(*) FROM chunk c JOIN attempt a ON a.id = c.attempt_id WHERE NOT EXISTS"
        " (SELECT 1 FROM spool s WHERE s.array_id = a.array_id AND s.idx = a.idx AND s.read_to > 0)"
    ),
}


def token(number: int) -> str:
    """Return the token of an ingester's array."""
    return f"ps-crowd-{number}"


def prepare(folder: Path, store: Store, url: str) -> None:
    """Make the arrays whose spools are read in, and the project in which commands are called."""
    for number in INGESTERS:
        with store.write() as tx:
            _insert(tx, f"{PROJECT}-{number}", ELEMENTS, PROJECT)
            ready = tuple(attempts.ready(tx, **WHO))
            planned = PlannedArray(ready[0].stage, Request(), ready)
            attempts.insert_array(tx, planned, token=token(number), now=_now(), **WHO)
    root = folder / "project"
    root.mkdir()
    (folder / "home").mkdir()
    text = (
        f'store = {json.dumps(url)}\nscheduler = "local"\nproject = "{PROJECT}"\nhome = "../home"\n'
    )
    (root / "penstock.toml").write_text(text)


def _now() -> datetime:
    return datetime.now(UTC)


def _insert(tx: Connection, uid: str, runs: int, name: str) -> None:
    new = NewSubmission(
        uid=uid,
        project=PROJECT,
        experiment=name,
        **WHO,
        spec_text=str(runs),
        folder="crowd",
        file="crowd.yaml",
        code="",
        stages=(Stage(name="main", command=("true",)),),
    )
    params = ((0, submissions.params({"n": n})) for n in range(runs))
    submissions.insert(tx, new, params, _now())


class Member:
    """What all of them do: note, and go on until they are to stop."""

    def __init__(self, number: int, folder: Path, store: Store) -> None:
        self.number, self.folder, self.store = number, folder, store
        self._notes = (folder / f"notes.{number}").open("a")
        self._notes.write("\n")  # behind half a line of one that was killed
        self.draw = random.Random()

    def note(self, **said: object) -> None:
        """Write a line; it is there whatever becomes of this process."""
        self._notes.write(json.dumps(said) + "\n")
        self._notes.flush()

    def rounds(self) -> Iterator[None]:
        """Yield until it is over."""
        while not (self.folder / STOP).exists():
            yield
            time.sleep(self.draw.uniform(0, MOST_REST_S))

    @contextlib.contextmanager
    def writing(self, **said: object) -> Iterator[Connection]:
        """Begin a transaction; note how long that took, and that it counts."""
        began = time.monotonic()
        with self.store.write() as tx:
            wait_s = time.monotonic() - began
            yield tx
        self.note(**{"is": "done"}, wait_s=wait_s, **said)

    def submit(self) -> None:
        """Submit, again and again."""
        for _ in self.rounds():
            name, runs = f"submit-{secrets.token_hex(6)}", self.draw.randint(1, MOST_RUNS)
            self.note(**{"is": "begin"}, name=name, runs=runs)
            with self.writing(name=name) as tx:
                _insert(tx, secrets.token_hex(8), runs, name)

    def ingest(self) -> None:
        """Let spools grow, and read them in."""
        for _ in self.rounds():
            _grow(self.folder, self.number, self.draw)
            with self.writing() as tx:
                _read_in(tx, self.folder, self.number)

    def command(self) -> None:
        """Call Penstock's own commands, in a project that shares the store."""
        root = self.folder / "project"
        for _ in self.rounds():
            name, runs = f"command-{secrets.token_hex(6)}", self.draw.randint(1, 3)
            spec = root / f"spec.{self.number}.yaml"
            spec.write_text(f"command: ['true']\nparams: {{n: {list(range(runs))}}}\n")
            self.note(**{"is": "begin"}, name=name, runs=runs)
            _call(root, "submit", "--name", name, str(spec))
            self.note(**{"is": "done"}, name=name)
            for words in (["tick"], ["runs", "--limit", "5"], ["cancel", "--yes", name]):
                _call(root, *words)

    def look(self) -> None:
        """Look whether what is seen is whole, and never less than it was."""
        most = 0
        for _ in self.rounds():
            wrong = []
            with self.store.read() as view:
                for what, sql in LOOKS.items():
                    row = view.one(sql)
                    if row is None or row[0]:
                        wrong.append(f"a look found {what}: {row}")
                row = view.one("SELECT count(*) FROM run")
            runs = row[0] if row else 0
            if runs < most:
                wrong.append(f"a look found {runs} runs, where there were {most}")
            most = max(most, runs)
            self.note(**{"is": "look"}, wrong=wrong)


def _call(root: Path, *words: str) -> None:
    argv = [sys.executable, "-m", "penstock.cli", "--project", str(root), *words]
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(root)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stdout}{done.stderr}")


# --- spools


def _path(folder: Path, number: int, index: int) -> Path:
    return folder / "arrays" / token(number) / place.spool(index, 0, False)


def _grow(folder: Path, number: int, draw: random.Random) -> None:
    """Append points to some spools, as runners do."""
    for index in draw.sample(range(ELEMENTS), 3):
        path = _path(folder, number, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = b""
        if not path.exists():
            who = {"token": token(number), "index": index, "restart": 0, "job": "7", "node": "n1"}
            lines += spool.encode({"k": "open", "at": time.time(), **who, "pid": 1})
        many = draw.randint(1, 50)
        columns = {"steps": list(range(many)), "times": [time.time()] * many}
        values = [draw.random() for _ in range(many)]
        told = {"k": "m", "at": time.time(), "key": "loss", **columns, "values": values}
        lines += spool.encode(told)
        with path.open("ab") as file:
            file.write(lines)


def _read_in(tx: Connection, folder: Path, number: int) -> None:
    row = tx.one("SELECT id FROM job_array WHERE token = ?", (token(number),))
    assert row is not None
    there = str(folder / "arrays" / token(number))
    tails = list(LocalTransport().tails(there, ingest.offsets(tx, row[0])))
    ingest.ingest(tx, row[0], tails, _now())


def read_in(folder: Path, store: Store, number: int) -> None:
    """Read in what the spools of an ingester have that the store has not."""
    with store.write() as tx:
        _read_in(tx, folder, number)


def points_of(folder: Path, number: int) -> dict[int, int]:
    """Return how many points the spools of an ingester have, by element."""
    found = {}
    for index in range(ELEMENTS):
        with contextlib.suppress(FileNotFoundError):
            records, _, _ = spool.decode(_path(folder, number, index).read_bytes())
            told = [one["values"] for one in records if one["k"] == "m"]
            found[index] = sum(len(one) for one in told if isinstance(one, list))
    return found


def main(role: str, number: int, folder: Path, url: str) -> None:
    """Do what the role is, until it is over."""
    store = Store(url)
    if store.dialect.path is not None:
        store.admit = Writers(folder / "home", store.path, warn=print).admit
    one = Member(number, folder, store)
    {"submit": one.submit, "ingest": one.ingest, "command": one.command, "look": one.look}[role]()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
