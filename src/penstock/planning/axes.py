"""``params`` and ``repeat`` of a spec: from nodes to a sweep."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from penstock.errors import SpecError
from penstock.model.spec import Axis, Sweep, Value
from penstock.planning import ranges
from penstock.planning import sweep as sweeps
from penstock.planning.node import Node
from penstock.planning.variables import refuse_secret
from penstock.wire import argv

NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
MOST_RUNS = 1_000_000
_RANGE = ("from", "to", "step", "count", "scale")


def sweep(params: Node | None, repeat: Node | None) -> Sweep:
    """Return the sweep that a stage's ``params`` and ``repeat`` ask for. Raises SpecError."""
    times = 1 if repeat is None else repeat.whole(1)
    if params is None:
        return Sweep(repeat=times)
    nodes = params.items() if params.is_list else [params]
    made = Sweep(tuple(_grid(node, times) for node in nodes), times)
    _refuse_too_many(params, sweeps.size(made))
    _refuse_shared_variables(params, made.names)
    found = sweeps.overlap(made)
    if found is not None:
        index, run = found
        raise nodes[index].error(
            f"a grid before this one has a run that is here too: {shown(run)}",
            "take it out of one of them; to run it several times, use `repeat`",
        )
    return made


def shown(run: Mapping[str, Value]) -> str:
    """Return parameters as ``lr=0.1 seed=0``."""
    return " ".join(f"{name}={argv.text(value)}" for name, value in run.items())


def _refuse_too_many(node: Node, count: int) -> None:
    if count > MOST_RUNS:
        hint = "submit it in parts, or sample: this is no grid that one searches"
        raise node.error(f"{count:,} runs; at most {MOST_RUNS:,} go in one stage", hint)


def _refuse_shared_variables(node: Node, names: Sequence[str]) -> None:
    by_variable: dict[str, str] = {}
    for name in names:
        other = by_variable.setdefault(argv.variable(name), name)
        if other != name:
            what = f"{other} and {name} would share the variable {argv.variable(name)}"
            raise node.error(what, "rename one of them")


# --- grids


def _grid(node: Node, repeat: int) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    taken = {sweeps.REPEAT} if repeat > 1 else set()
    for name, child in node.mapping().items():
        if name == "zip":
            axes.extend(_zip(one, taken) for one in (child.items() if child.is_list else [child]))
        else:
            axes.append(_axis({_name(name, child, taken): child}))
    return tuple(axes)


def _zip(node: Node, taken: set[str]) -> Axis:
    children = {_name(name, child, taken): child for name, child in node.mapping().items()}
    if not children:
        raise node.error("this zip has no parameters", "name two or more, with lists of one length")
    return _axis(children)


def _axis(children: Mapping[str, Node]) -> Axis:
    columns = {name: values(child) for name, child in children.items()}
    (first, length), *others = ((name, len(column)) for name, column in columns.items())
    for name, other in others:
        if other != length:
            what = f"{name} has {other} values, and {first} has {length}"
            raise children[name].error(what, "what is zipped goes in step: give each as many")
    rows = tuple(zip(*columns.values(), strict=True))
    index = sweeps.repeated(rows)
    if index is not None:
        raise _at(next(iter(children.values())), index).error(
            f"this comes twice: {shown(dict(zip(columns, rows[index], strict=True)))}",
            "keep one; to run it several times, use `repeat`",
        )
    return Axis(tuple(columns), rows)


def _at(node: Node, index: int) -> Node:
    return node.items()[index] if node.is_list else node


def _name(name: str, node: Node, taken: set[str]) -> str:
    if not re.fullmatch(NAME, name):
        hint = "letters, digits, _ . and -, a letter or _ first"
        raise node.error(f"{name!r} is no name for a parameter", hint, at_name=True)
    if name in ("params", "zip"):
        hint = "{params} and zip have a meaning of their own: take another name"
        raise node.error(f"{name!r} is no name for a parameter", hint, at_name=True)
    if name in taken:
        what = f"{name} is named twice"
        if name == sweeps.REPEAT:
            what = "`repeat` makes a parameter of this name, from 0"
        raise node.error(what, "rename one of them", at_name=True)
    refuse_secret(name, node)
    taken.add(name)
    return name


