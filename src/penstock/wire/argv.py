"""Put parameters into a command: an argv template, never a shell's text.

``{name}`` is replaced inside an argument by the parameter's value, ``{{`` and ``}}`` stand for
braces, and an argument that is just ``{params}`` becomes ``--name value`` for each parameter.
The value of one parameter never becomes two arguments.
"""

import json
import re

PIECE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_.-]*)\}|[{}]")
ALL = "{params}"


def text(value: object) -> str:
    """Return a parameter as an argument or a variable: ``true``, ``0.1``, ``[1,2]``."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def variable(name: str) -> str:
    """Return the environment variable of a parameter: ``PENSTOCK_PARAM_LEARNING_RATE``."""
    return "PENSTOCK_PARAM_" + re.sub("[^A-Za-z0-9]", "_", name).upper()


def names(argv: "list[str]") -> "set[str]":
    """Return the parameters that a template asks for.

    Raises ValueError at a brace that is neither doubled nor a placeholder.
    """
    found = set()
    for argument in argv:
        if argument == ALL:
            continue
        for match in PIECE.finditer(argument):
            if match.group(1):
                found.add(match.group(1))
            elif match.group() in "{}":
                raise ValueError(
                    "a single %r in %r: write %r for a brace"
                    % (match.group(), argument, match.group() * 2)
                )
    return found


def render(argv: "list[str]", params: "dict[str, object]") -> "list[str]":
    """Return the template with the parameters in it. Raises KeyError for one that is missing."""

    def piece(match: "re.Match[str]") -> str:
        if match.group(1):
            return text(params[match.group(1)])
        return match.group()[0]

    out = []
    for argument in argv:
        if argument == ALL:
            for name in params:
                out += ["--" + name, text(params[name])]
        else:
            out.append(PIECE.sub(piece, argument))
    return out
