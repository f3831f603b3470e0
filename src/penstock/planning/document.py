"""Read a file as one YAML document, and say what is wrong where it is none."""

import re
import warnings

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from penstock.errors import SpecError
from penstock.planning.node import Document, Node, complaint

_OTHER_YAML = re.compile(r"^%YAML[ \t]+(?!1\.2\b)", re.MULTILINE)


def read(text: str, file: str) -> Node:
    """Return the one document of a file."""
    if match := _OTHER_YAML.search(text):
        line = text.count("\n", 0, match.start()) + 1
        what = "specs are YAML 1.2"
        raise SpecError(what, hint="remove the line %YAML", file=file, line=line, column=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is used again is allowed
            node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        what, hint = _syntax(error)
        mark = error.problem_mark or error.context_mark
        raise complaint(what, hint, file, mark) from error
    except YAMLError as error:
        raise SpecError(f"not YAML: {str(error).splitlines()[0]}", file=file) from error
    except RecursionError as error:
        raise SpecError("not a spec: it is nested too deeply", file=file) from error
    if node is None:
        raise SpecError("this file is empty", hint="a spec has at least `command:`", file=file)
    return Node(node, Document(file))


def _syntax(error: MarkedYAMLError) -> tuple[str, str]:
    """Return what is wrong and what to do, for the mistakes that people make."""
    problem = str(error.problem or error.context or "it cannot be read")
    for part, hint in _SYNTAX_HINTS.items():
        if part in problem:
            return f"not YAML: {problem}", hint
    where = f" ({error.context})" if error.context else ""
    return f"not YAML: {problem}{where}", "look at this line and the one before it"


_SYNTAX_HINTS = {
    r"'\t'": "YAML is indented by spaces: replace the tab",
    "mapping values are not allowed": "quote a text that has `: ` in it; look at the indentation",
    "another document": "one file is one spec: remove the `---` between them",
    "undefined alias": "a text that begins with * must be quoted; an anchor (&name) stands before",
    "cannot start any token": "a text that begins with @ ` or % must be quoted",
    "unknown escape": "use 'single quotes': \\ means itself in them",
}
