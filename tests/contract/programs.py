"""Slurm's programs as tests call them: those of the model, and those of a real Slurm."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from typing import Protocol

import pytest

from penstock.testing.commands import answer
from penstock.testing.model import Cluster, Plan, Process, Site
from penstock.testing.places import as_user
from penstock.transport.protocol import Finished

USER = "alice"
SLEEP = "#!/bin/sh\n#SBATCH --mem=10M\n#SBATCH -o /dev/null\n#SBATCH --job-name=tok-1.label\n"


class Slurm(Protocol):
    env: dict[str, str]

    def run(self, *argv: str, stdin: str = "", user: str = USER) -> Finished: ...
    def wait(self, seconds: float) -> None: ...


class Real:
    def __init__(self) -> None:
        self.env = {"SLURM_BITSTR_LEN": "0"}

    def run(self, *argv: str, stdin: str = "", user: str = USER) -> Finished:
        env = {"PATH": os.environ["PATH"], **self.env}
        if "SLURM_CONF" in os.environ:
            env["SLURM_CONF"] = os.environ["SLURM_CONF"]
        done = subprocess.run(
            argv,
            input=stdin,
            env=env,
            cwd="/",
            **as_user(user),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 1.0))  # real time passes by itself: the model is told how much


class Model:
    def __init__(self) -> None:
        self.env = {"SLURM_BITSTR_LEN": "0"}
        self.cluster = Cluster(Site())
        self.cluster.behave = behave

    def run(self, *argv: str, stdin: str = "", user: str = USER) -> Finished:
        return answer(self.cluster, argv, stdin=stdin.encode(), env=self.env, user=user)

    def wait(self, seconds: float) -> None:
        self.cluster.advance(seconds)


def behave(process: Process) -> Plan:
    """Do what the script says: its last line is sleep N, exit N, kill -N $$ or true.

    Or a trap of SIGTERM before such a sleep, or a Python that takes too much memory.
    """
    words = process.job.options.script.decode().split("\n")[-2].split()
    if words[0] == "exit":
        return Plan(0.05, code=int(words[1]))
    if words[0] == "kill":
        return Plan(0.05, signal=int(words[1][1:]))
    if words[0] == "python3":
        return Plan(0.5, is_oom=True, peak_mb=300)
    if words[0] == "trap":
        return Plan(100, term_code=0, on_term_s=0 if "exit" in words[1] else None)
    return Plan(float(words[1]) if words[0] == "sleep" else 0.05)


def submit(slurm: Slurm, last: str = "sleep 100", *options: str, user: str = USER) -> str:
    done = slurm.run("sbatch", "--parsable", *options, stdin=f"{SLEEP}{last}\n", user=user)
    assert done.code == 0, done.err
    return done.out.strip()


def het(slurm: Slurm, last: str, *options: str, second: str = "--mem=20M") -> str:
    """Submit a job of two components; ``second`` is an option of the second."""
    script = f"{SLEEP}#SBATCH hetjob\n#SBATCH {second}\n{last}\n"
    done = slurm.run("sbatch", "--parsable", *options, stdin=script)
    assert done.code == 0, done.err
    return done.out.strip()


def components(slurm: Slurm, leader: str, form: str = "%i|%T|%r") -> list[str]:
    """Return what the queue says of the components of a job."""
    done = slurm.run("squeue", "-h", "-t", "all", "-j", leader, "-o", form)
    assert done.code == 0, done.err
    return sorted(line.replace(f"{leader}+", "J+") for line in done.out.splitlines())


def neutral(line: str, job: str) -> str:
    """Return a row with J for the job's id, where a field begins with it."""
    return re.sub(rf"(^|\|){job}(?!\d)", r"\1J", line)


def queue(slurm: Slurm, job: str, form: str = "%i|%T|%r", *more: str) -> list[str]:
    done = slurm.run("squeue", "--me", "-h", "-t", "all", "-o", f"%F|{form}", *more)
    assert done.code == 0, done.err
    lines = [line.partition("|") for line in done.out.splitlines()]
    return sorted(neutral(rest, job) for array, _, rest in lines if array == job)


def history(slurm: Slurm, job: str, form: str, *more: str) -> list[str]:
    done = slurm.run("sacct", "-nPX", "-j", job, "-o", form, *more)
    assert done.code == 0, done.err
    return [neutral(line, job) for line in done.out.splitlines()]


def eventually(slurm: Slurm, find: Callable[[], object], wanted: object) -> None:
    """Wait until an answer is as wanted."""
    seen: list[object] = []
    for _ in range(60):
        seen.append(find())
        if seen[-1] == wanted:
            return
        slurm.wait(1)
    pytest.fail("\n".join(map(str, [f"wanted: {wanted}", *dict.fromkeys(map(str, seen))])))


def shown(slurm: Slurm, job: str) -> dict[str, str]:
    """Return what scontrol shows of a job."""
    done = slurm.run("scontrol", "--oneliner", "show", "job", job)
    assert done.code == 0, done.err
    return dict(re.findall(r"(\w+)=(\S+)", done.out))


def course(slurm: Slurm, job: str, *steps: str, form: str = "%T|%r", patience_s: int = 60) -> None:
    """Follow what the queue says of a job, until it is the last step; no other may be seen.

    A step with a question mark may be over before anybody looks.
    """
    told: list[str] = []
    for _ in range(patience_s * 10):
        now = queue(slurm, job, form)
        told += now if now != told[-1:] else []
        if now == [steps[-1]]:
            break
        slurm.wait(0.1)
    wanted = "".join(_step(step) for step in steps)
    said = "".join(f"{one}\n" for one in told)
    assert re.fullmatch(wanted, said), f"wanted: {steps}\nsaid: {told}"


def _step(step: str) -> str:
    name = step.removesuffix("?")
    return f"(?:{re.escape(name)}\n)" + ("?" if name != step else "")
