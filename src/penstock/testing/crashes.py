"""Crash injection on real processes: kill commands and runners, go on, and judge what came of it.

A round is a project with a sweep. Each command takes the next of the arms that are for commands,
each start of a task one of those for runners, and dies by it: SIGKILL, at a failpoint or at a
random instant. Then the next command goes on, until all is over. ``aftermath`` judges.
"""

import itertools
import json
import random
import re
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import penstock
from penstock.testing.aftermath import Aftermath, judge
from penstock.testing.places import Child, Place

HIT = re.compile(r'\bhit\(\s*"([^"]+)"\s*\)')
PATIENCE_S = 150  # of a round
HOPELESS = 5  # problems, after which a round is not played on
KEEPER = "keeper."  # failpoints of the local scheduler's own process
SPEC = """\
experiment: e
command: [sh, step.sh, {witness}, {seconds}]
params: {{n: {{from: 1, to: {runs}}}}}
outputs: [out]
code: [step.sh]
request: {request}
{more}"""
# Tells that it ran and that it got to its end, in a file that Penstock does not know.
STEP = """\
echo "begin $PENSTOCK_RUN $PENSTOCK_RESTART $SLURM_ARRAY_JOB_ID" >> "$1"
for step in 1 2 3; do
  echo '{"k":"m","at":0,"step":'$step',"values":{"loss":0.5}}' >> "$PENSTOCK_EVENTS"
done
sleep "$2"
mkdir out
echo weights > out/model
echo "$PENSTOCK_RUN" > out/text
echo "end $PENSTOCK_RUN $PENSTOCK_RESTART $SLURM_ARRAY_JOB_ID" >> "$1"
"""
TEMPLATE = """\
{{% extends "penstock/array.sh.j2" %}}
{{% block before %}}
. {arms}/arm.sh
{{% endblock %}}
"""
# A start of a task takes an arm that is left: to rename it is to have it.
ARM = """\
arms={arms}
task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID.${{SLURM_RESTART_COUNT:-0}}
: > "$arms/started/$task"
case $task in *.0) kind=first ;; *) kind=again ;; esac
for arm in "$arms/$kind"/*; do
  mv "$arm" "$arms/taken/$task" 2> /dev/null || continue
  read -r where lost < "$arms/taken/$task"
  if [ "$lost" = lost ]; then : > "$arms/lost/$task"; fi
  case $where in
    after:*) (setsid sh -c 'sleep "$1"; kill -9 "$2"' sh "${{where#after:}}" $$ \\
      < /dev/null > /dev/null 2>&1 &) ;;
    *) export PENSTOCK_FAILPOINT="$where" ;;
  esac
  break
done
"""
FOLDERS = ("first", "again", "started", "taken", "lost", "killed")
TICK = ("tick",)
REFUSED = {"resolve": (2, 5)}  # the answer is wrong, or nothing is to be answered
# What keeps a round from being over.
OPEN = (
    "SELECT count(*) FROM run WHERE state NOT IN ('completed', 'failed', 'cancelled')",
    "SELECT count(*) FROM job_array WHERE intent <> 'folded'",
    "SELECT count(*) FROM directive WHERE done_at IS NULL",
)


@cache
def failpoints() -> tuple[str, ...]:
    """Return every failpoint of the product, from its source: a new one cannot be forgotten."""
    source = Path(penstock.__file__).parent
    texts = [
        path.read_text()
        for path in sorted(source.rglob("*.py"))
        if path.relative_to(source).parts[0] != "testing"
    ]
    return tuple(sorted(set(HIT.findall("\n".join(texts)))))


@dataclass(frozen=True)
class Arm:
    """When a process is killed: when it passes a failpoint again, or some time after its start."""

    name: str = ""
    nth: int = 1
    after_s: float = 0
    is_lost: bool = False  # a runner's: its node goes with it, and Slurm requeues

    @property
    def text(self) -> str:
        """Return it as a task's script, or the environment, is told."""
        return f"{self.name}:{self.nth}" if self.name else f"after:{self.after_s:.3f}"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def was_killed(self) -> bool:
        """Return whether SIGKILL ended it."""
        return self.code == -9


