"""Which elements of an array are over: a requeue by hand runs nothing of them again.

A sealed record tells that by itself, and so does an array without a manifest. This file is of the
others: what was cancelled while it waited, killed at its limit, or lost with its node.
"""

import json
import os
from collections.abc import Iterable

from penstock.wire import place


def ranges(indices: "Iterable[int]") -> "list[tuple[int, int]]":
    """Return indices as ranges without steps, first and last of each."""
    found = []  # type: list[tuple[int, int]]
    for index in sorted(indices):
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found


def encode(indices: "Iterable[int]") -> bytes:
    """Return the file's bytes: ranges of indices."""
    return json.dumps(ranges(indices)).encode()


def has(data: bytes, index: int) -> bool:
    """Return whether an element is named. Raises ValueError where it is no such file."""
    return any(first <= index <= last for first, last in json.loads(data.decode()))


def of(folder: str, index: int) -> bool:
    """Return whether an element of the array in a folder is over."""
    try:
        with open(os.path.join(folder, place.OVER), "rb") as file:
            return has(file.read(), index)
    except FileNotFoundError:
        return False
