"""From a sweep to the parameters of its runs, one at a time: a million of them take no memory."""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain, product
from math import prod
from typing import TypeVar

from penstock.model.spec import Axis, Params, Sweep, Value

REPEAT = "repeat"

Made = TypeVar("Made")


def size(sweep: Sweep) -> int:
    """Return how many runs a sweep has."""
    return sum(map(_size, sweep.grids)) * sweep.repeat


def expand(sweep: Sweep) -> Iterator[Params]:
    """Yield the parameters of each run: grid after grid, the last axis fastest, repeats within."""
    return map(dict, combine(sweep, lambda name, value: (name, value)))


def combine(sweep: Sweep, make: Callable[[str, Value], Made]) -> Iterator[tuple[Made, ...]]:
    """Yield for each run what is made of its parameters: made once for each value of an axis."""
    repeats = [(make(REPEAT, number),) for number in range(sweep.repeat)]
    for grid in sweep.grids:
        axes = [[tuple(map(make, axis.names, row)) for row in axis.values] for axis in grid]
        for rows in product(*axes, repeats if sweep.repeat > 1 else [()]):
            yield tuple(chain.from_iterable(rows))


def _size(grid: Sequence[Axis]) -> int:
    return prod(len(axis.values) for axis in grid)


def _names(grid: Iterable[Axis]) -> list[str]:
    return [name for axis in grid for name in axis.names]


def identity(value: Value) -> Hashable:
    """Return what two values share only when they are the same: 1, 1.0, true and "1" are four."""
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return type(value), value


def repeated(rows: Iterable[tuple[Value, ...]]) -> int | None:
    """Return the index of the first row that came before."""
    seen: set[tuple[Hashable, ...]] = set()
    for index, row in enumerate(rows):
        same = tuple(map(identity, row))
        if same in seen:
            return index
        seen.add(same)
    return None


def overlap(sweep: Sweep) -> tuple[int, Params] | None:
    """Return the index of a grid and a run in it that an earlier grid has too.

    Each axis must be without repeated values; then one grid alone never repeats a run. Grids whose
    values of some name are all different are told apart by it, without a look at their runs.
    """
    groups: dict[frozenset[str], list[int]] = {}
    for index, grid in enumerate(sweep.grids):
        groups.setdefault(frozenset(_names(grid)), []).append(index)
    for names, indices in groups.items():
        if len(indices) > 1 and not _is_told_apart(sweep, names, indices):
            found = _shared_run(sweep, sorted(names), indices)
            if found is not None:
                return found
    return None


def _is_told_apart(sweep: Sweep, names: Iterable[str], indices: Sequence[int]) -> bool:
    for name in names:
        seen: set[Hashable] = set()
        count = 0
        for index in indices:
            mine = {identity(value) for value in _values(sweep.grids[index], name)}
            count += len(mine)
            seen |= mine
        if len(seen) == count:
            return True
    return False


def _values(grid: Iterable[Axis], name: str) -> Iterator[Value]:
    for axis in grid:
        if name in axis.names:
            at = axis.names.index(name)
            yield from (row[at] for row in axis.values)


def _shared_run(
    sweep: Sweep, names: Sequence[str], indices: Sequence[int]
) -> tuple[int, Params] | None:
    seen: set[tuple[Hashable, ...]] = set()
    for index in indices:
        for params in expand(Sweep((sweep.grids[index],))):
            same = tuple(identity(params[name]) for name in names)
            if same in seen:
                return index, params
            seen.add(same)
    return None
