"""Fold: when an array has ended, make one file of its spools and one of its logs.

The manifest is renamed first: nothing can start from the array any more, so the claims may go.
Killed anywhere, it is done again.
"""

from collections.abc import Sequence

from penstock.errors import TransportError
from penstock.model.run import Array, Intent
from penstock.reconciler.collect import collect_one
from penstock.reconciler.world import World
from penstock.store import attempts


def fold(world: World, arrays: Sequence[Array], odd: list[str]) -> None:
    """Fold the files of ended arrays; one that cannot be is told in ``odd``, and tried again."""
    for array in arrays:
        try:
            _fold_one(world, array)
        except TransportError as error:
            odd.append(str(error))


def _fold_one(world: World, array: Array) -> None:
    folder = str(world.folder(array.token))
    if world.transport.close(folder):
        collect_one(world, array)  # what came after the last look
        world.transport.fold(folder)
    with world.store.write() as tx:
        attempts.update_array(tx, array.id, intent=Intent.FOLDED)
