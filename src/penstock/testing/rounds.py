"""Rounds of crashes on the model: each failpoint in turn, and at random, many at a time.

with model(folder) as place:
    tally = play(place, in_turn(), at_once=8)
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.testing.aftermath import Aftermath
from penstock.testing.crashes import KEEPER, Arm, Round, failpoints
from penstock.testing.places import Place

RUNS = 5  # of a round
# Failpoints that only some stories pass.
STORIES = {
    "reconciler.cancel": "cancel",
    "reconciler.resolved": "resolve",
    "reconciler.halved": "crowded",
    "reconciler.waiting": "throttled",
}
SSH = "ssh."  # the way to another machine: tests of SSH kill there
SENDING = {"resolve": "reconciler.sending", "adopt": "reconciler.sent"}


# --- which ---


def runners() -> list[str]:
    """Return the failpoints of the runner."""
    return [name for name in failpoints() if name.startswith("runner.")]


def commands() -> list[str]:
    """Return the failpoints of commands that use the model."""
    return [name for name in failpoints() if not name.startswith(("runner.", KEEPER, SSH))]


def in_turn(nth: int = 1) -> Iterator[dict[str, Any]]:
    """Yield rounds in which each failpoint is passed for the nth time, and kills.

    A round has one arm for commands, which waits until it is passed, and one for each runner.
    """
    names = [name for name in runners() if ".takeover." not in name and ".code." not in name]
    every = [Arm(name, nth, is_lost=is_lost) for is_lost in (True, False) for name in names]
    first = _some(every, RUNS)
    over = itertools.cycle(name for name in runners() if ".takeover." in name)
    for name in commands():
        some = next(first, ())
        story = STORIES.get(name, "plain")
        is_long = story != "plain" or any(arm.name == "runner.beat" for arm in some)
        before = [Arm(SENDING[story])] if story in SENDING else []
        yield {
            "story": story,
            "commands": [*before, Arm(name, nth)],
            "first": list(some),
            "again": [Arm(next(over), is_lost=True) for arm in some[:2] if arm.is_lost],
            "seconds": 1.3 if is_long else 0.2,
        }
    for some in first:
        yield {"first": list(some)}
    for name in runners():
        if ".code." in name:  # one of them unpacks the code, the next one in its place
            yield {"first": [Arm(name, nth, is_lost=True)] * RUNS}


def of_keeper() -> Iterator[dict[str, Any]]:
    """Yield rounds for the local scheduler, in which its keeper is killed."""
    for name in failpoints():
        if name.startswith(KEEPER):
            story = "cancel" if name == "keeper.completing" else "plain"
            yield {
                "story": story,
                "commands": [Arm(name)],
                "seconds": 2 if story == "cancel" else 0.5,
            }


def at_random(seed: int) -> dict[str, Any]:
    """Return a round with arms that are drawn: failpoints, random instants, all at once."""
    dice = random.Random(seed)
    names = ["plain", "cancel", "resolve", "adopt", "crowded", "throttled"]
    story = dice.choices(names, [6, 2, 1, 1, 2, 1])[0]
    seconds = 3 if story == "cancel" else dice.choice([0.05, 0.2, 1.2])
    arms = [_command_arm(dice) for _ in range(dice.randint(5, 9))]
    first = [_runner_arm(dice, seconds) for _ in range(dice.randint(2, 5))]
    again = [_runner_arm(dice, seconds) for _ in range(dice.randint(0, 4))]
    if story in SENDING:
        arms.insert(0, Arm(SENDING[story]))
    return {"story": story, "seconds": seconds, "commands": arms, "first": first, "again": again}


def on_slurm(seed: int) -> dict[str, Any]:
    """Return a round for a real Slurm: commands take longer there, and a requeue some seconds."""
    dice = random.Random(seed)
    story = dice.choice(["plain", "plain", "cancel", "resolve", "adopt"])
    arms = [_command_arm(dice, 0.9) for _ in range(5)]
    if story in SENDING:
        arms.insert(0, Arm(SENDING[story]))
    return {
        "story": story,
        "seconds": 20 if story == "cancel" else 0.5,
        "commands": arms,
        "first": [_runner_arm(dice, 0.5) for _ in range(4)],
        "again": [_runner_arm(dice, 0.5)],
        "patience_s": 280,
    }


def _command_arm(dice: random.Random, most_s: float = 0.35) -> Arm:
    if dice.random() < 0.4:
        return Arm(after_s=round(dice.uniform(0.005, most_s), 3))
    return Arm(dice.choice(commands()), dice.choice([1, 1, 1, 2, 3]))


def _runner_arm(dice: random.Random, seconds: float) -> Arm:
    is_lost = dice.random() < 0.6
    if dice.random() < 0.4:
        return Arm(after_s=round(dice.uniform(0.01, 0.5 + seconds), 3), is_lost=is_lost)
    return Arm(dice.choice(runners()), dice.choice([1, 1, 2]), is_lost=is_lost)


def _some(arms: Iterable[Arm], many: int) -> Iterator[tuple[Arm, ...]]:
    left = iter(arms)
    while some := tuple(itertools.islice(left, many)):
        yield some


# --- all of them ---


@dataclass
class Tally:
    """What many rounds came to."""

    rounds: int = 0
    runs: int = 0
    crashes: "Counter[str]" = field(default_factory=Counter)  # by failpoint; "random"
    unmet: set[str] = field(default_factory=set)  # failpoints with arms that killed nobody
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, one: Round, found: Aftermath) -> None:
        """Take in a round; what is wrong is told with the round's folder."""
        self.rounds += 1
        self.runs += found.runs
        self.crashes += one.crashes
        self.unmet = (self.unmet | one.unmet) - self.crashes.keys()
        for kind in ("lost", "doubled", "wrong"):
            getattr(self, kind).extend(f"{one.root}: {words}" for words in getattr(found, kind))

    @property
    def crashed(self) -> int:
        """Return how many processes were killed."""
        return self.crashes.total()

    @property
    def problems(self) -> list[str]:
        """Return all that is wrong."""
        return self.lost + self.doubled + self.wrong

    def __str__(self) -> str:
        """Return it on one line."""
        told = f"{self.rounds} rounds, {self.runs} runs, {self.crashed} crashes"
        return (
            f"{told}: {len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.wrong)} wrong"
        )


def play(
    place: Place,
    folder: Path,
    rounds: Iterable[dict[str, Any]],
    *,
    at_once: int = 6,
    until: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Tally:
    """Play rounds, so many at once, all of them or until so many processes were killed."""
    tally, lock, left = Tally(), threading.Lock(), enumerate(rounds)

    def work() -> None:
        while True:
            with lock:
                numbered = None if until and tally.crashed >= until else next(left, None)
            if numbered is None:
                return
            one = Round(folder / f"round{numbered[0]}", place, numbered[0], RUNS, **numbered[1])
            found = one.play()
            with lock:
                tally.add(one, found)
                say(str(tally))

    with ThreadPoolExecutor(at_once) as pool:
        for worker in [pool.submit(work) for _ in range(at_once)]:
            worker.result()
    return tally
