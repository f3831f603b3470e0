"""Run commands on a real Slurm as ordinary users, and keep what they print."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCAL_SLURM = HERE.parents[1] / "deploy" / "local-slurm"
SQUEUE = ("squeue", "--me", "-h", "-t", "all", "-o", "%i|%F|%K|%T|%r|%P|%V|%S|%e|%M|%N|%j")
# What -o has no letter for, the count of restarts among it. A suffix takes the place of a width.
SQUEUE_LONG = (
    *("squeue", "--me", "-h", "-t", "all", "-O"),
    "JobArrayID:|,ArrayJobID:|,ArrayTaskID:|,JobID:|,State:|,Reason:|,RestartCnt:|,exit_code:|,Name:|",
)
SACCT_FIELDS = (
    "JobID,JobIDRaw,State,ExitCode,DerivedExitCode,Submit,Start,End,Reason,NodeList,User,Partition,"
    "MaxRSS,JobName"
)
DEADLINE_S = 150.0


@dataclass(frozen=True)
class Entry:
    """One recorded command."""

    name: str
    user: str
    env: dict[str, str]
    command: str
    exit: int
    seconds: float


class Recorder:
    """Runs commands as ordinary users and keeps what they print."""

    def __init__(self, conf: str) -> None:
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SLURM_CONF": conf,
            "SLURM_BITSTR_LEN": "0",
            "SLURM_TIME_FORMAT": "standard",
            "LANG": "C.UTF-8",
        }
        version = self.run("root", "sbatch", "--version").stdout.split()[-1]
        self.folder = HERE / f"slurm-{version}"
        self.folder.mkdir(exist_ok=True)
        for old in self.folder.iterdir():
            old.unlink()
        self.entries: list[Entry] = []
        # 22.05 has no --array; what it shows of a pending array is one row.
        self.sacct_options = self.run("root", "sacct", "--help").stdout

    def run(self, user: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        home = Path("~" + user).expanduser()
        full = {**self.env, "HOME": str(home), "USER": user, **env}
        kept = {key: value for key, value in full.items() if value}
        return subprocess.run(
            argv,
            env=kept,
            cwd=home,
            user=user,
            group=user,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )

    def record(self, name: str, *argv: str, user: str = "alice", **env: str) -> None:
        """Run a command and keep its answer. A variable given as "" is left out."""
        began = time.monotonic()
        done = self.run(user, *argv, **env)
        seconds = round(time.monotonic() - began, 1)
        (self.folder / f"{name}.out").write_text(done.stdout)
        if done.stderr:
            (self.folder / f"{name}.err").write_text(done.stderr)
        shown = shlex.join(argv)
        self.entries.append(Entry(name, user, env, shown, done.returncode, seconds))
        say(f"{name}: exit {done.returncode}, {seconds} s, {len(done.stdout)} characters")

    def look(self, name: str, *jobs: str) -> None:
        """Record squeue's and sacct's view of the jobs of a scene."""
        self.record(f"{name}.squeue", *SQUEUE)
        self.record(f"{name}.squeue-long", *SQUEUE_LONG)
        ids = ",".join(jobs)
        wait(lambda: self.are_accounted(jobs), f"{ids} to be in sacct")
        which = ("-D", "-j", ids, "-o", SACCT_FIELDS)
        self.record(f"{name}.sacct", "sacct", "-n", "--parsable2", "-X", *which)
        self.record(f"{name}.sacct-steps", "sacct", "-n", "--parsable2", *which)
        if "--array" in self.sacct_options:
            self.record(
                f"{name}.sacct-array", "sacct", "-n", "--parsable2", "-X", "--array", *which
            )

    def are_accounted(self, jobs: Sequence[str]) -> bool:
        """Tell whether sacct knows of all jobs; it hears of a submission some seconds late."""
        rows = self.admin("sacct", "-n", "-X", "--parsable2", "-j", ",".join(jobs), "-o", "JobID")
        seen = {row.split("_")[0].split("+")[0] for row in rows.splitlines()}
        return seen >= set(jobs)

    def are_named(self, jobs: Sequence[str]) -> bool:
        """Tell whether sacct has the jobs' partitions: rows begin without them, or with no row."""
        rows = self.admin("sacct", "-n", "-X", "-P", "-j", ",".join(jobs), "-o", "Partition")
        return all(rows.splitlines()) and len(rows.splitlines()) >= len(jobs)

    def submit(self, script: str, *options: str, user: str = "alice") -> str:
        """Submit a shell command and return the job's id."""
        quiet = () if any(option.startswith("--output") for option in options) else ("-o/dev/null",)
        argv = ("sbatch", "--parsable", "--mem=20", *quiet, *options, f"--wrap={script}")
        done = self.run(user, *argv)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(argv)}: {done.stderr}")
        return done.stdout.strip()

    def admin(self, *argv: str) -> str:
        done = self.run("root", *argv)
        if done.returncode != 0:
            say(f"! {shlex.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def until(self, job: str, *words: str, reason: str = "") -> None:
        """Wait until squeue shows one of these words, and the reason, for all rows of a job."""

        def is_so() -> bool:
            shown = self.admin("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T|%r")
            rows = [line.split("|", 1) for line in shown.splitlines()]
            return bool(rows) and all(w in words and reason in why for w, why in rows)

        wait(is_so, f"job {job} to be {' or '.join(words)} {reason}")

    def until_accounted(self, job: str, *words: str) -> None:
        """Wait until sacct shows one of these words for all rows of a job."""

        def is_so() -> bool:
            rows = self.admin("sacct", "-n", "-X", "-j", job, "-o", "State%30").splitlines()
            return bool(rows) and all(row.split()[0] in words for row in rows)

        wait(is_so, f"job {job} to be {' or '.join(words)} in sacct")

    def clear(self) -> None:
        """Cancel everything and wait until Slurm has forgotten it, so that scenes do not mix."""
        for user in ("alice", "bob"):
            self.admin("scancel", "-u", user)
        wait(lambda: not self.admin("squeue", "-h", "-t", "all"), "the queue to be empty")

    def part(self, verb: str, name: str) -> None:
        subprocess.run([LOCAL_SLURM, verb, name], check=True, capture_output=True)

    def write_index(self) -> None:
        rows = [asdict(entry) for entry in self.entries]
        (self.folder / "index.json").write_text(json.dumps(rows, indent=1) + "\n")
        lines = [
            f"# What Slurm {self.folder.name.removeprefix('slurm-')} printed",
            "",
            "Made by `python -m tests.data.record_slurm`; do not edit. Standard output is in",
            "NAME.out, standard error, where there was any, in NAME.err. SLURM_BITSTR_LEN=0 and",
            "SLURM_TIME_FORMAT=standard are set unless the command says otherwise: `X=` leaves X",
            "out.",
            "",
            "| name | user | exit | seconds | command |",
            "|---|---|---|---|---|",
        ]
        for e in self.entries:
            given = " ".join(f"{key}={value}" for key, value in e.env.items())
            command = f"{given} {e.command}".strip().replace("|", "\\|").replace("\x1f", "\\x1f")
            short = command if len(command) < 300 else f"{command[:300]} ..."
            lines.append(f"| {e.name} | {e.user} | {e.exit} | {e.seconds} | `{short}` |")
        (self.folder / "INDEX.md").write_text("\n".join(lines) + "\n")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def wait(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {DEADLINE_S:.0f} s in vain for {what}")
        time.sleep(0.2)
