"""Fold: when an array has ended, make one file of its spools and one of its logs.

The manifest is renamed first: nothing can start from the array any more, so the claims may go.
What came after the last look is in the store before the array counts as folded. Killed anywhere,
it is done again.
"""

from collections.abc import Sequence

from penstock.model.run import Array
from penstock.reconciler.collect import collect
from penstock.reconciler.world import World


def with_look(world: World, ended: Sequence[Array]) -> Sequence[Array]:
    """Return what is folded by the command that collects: on a machine where commands cost."""
    return ended if world.is_far else ()


def fold(world: World, ended: Sequence[Array], odd: list[str]) -> None:
    """Fold what ended on this machine; one that cannot be is told in ``odd``, and tried again.

    On a machine that is far the next look does it.
    """
    if not world.is_far:
        collect(world, ended, odd)
