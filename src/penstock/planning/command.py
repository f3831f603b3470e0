"""The command of a stage: words for a program, never a text for a shell."""

import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from penstock.errors import SpecError
from penstock.planning.node import Node
from penstock.wire import argv

_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "mksh", "ash", "csh", "tcsh", "fish"})
# These change the shell that they are typed into; as programs they are not there, or do nothing.
_BUILTINS = frozenset({"cd", "export", "source", ".", "module", "alias", "set", "ulimit"})
_SHELL_HINT = (
    "a shell never sees a command. Quote what is meant as it is; to have a shell do it, write "
    "command: [sh, -c, '…']"
)
_SYNTAX = re.compile(
    r"""
      '[^']*'                              # in these nothing is special
    | "(?P<quoted>(?:[^"\\]|\\.)*)"
    | \\.
    | (?P<syntax> \$(?:\w+|[({@*\#?!$-]) | [|&;<>()`*] | (?<!\S)~(?=[\w/\s]|$) | (?<!\S)\#
                | \n )
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_QUOTES = re.compile(r"(?<!\\)(?:\\\\)*(?P<syntax>\$(?:\w+|[({@*#?!$-])|`)")


def command(node: Node, grids: Sequence[Collection[str]]) -> tuple[str, ...]:
    """Return the argv template, for grids with these names of parameters. Raises SpecError."""
    if node.is_list:
        nodes = node.items()
        words = [one.text() for one in nodes]
    else:
        words = _split(node)
        nodes = [node] * len(words)
    if not words or not words[0].strip():
        raise node.error("this command is empty", "command: [python, train.py]")
    _refuse_builtin(nodes[0], words[0])
    for word, one in zip(words, nodes, strict=True):
        _check_placeholders(word, one, grids)
    _refuse_in_script(words, nodes)
    return tuple(words)


def _split(node: Node) -> list[str]:
    text = re.sub(r"\\\n\s*", " ", node.text()).strip()  # a line that goes on
    _refuse_shell_syntax(node, text)
    try:
        return shlex.split(_SYNTAX.sub(_unescape, text))
    except ValueError as error:
        hint = "a quote or a backslash has nothing that it closes or quotes"
        raise node.error(f"this command cannot be split into words: {error}", hint) from error


def _unescape(match: "re.Match[str]") -> str:
    r"""Return a piece with ``\$`` in double quotes as a shell reads it; shlex has it otherwise."""
    if not match["quoted"]:
        return match[0]
    return '"' + re.sub(r"\\(.)", _dollar, match["quoted"], flags=re.DOTALL) + '"'


def _dollar(match: "re.Match[str]") -> str:
    return match[1] if match[1] in "$`" else match[0]


def _refuse_shell_syntax(node: Node, text: str) -> None:
    for match in _SYNTAX.finditer(text):
        inner = _IN_QUOTES.search(match["quoted"] or "")
        syntax = inner["syntax"] if inner else match["syntax"]
        if syntax == "\n":
            hint = "a command is one program: end lines with \\, or write [sh, -c, '…']"
            raise node.error("this command has several lines", hint)
        if syntax:
            raise node.error(f"{syntax} is for a shell", _SHELL_HINT)


def _refuse_builtin(node: Node, word: str) -> None:
    if word in _BUILTINS:
        hint = f'write [bash, -c, \'{word} … && exec python train.py "$@"\', _, "{{params}}"]'
        raise node.error(f"`{word}` is a word of the shell, not a program", hint)
    if re.match(r"[A-Za-z_]\w*=", word):
        raise node.error(f"{word} is a variable, not a program", "set it under `env:`")


# --- placeholders


def _check_placeholders(word: str, node: Node, grids: Sequence[Collection[str]]) -> None:
    try:
        asked = argv.names([word])
    except ValueError as error:
        raise node.error(str(error), "placeholders are {name}; other braces are doubled") from error
    for name in sorted(asked):
        for number, names in enumerate(grids, 1):
            if name not in names:
                raise _unknown(word, node, name, names, number if len(grids) > 1 else 0)


def _unknown(word: str, node: Node, name: str, names: Collection[str], number: int) -> SpecError:
    if name == "params":
        hint = '{params} stands alone, as a word of its own: "{params}"'
        return node.error("{params} is more than a word, and this is one", hint)
    if "${" + name + "}" in word:
        hint = f"for a shell's variable double the braces: ${{{{{name}}}}}"
        return node.error(f"unknown parameter in a command: {name}", hint)
    where = f" (grid {number} does not have it)" if number else ""
    what = f"unknown parameter in a command: {name}{where}"
    return node.unknown(name, names, what, at_name=False)


def _refuse_in_script(words: Sequence[str], nodes: Sequence[Node]) -> None:
    """Refuse a placeholder in the script of ``sh -c``: a value would become the shell's text."""
    for at, word in enumerate(words):
        script = _script(words[at + 1 :]) if PurePosixPath(word).name in _SHELLS else None
        if script is None:
            continue
        node, text = nodes[at + 1 + script], words[at + 1 + script]
        if text == argv.ALL:
            hint = """the script comes first: [sh, -c, 'python train.py "$@"', _, "{params}"]"""
            raise node.error("{params} cannot be a script", hint)
        for name in sorted(argv.names([text])):
            raise node.error(
                f"{{{name}}} in a script would be read by the shell, whatever its value",
                f'use "${argv.variable(name)}": each parameter is in the environment',
            )


def _script(words: Sequence[str]) -> int | None:
    """Return the index of the script after ``-c`` (``-lc``, ``-euxc``) among a shell's words."""
    has_c = is_value = False
    for index, word in enumerate(words):
        if is_value or re.fullmatch(r"[-+][A-Za-z]+|--[a-z-]+", word):
            has_c = has_c or (not is_value and re.match(r"-[A-Za-z]*c|--command", word) is not None)
            is_value = not is_value and word in ("-o", "+o", "-O", "+O")  # bash -o pipefail -c '…'
        else:
            return index if has_c else None
    return None
