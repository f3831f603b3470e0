"""What the tests of faults on a real Slurm share."""

import json
import os
import subprocess
from typing import Any

from tests.acceptance.conftest import Site

USUAL = {"mem": "50M", "time": "5m"}  # a busy machine needs more than one
GOOD = ("completed", None)  # state and cause
QUICK = {
    "PENSTOCK_ACCOUNTING_LAG_S": "1",
    "PENSTOCK_RECORD_GRACE_S": "1",
    "PENSTOCK_POLL_MAX_S": "2",
}


def spec(name: str, *command: str, **more: Any) -> str:
    request = {**USUAL, **more.pop("request", {})}
    return json.dumps({"experiment": name, "command": command, "request": request, **more})


def shell(name: str, script: str, **more: Any) -> str:
    return spec(name, "sh", "-c", script, **more)


def slurm_says(site: Site, *words: str, code: int = 0) -> str:
    """Run a command of Slurm as the project's user."""
    run: subprocess.CompletedProcess[str] = subprocess.run(
        words,
        **site.who(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == code, run.stderr
    return run.stdout


def root_says(*words: str) -> str:
    """Run a command of Slurm as its administrator."""
    done = subprocess.run(
        words, env={**os.environ}, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def gated(site: Site, name: str, **more: Any) -> str:
    """Return a spec of runs that say when they begin, and end when their gate is opened."""
    script = (
        f'echo "$PENSTOCK_RUN $PENSTOCK_RESTART" >> {site.root}/begun.txt; '
        f"until [ -e {site.root}/{name}.gate ]; do sleep 0.1; done"
    )
    return shell(name, script, **more)


def open_gate(site: Site, *names: str) -> None:
    """Let the runs of experiments end."""
    for name in names:
        site.write(f"{name}.gate", "")


def begun(site: Site) -> list[str]:
    """Return run and restart of each command that has begun, in order."""
    try:
        return (site.root / "begun.txt").read_text().splitlines()
    except FileNotFoundError:
        return []


def states(site: Site, name: str) -> list[tuple[str, str | None]]:
    """Return state and cause of the runs of an experiment when all have ended."""
    return [(run["state"], run["cause"]) for run in site.ended(name)]


def last(site: Site, run: str) -> dict[str, Any]:
    """Return the last attempt of a run, as JSON has it."""
    attempt: dict[str, Any] = site.json("show", run)["attempts"][-1]
    return attempt


def state(site: Site, run: str) -> str:
    """Return the state of a run after a look at the queue."""
    site("tick")
    found: str = site.json("show", run)["state"]
    return found


def wait_for(site: Site, run: str, wanted: str) -> None:
    site.until(lambda: state(site, run) == wanted, f"{run} to be {wanted}")


def program(site: Site, name: str, script: str) -> None:
    """Put a program before Slurm's own of that name."""
    folder = site.root / "programs"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)
    site.env["PATH"] = f"{folder}:{site.bin}:/usr/local/bin:/usr/bin:/bin"


def log(site: Site, run: str) -> str:
    """Return what a run wrote so far; nothing where it has not begun."""
    return site.ask("logs", run).stdout


def assert_once(site: Site, name: str, codes: "set[int] | frozenset[int]" = frozenset({0})) -> None:
    """Submit with a fault, go on without it: each run ran once."""
    file = site.root / "ran.txt"
    text = shell(name, f'echo "$PENSTOCK_RUN" >> {file}', params={"n": [1, 2, 3, 4]})
    submit = site.start("submit", site.write(f"{name}.yaml", text))
    out, err = submit.communicate(timeout=60)
    assert submit.returncode in codes, err
    assert "4 runs" in out
    site.env = {}
    runs = site.ended(name)
    assert [(run["state"], run["attempt"]) for run in runs] == [("completed", 1)] * 4
    assert sorted(file.read_text().split()) == [f"{name}/{n}" for n in range(1, 5)]