# --- the values of one parameter


def values(node: Node) -> list[Value]:
    """Return the values of one parameter: of a list, a range, or the one that stands there."""
    if node.is_list:
        return [_element(one) for one in node.items()]
    if not node.is_mapping:
        return [node.value()]
    keys = node.mapping()
    if "value" in keys and len(keys) == 1:
        return [keys["value"].value()]
    if not set(keys) <= set(_RANGE):
        raise _unknown(node, keys)
    return list(_range(node, keys))


def _unknown(node: Node, keys: Mapping[str, Node]) -> SpecError:
    if "value" in keys:
        return node.error("`value` stands alone", "a mapping as one value: {value: {…}}")
    if not set(keys) & set(_RANGE):
        hint = "a mapping as one value is written {value: {…}}; a range {from: …, to: …}"
        return node.error("this is a mapping, and no range", hint)
    name = next(name for name in keys if name not in _RANGE)
    return keys[name].unknown(name, (*_RANGE, "value"), f"unknown key {name!r} in a range")


def _element(node: Node) -> Value:
    """Return an element of a list; ``{value: …}`` is its value here too."""
    if node.is_mapping:
        keys = node.mapping()
        if set(keys) == {"value"}:
            return keys["value"].value()
        if {"from", "to"} <= set(keys):
            hint = "write the range alone; or two grids, as a list of mappings"
            raise node.error("a range stands alone, not in a list", hint)
    return node.value()


def _range(node: Node, keys: Mapping[str, Node]) -> list[int | float]:
    for name in ("from", "to"):
        if name not in keys:
            raise node.error(f"this range has no `{name}`", "{from: 0, to: 4}; both are included")
    first, last = keys["from"].decimal(), keys["to"].decimal()
    if "count" in keys:
        return _counted(keys, first, last)
    if "scale" in keys:
        hint = "{from: 1e-5, to: 1e-2, count: 4, scale: log}"
        raise keys["scale"].error("`scale` goes with `count`", hint, at_name=True)
    return _stepped(node, keys, first, last)


def _stepped(
    node: Node, keys: Mapping[str, Node], first: Decimal, last: Decimal
) -> list[int | float]:
    is_whole = _is_whole(keys, "from", "step")
    if "step" not in keys and not _is_whole(keys, "from", "to"):
        raise node.error("this range has no `step`", "say `step: 0.1`, or `count: 5`")
    step = keys["step"].decimal() if "step" in keys else Decimal(1)
    if not step:
        raise keys["step"].error("a step of 0 leads nowhere", "leave it out for steps of 1")
    count = ranges.steps(first, last, step)
    if not count:
        hint = f"`step: -{abs(step)}` counts down" if last < first else "the step is below 0"
        raise node.error(f"this range is empty: {first} to {last} by {step}", hint)
    _refuse_too_many(node, count)
    return ranges.stepped(first, step, count, is_whole=is_whole)


def _counted(keys: Mapping[str, Node], first: Decimal, last: Decimal) -> list[int | float]:
    if "step" in keys:
        raise keys["step"].error("`step` and `count` both", "keep one of the two", at_name=True)
    count = keys["count"].whole(2, MOST_RUNS)
    scale = keys["scale"].string("linear|log", "linear or log") if "scale" in keys else "linear"
    is_whole = _is_whole(keys, "from", "to")
    if scale == "linear":
        return ranges.counted(first, last, count, is_whole=is_whole)
    for name, bound in (("from", first), ("to", last)):
        if bound <= 0:
            raise keys[name].error(f"{bound} has no logarithm", "both ends must be above 0")
    return ranges.logarithmic(first, last, count, is_whole=is_whole)


def _is_whole(keys: Mapping[str, Node], *names: str) -> bool:
    return all(keys[name].tag == "int" for name in names if name in keys)
