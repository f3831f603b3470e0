"""Shrink a history that fails: leave out faults for as long as it still fails.

It is delta debugging: halves of the faults are left out, then quarters, down to single ones. What
is left fails, and with any one more left out it does not.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.testing.outcome import Outcome
from penstock.testing.simulation import history

MOST = 1000  # histories


def shrink(seed: int, folder: Path) -> Outcome | None:
    """Return the history of a seed with as few faults as it fails with; None: it is right."""
    whole = history(seed, folder)
    if not whole.problems:
        return None
    left = MOST

    def fails(only: Sequence[int]) -> Outcome | None:
        nonlocal left
        left -= 1
        outcome = history(seed, folder, only) if left >= 0 else None
        return outcome if outcome is not None and outcome.problems else None

    return smallest(whole, fails)


def smallest(found: Outcome, fails: Callable[[Sequence[int]], Outcome | None]) -> Outcome:
    """Return what fails with the fewest faults; ``fails`` tries some of them."""
    size = len(found.faults)
    while size >= 1:
        faults = found.faults
        for start in range(0, len(faults), size):
            fewer = fails([*faults[:start], *faults[start + size :]])
            if fewer is not None and len(fewer.faults) < len(faults):
                found = fewer
                break
        else:
            size = size // 2 if size > 1 else 0
    return found
