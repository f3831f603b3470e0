"""A spec's YAML as nodes that know where they stand, so that each complaint can say it too.

YAML 1.2, read by ruamel.yaml's composer: the tree before anything is made of it, so nothing is lost
(``1e-5`` as written, both of two equal keys) and no tag makes an object. Scalars mean what YAML's
core schema says: ``yes`` and ``1:30`` are words. What would silently change its meaning is refused.
"""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches

from ruamel.yaml.error import StringMark
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from penstock.errors import SpecError
from penstock.model.spec import Value

_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "seq": "a list",
    "map": "a mapping",
    "timestamp": "a date",
}
_SCALARS = ("str", "int", "float", "bool", "null")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DEPTH = 32
_KEY = 100  # characters of a path that are shown
_DIGITS = 400  # more than a float has
_MOST_NODES = 1_000_000  # aliases of aliases of … grow without end
_MOST_BYTES = 100_000  # Linux takes 131,072 in one argument or variable


@dataclass
class Document:
    """The file a node is from."""

    file: str
    left: int = field(default=_MOST_NODES)


@dataclass(frozen=True)
class Node:
    """A value in a spec. ``key`` is its path, ``name`` the node of its own key."""

    yaml: "MappingNode | SequenceNode | ScalarNode"
    document: Document
    key: str = ""
    name: ScalarNode | None = None

    # --- complaints

    def error(self, what: str, hint: str = "", *, at_name: bool = False) -> SpecError:
        """Return the error that stands here."""
        node = self.name if at_name and self.name is not None else self.yaml
        key = self.key if len(self.key) <= _KEY else self.key[:_KEY] + "…"
        return complaint(what, hint, self.document.file, node.start_mark, key)

    def unknown(
        self, name: str, known: Collection[str], what: str, *, at_name: bool = True
    ) -> SpecError:
        """Return the error for a name that is not known, with the nearest that is."""
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
        return self.error(what, hint, at_name=at_name)

    def wrong(self, wanted: str) -> SpecError:
        """Return the error for a value of another kind."""
        return self.error(f"this is {self.kind}, and {wanted} is asked for", self._kind_hint())

    def _kind_hint(self) -> str:
        if isinstance(self.yaml, MappingNode) and self.yaml.flow_style:
            return 'to YAML, braces are a mapping: quote a placeholder, "{name}"'
        return ""

    # --- what it is

    @property
    def place(self) -> tuple[int, int]:
        """Return the line and the column, from 1, for a complaint that can only be made later."""
        mark = self.yaml.start_mark
        return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)

    @property
    def tag(self) -> str:
        """Return ``str``, ``int``, ``map`` …; a tag of another schema as a whole."""
        return str(self.yaml.tag).removeprefix(_TAG)

    @property
    def kind(self) -> str:
        """Return what this is, for people."""
        return _KINDS.get(self.tag, f"of another type ({self.tag})")

    @property
    def is_mapping(self) -> bool:
        """Say whether this is a mapping."""
        return self.tag == "map" and isinstance(self.yaml, MappingNode)

    @property
    def is_list(self) -> bool:
        """Say whether this is a list."""
        return self.tag == "seq" and isinstance(self.yaml, SequenceNode)

    # --- what is in it

    def mapping(self, known: Collection[str] | None = None) -> "dict[str, Node]":
        """Return the nodes by key; with ``known``, refuse all other keys."""
        if not self.is_mapping:
            raise self.wrong("a mapping (key: value)")
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for name, value in self.yaml.value:
            text, child = self._child(name, value)
            if name.tag == _TAG + "merge":
                for one in child.items() if child.is_list else [child]:
                    child.spend(_DEPTH)
                    merged = one.mapping() | merged
            elif text in found:
                raise child.error("this key stands here twice", "keep one of the two", at_name=True)
            else:
                found[text] = child
        found = {**merged, **found}
        for text, child in found.items():
            if known is not None and text not in known:
                raise child.unknown(text, known, f"unknown key {text!r}")
        return found

    def _child(
        self, name: object, value: "MappingNode | SequenceNode | ScalarNode"
    ) -> "tuple[str, Node]":
        if not isinstance(name, ScalarNode):
            raise self.error("a key is a text", 'quote a placeholder: "{name}"')
        if self.key.count(".") > _DEPTH:
            raise self.error("this is nested too deeply, or contains itself")
        text = self._checked(str(name.value))
        child = Node(value, self.document, f"{self.key}.{text}" if self.key else text, name)
        if name.tag not in (_TAG + "str", _TAG + "merge"):
            raise child.error("a key is a text", f'quote it: "{text}"', at_name=True)
        return text, child

    def items(self) -> "list[Node]":
        """Return the nodes of a list, one at least."""
        if not self.is_list:
            raise self.wrong("a list")
        if not self.yaml.value:
            raise self.error("this list is empty", "leave the key out, or put something in")
        return list(self._elements())

    def _elements(self) -> "Iterator[Node]":
        for index, one in enumerate(self.yaml.value):
            yield Node(one, self.document, f"{self.key}[{index}]")

    def text(self) -> str:
        """Return a scalar as it is written: ``1e-5``, ``007``, ``true``, a text."""
        if not isinstance(self.yaml, ScalarNode) or self.tag == "null":
            raise self.wrong("a text")
        if self.tag != "timestamp":
            self._known_tag()
        return self._checked(str(self.yaml.value))

    def string(self, pattern: str, what: str) -> str:
        """Return a scalar that matches; ``what`` says what it should be."""
        text = self.text()
        if not re.fullmatch(pattern, text, re.ASCII):
            raise self.error(f"{text!r} is not {what}")
        return text

    def whole(self, at_least: int, at_most: int = 1_000_000) -> int:
        """Return a whole number within bounds."""
        value = self.scalar() if isinstance(self.yaml, ScalarNode) else None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong("a whole number")
        if not at_least <= value <= at_most:
            raise self.error(f"{value} is not between {at_least} and {at_most}")
        return value

    def decimal(self) -> Decimal:
        """Return a number exactly as it is written."""
        value = self.scalar() if isinstance(self.yaml, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong("a number")
        number = Decimal(value) if isinstance(value, int) else Decimal(str(self.yaml.value))
        if number and abs(number.adjusted()) > _DIGITS:
            raise self.error("this number is too large or too small")
        return number

    def value(self, depth: int = 0) -> Value:
        """Return the value of a parameter: what JSON can say, and nothing else."""
        self.spend(depth)
        if self.is_mapping:
            return {name: child.value(depth + 1) for name, child in self.mapping().items()}
        if self.is_list:
            return [child.value(depth + 1) for child in self._elements()]
        return self.scalar()

    def spend(self, depth: int) -> None:
        """Refuse what contains itself, and what grows without end by aliases."""
        self.document.left -= 1
        if depth > _DEPTH:
            raise self.error("this is nested too deeply, or contains itself")
        if self.document.left < 0:
            raise self.error(f"the file has more than {_MOST_NODES:,} values")

    def scalar(self) -> "str | int | float | bool | None":
        """Return a scalar as YAML's core schema has it."""
        self._known_tag()
        text = str(self.yaml.value)
        if self.tag == "str":
            return self._checked(text)
        if self.tag == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if self.tag == "null" and text.lower() in ("null", "~"):
            return None
        if not text:
            raise self.error("there is no value", 'write one; null or "" if that is meant')
        if self.tag == "int" and _INT.fullmatch(text):
            return self._whole(text)
        if self.tag == "float" and _FLOAT.fullmatch(text) and not _is_padded(text):
            return self._float(text)
        raise self._changed(text)

    def _whole(self, text: str) -> int:
        if len(text) > _DIGITS:  # Python converts no more than 4,300, and nobody means them
            raise self.error("this number has too many digits", "quote it if it is a text")
        return int(text, 0) if text.startswith("0") else int(text)

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise self.error(f"{text} is larger than a number can be")
        return value

    def _changed(self, text: str) -> SpecError:
        if text.lower().lstrip("+-") in (".inf", ".nan"):
            return self.error(f"{text} is no number that a record can keep", 'quote it: "inf"')
        return self.error(
            f"{text} is read as {self.kind}, and would not arrive as it is written",
            f"quote it to keep it as it is: '{text}'",
        )

    def _known_tag(self) -> None:
        if not isinstance(self.yaml, ScalarNode) or self.tag not in _SCALARS:
            what = "a date" if self.tag == "timestamp" else f"of a type ({self.tag})"
            hint = (
                "quote it: it arrives as a text then" if isinstance(self.yaml, ScalarNode) else ""
            )
            raise self.error(f"this is {what} that a parameter cannot be", hint)

    def _checked(self, text: str) -> str:
        try:  # JSON, which is YAML too, may write one character as a pair of escapes
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self.error("this text has half a character (a lone surrogate)") from None
        if "\0" in text:
            raise self.error("this text has a NUL, which no program can be given")
        size = len(text.encode())
        if size > _MOST_BYTES:
            hint = "put it into a file, and give the file's name"
            raise self.error(
                f"this text has {size:,} bytes: too long to be given to a program", hint
            )
        return text


def _is_padded(text: str) -> bool:
    """Say whether a number has zeros in front that it would lose: ``007``."""
    return re.match(r"[-+]?0[0-9]", text) is not None


def complaint(what: str, hint: str, file: str, mark: StringMark | None, key: str = "") -> SpecError:
    """Return the error at a place of YAML's, which counts from 0."""
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    return SpecError(what, hint=hint, file=file, line=line, column=column, key=key)
