"""Spells in which a program of Slurm answers wrong at each call: a wrapper, or a machine, is ill.

Single bad answers are soon followed by a good one. What is made of one that stays is another thing.
"""

from collections.abc import Callable
from random import Random

from penstock.testing.transport import Fault

HISTORIES, BEGINS = 0.2, 0.02  # in so many, and how often at a call
FAULTS = (Fault.FAIL, Fault.TIME_OUT, Fault.HALF, Fault.EMPTY)
PROGRAMS = ("squeue", "sacct")
LASTS_S = (300, 900, 3600)

Spoil = Callable[[list[str]], Fault | None]


class Spells:
    """What goes wrong with calls, as a spell has it; ``otherwise`` when there is none."""

    def __init__(
        self,
        seed: int,
        now: Callable[[], float],
        is_chaos: Callable[[], bool],
        happens: Callable[[], bool],
        otherwise: Spoil,
    ) -> None:
        self.random = Random(f"spells {seed}")
        self.is_drawn = self.random.random() < HISTORIES
        self._now, self._is_chaos, self._happens = now, is_chaos, happens
        self._otherwise = otherwise
        self._program, self._fault, self._until = "", FAULTS[0], 0.0

    def __call__(self, argv: list[str]) -> Fault | None:
        """Return what goes wrong with a call."""
        if self.is_drawn and self._is_chaos():
            if self._now() > self._until and self.random.random() < BEGINS:
                self._begin()
            if self._now() <= self._until and argv[0] == self._program:
                return self._fault
        return self._otherwise(argv)

    def _begin(self) -> None:
        program, fault = self.random.choice(PROGRAMS), self.random.choice(FAULTS)
        lasts_s = self.random.choice(LASTS_S)
        if self._happens():
            self._program, self._fault = program, fault
            self._until = self._now() + lasts_s
