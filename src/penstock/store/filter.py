"""Read a filter such as ``metrics.acc > 0.9 and not (state = failed or params.lr in (0.1, 1))``.

    filter      any [ "or" any ]…            "and" binds closer than "or"
    any         each [ "and" each ]…
    each        "not" each | "(" filter ")" | comparison
    comparison  field ( = != < <= > >= ~ !~ ) value
                field ["not"] "in" "(" value [, value]… ")"
                field "is" ["not"] "null"

A value is a word, or a text in quotes. Pure: what the fields are is told by ``fields``.
"""

import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from penstock.errors import UsageError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<sign><=|>=|==|!=|<>|!~|[<>=~(),])
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<word>(?:params|metrics|tags)\.(?:"[^"]*"|'[^']*')|[^\s<>=!~(),'"]+)
    )""",
    re.VERBOSE,
)
SIGNS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
         "~": "~", "!~": "!~"}  # fmt: skip
_KEYWORDS = frozenset({"and", "or", "not", "in", "is"})
DEEPEST = 50  # of parentheses; databases have limits too
MOST = 500  # comparisons, and values in a list


@dataclass(frozen=True)
class Token:
    """A piece of the filter, and where it stands."""

    kind: str  # "sign", "text", "word", "end"
    text: str  # without its quotes
    at: int

    def is_word(self, *words: str) -> bool:
        """Return whether it is one of these words, in any case."""
        return self.kind == "word" and self.text.lower() in words


@dataclass(frozen=True)
class Comparison:
    """A field, how it is compared (``=`` … ``in``, ``null``), and with what."""

    field: Token
    sign: str
    values: tuple[Token, ...]


@dataclass(frozen=True)
class Not:
    """What does not hold."""

    of: "Tree"


@dataclass(frozen=True)
class Joined:
    """Parts of which all hold (``AND``), or one (``OR``)."""

    word: str
    parts: tuple["Tree", ...]


Tree: TypeAlias = Comparison | Not | Joined


def parse(text: str) -> Tree | None:
    """Return what a filter says; None for an empty one. Raises UsageError with the place."""
    tokens = _tokens(text)
    if tokens[0].kind == "end":
        return None
    parser = _Parser(text, tokens)
    tree = parser.either()
    if parser.next.kind != "end":
        parser.fail("expected `and`, `or` or the end")
    return tree


def fail(text: str, at: int, what: str, hint: str = "") -> NoReturn:
    """Raise UsageError with the filter and a caret below the place."""
    before = re.sub(r"[^\t]", " ", text[:at])
    shown = text.replace("\n", " ")
    raise UsageError(f"the filter cannot be read: {what}\n    {shown}\n    {before}^", hint=hint)


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            what = "this quote is not closed" if text[at] in "'\"" else f"unexpected {text[at]!r}"
            fail(text, at, what)
        kind = str(match.lastgroup)
        piece = match[kind]
        if kind == "text":
            piece = re.sub(r"\\(.)", r"\1", piece[1:-1], flags=re.DOTALL)
        tokens.append(Token(kind, piece, match.start(kind)))
        at = match.end()
    return [*tokens, Token("end", "", len(text.rstrip()))]


class _Parser:
    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text = text
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._count = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._place]

    def fail(self, what: str, hint: str = "") -> NoReturn:
        found = f", not {self.next.text!r}" if self.next.text else ""
        fail(self.text, self.next.at, what + found, hint)

    def take(self) -> Token:
        token = self.next
        self._place += token.kind != "end"
        return token

    def takes(self, sign: str) -> bool:
        is_it = self.next.kind == "sign" and self.next.text == sign
        self._place += is_it
        return is_it

    def either(self) -> Tree:
        parts = [self.all()]
        while self.next.is_word("or"):
            self.take()
            parts.append(self.all())
        return parts[0] if len(parts) == 1 else Joined("OR", tuple(parts))

    def all(self) -> Tree:
        parts = [self.each()]
        while self.next.is_word("and"):
            self.take()
            parts.append(self.each())
        return parts[0] if len(parts) == 1 else Joined("AND", tuple(parts))

    def each(self) -> Tree:
        self._depth += 1
        if self._depth > DEEPEST:
            self.fail("too many parentheses")
        tree: Tree
        if self.next.is_word("not"):
            self.take()
            tree = Not(self.each())
        elif self.takes("("):
            tree = self.either()
            if not self.takes(")"):
                self.fail("expected `)`")
        else:
            tree = self.comparison()
        self._depth -= 1
        return tree

    def comparison(self) -> Tree:
        self._count += 1
        if self._count > MOST:
            self.fail("too many comparisons")
        field = self.take()
        if field.kind != "word" or field.is_word(*_KEYWORDS):
            self._place -= field.kind != "end"
            self.fail("expected a field", "such as state, params.lr or metrics.acc")
        if self.next.is_word("is"):
            return self._is_null(field)
        if self.next.is_word("in", "not"):
            return self._is_in(field)
        if self.next.kind != "sign" or self.next.text not in SIGNS:
            self.fail("expected one of = != < <= > >= ~ in is", f"as in {field.text} = …")
        return Comparison(field, SIGNS[self.take().text], (self.value(),))

    def _is_null(self, field: Token) -> Tree:
        self.take()
        is_not = self.next.is_word("not")
        self._place += is_not
        if not self.next.is_word("null"):
            self.fail("expected `null`", f"{field.text} is null: it has none")
        self.take()
        tree = Comparison(field, "null", ())
        return Not(tree) if is_not else tree

    def _is_in(self, field: Token) -> Tree:
        is_not = self.take().is_word("not")
        if is_not and not self.take().is_word("in"):
            self._place -= 1
            self.fail("expected `in`")
        if not self.takes("("):
            self.fail("expected `(`", f"{field.text} in (1, 2, 3)")
        values = [self.value()]
        while self.takes(","):
            values.append(self.value())
        if not self.takes(")"):
            self.fail("expected `,` or `)`")
        if len(values) > MOST:
            self.fail(f"more than {MOST} values")
        tree = Comparison(field, "in", tuple(values))
        return Not(tree) if is_not else tree

    def value(self) -> Token:
        if self.next.kind not in ("word", "text") or self.next.is_word(*_KEYWORDS):
            self.fail("expected a value", "a number, a word, or a text in quotes")
        return self.take()