@dataclass
class Round:
    """A project, a sweep, and the arms. ``play`` returns what is wrong in the end."""

    root: Path
    place: Place
    seed: int
    runs: int = 5
    commands: list[Arm] = field(default_factory=list)
    first: list[Arm] = field(default_factory=list)  # of runners
    again: list[Arm] = field(default_factory=list)  # … after a requeue
    story: str = "plain"  # cancel, resolve, adopt, crowded, throttled
    seconds: float = 0.2  # that a run takes
    wait_s: int = 0  # that a job waits in the queue
    patience_s: float = PATIENCE_S
    crashes: "Counter[str]" = field(default_factory=Counter, init=False)
    problems: list[str] = field(default_factory=list, init=False)
    cancelled: set[int] = field(default_factory=set, init=False)
    unmet: set[str] = field(default_factory=set, init=False)  # arms that killed nobody

    def play(self) -> Aftermath:
        """Play it to its end; judge."""
        self.prepare()
        self._submit()
        if self.story in ("resolve", "adopt"):
            self._resolve()
        elif self.story == "cancel":
            self._cancel("e/2", f"e/{self.runs}")
        while not self._is_over() and self._is_patient():
            self._go_on()
            if self.story == "crowded" and not self.cancelled:
                self._cancel("e")  # what there is no room for would wait for a minute
        for _ in range(3):  # what is over stays as it is
            self._go_on()
        self._count_runners()
        found = judge(
            self.root,
            self.place.jobs(self.root),
            runs=self.runs,
            cancelled=self.cancelled,
            keeper_died=any(name.startswith(KEEPER) for name in self.crashes),
        )
        found.wrong += self.problems
        check = self.command("store", "check", is_armed=False)
        if check.code != 0:
            found.wrong.append(f"store check: {check.out}{check.err}")
        return found

    # --- what is there at first ---

    def prepare(self) -> None:
        """Make the project, and lay out the arms."""
        self._left = deque(self.commands)
        self._numbers = itertools.count()
        self._random = random.Random(self.seed)
        self._end_at = time.monotonic() + self.patience_s
        self.place.make(self.root)
        arms = self.root / "arms"
        texts = {
            "witness": "",
            "step.sh": STEP,
            "templates/array.sh.j2": TEMPLATE.format(arms=arms),
            "arms/arm.sh": ARM.format(arms=arms),
            "sweep.yaml": self._spec(),
        }
        for kind in ("first", "again"):
            for number, arm in enumerate(getattr(self, kind)):
                lost = "lost" if arm.is_lost else "left"
                texts[f"arms/{kind}/{number:03}"] = f"{arm.text} {lost}\n"
        for name in ("scratch", "templates", "said", *(f"arms/{name}" for name in FOLDERS)):
            (self.root / name).mkdir(parents=True)
        for name, text in texts.items():
            (self.root / name).write_text(text)
        for path in (self.root, *self.root.rglob("*")):
            self.place.own(path)

    def _spec(self) -> str:
        request: dict[str, object] = {"mem": "50M"}
        if self.wait_s:
            request["options"] = [f"--begin=now+{self.wait_s}"]
        if self.story == "crowded":
            request["qos"] = "few"
        return SPEC.format(
            witness=self.root / "witness",
            seconds=self.seconds,
            runs=self.runs,
            request=json.dumps(request),
            more="max_parallel: 1\n" if self.story == "throttled" else "",
        )

    # --- commands ---

    def command(self, *words: str, is_armed: bool = True) -> Ended:
        """Run a command to its end; with an arm it may be killed before."""
        arm = self._left[0] if self._left and is_armed else None
        begun = self._begin(words, arm)
        return self._end(words, arm, *begun)

    def _begin(self, words: Sequence[str], arm: Arm | None) -> tuple[Child, list[Path]]:
        out = self.root / "said" / f"{next(self._numbers):03}-{words[0]}"
        env = {
            "PENSTOCK_RECORD_GRACE_S": "1",
            "PENSTOCK_ACCOUNTING_LAG_S": "1",
            "PENSTOCK_BEAT_S": "1",
            "PENSTOCK_POLL_S": "1",
            "PENSTOCK_SCRATCH": str(self.root / "scratch"),
            "PENSTOCK_TEMPLATES": f'["{self.root / "templates"}"]',
            "HOME": str(self.root),
            **self.place.env,
        }
        if arm is not None and arm.name:
            env["PENSTOCK_FAILPOINT"] = arm.text
        said = [out.with_name(f"{out.name}.{one}") for one in ("out", "err")]
        for path in said:
            path.touch()
            self.place.own(path)
        return self.place.start(list(words), root=self.root, env=env, out=out), said

    def _end(self, words: Sequence[str], arm: Arm | None, child: Child, said: list[Path]) -> Ended:
        code = self._wait(child, arm, is_daemon=words[0] == "daemon")
        ended = Ended(code, *(path.read_text() for path in said))
        self._note(words, arm, ended)
        return ended

    def _wait(self, child: Child, arm: Arm | None, *, is_daemon: bool) -> int:
        at_most_s = 60.0
        if is_daemon:
            at_most_s = 4
        if arm is not None and not arm.name:
            at_most_s = arm.after_s
        code = child.wait(at_most_s)
        if code is None:
            if at_most_s == 60:
                self.problems.append("a command took a minute, and was killed")
            child.kill()
            code = child.wait()
        assert code is not None
        return code

    def _note(self, words: Sequence[str], arm: Arm | None, ended: Ended) -> None:
        """Count a crash, and take its arm away; say what is no way to end."""
        if "Traceback" in ended.err or "bug in Penstock" in ended.err:
            self.problems.append(f"{' '.join(words)}: {ended.err}")
        if arm is None:
            if ended.was_killed:
                self.crashes["random"] += 1  # a daemon that lived for long enough
            elif ended.code not in (0, *REFUSED.get(words[0], ())):
                self.problems.append(f"{' '.join(words)} ended with {ended.code}: {ended.err}")
            return
        self._left.popleft()
        if ended.was_killed or (arm.name.startswith(KEEPER) and self._keeper_dies()):
            self.crashes[arm.name or "random"] += 1
        elif arm.name:
            self._left.append(arm)  # it did not come this way: the next may

    def _keeper_dies(self) -> bool:
        """Return whether the keeper is killed before long: it has the arm of who began it."""
        end_at = time.monotonic() + 0.5
        while time.monotonic() < end_at:
            if self.place.look(self.root):
                return True
            time.sleep(0.05)
        return False

    def _go_on(self) -> None:
        """Let a command bring everything up to date, and time pass."""
        self.place.look(self.root)
        words = ("daemon", "run") if self._left and self._random.random() < 0.1 else ("tick",)
        if self._random.random() < 0.2:
            beside = self._begin(TICK, None)  # two at once: one of them has the lease
            self.command(*words)
            self._end(TICK, None, *beside)
        else:
            self.command(*words)
        time.sleep(0.02 if self._left else 0.2)

    def _submit(self) -> None:
        """Submit until it is stored: wholly, or not at all."""
        while self._is_patient():
            ended = self.command("submit", "sweep.yaml")
            stored = self._stored()
            if stored not in (0, self.runs):
                self.problems.append(f"{stored} of {self.runs} runs of a submission are stored")
            if not stored and ("submitted" in ended.out or ended.code == 0):
                self.problems.append(f"submitted, and not stored: {ended.out}{ended.err}")
            if stored:
                return

    def _cancel(self, *names: str) -> None:
        """Cancel runs until that is stored: all of it, or nothing."""
        while self._is_patient():
            ended = self.command("cancel", "--yes", *names)
            self.cancelled = set(
                self._column("SELECT number FROM directive JOIN run ON run.id = run_id")
            )
            if "asked to cancel" in ended.out and not self.cancelled:
                self.problems.append(f"asked to cancel, and not stored: {ended.out}")
            if self.cancelled or ended.code == 0:
                return

    def _resolve(self) -> None:
        """Answer for an array whose command was killed while it was sent; insist on the answer."""
        jobs = {name.partition(".")[0]: job for job, name in self.place.jobs(self.root).items()}
        for token in self._column("SELECT token FROM job_array WHERE intent = 'sending'"):
            answer = ["--adopt", str(jobs[token])] if token in jobs else ["--resend"]
            while self._is_patient():
                ended = self.command("resolve", token, *answer)
                if not ended.was_killed:
                    break  # it is so, or it was refused: it had arrived after all

    # --- what is known ---

    def _is_patient(self) -> bool:
        return time.monotonic() < self._end_at and len(self.problems) < HOPELESS

    def _is_over(self) -> bool:
        return not any(self._one(sql) for sql in OPEN)

    def _stored(self) -> int:
        return self._one("SELECT count(*) FROM run")

    def _one(self, sql: str, *params: object) -> int:
        found: int = self._column(sql, *params)[0]
        return found

    def _column(self, sql: str, *params: object) -> list[Any]:
        path = self.root / ".penstock" / "penstock.db"
        with closing(sqlite3.connect(path, timeout=30)) as store:
            return [row[0] for row in store.execute(sql, params)]

    def _count_runners(self) -> None:
        arms = self.root / "arms"
        for killed in (arms / "killed").iterdir():
            if not (arms / "taken" / killed.name).exists():
                continue  # the cluster's own: it had been cancelled
            taken = (arms / "taken" / killed.name).read_text().split()[0]
            self.crashes["random" if taken.startswith("after:") else taken.partition(":")[0]] += 1
        every = {arm.name for arm in (*self.commands, *self.first, *self.again) if arm.name}
        self.unmet = every - self.crashes.keys()
