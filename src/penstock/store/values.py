"""Values of parameters and tags as they are searched: a number, or a text. Pure."""

from math import isnan

from penstock.model.spec import Value
from penstock.wire.argv import text as as_argument

LONGEST = 500  # characters that can be searched; PostgreSQL's indexes end at about 2,700 bytes


def columns(value: Value) -> tuple[float | None, str | None]:
    """Return the number or the text of a parameter; null is neither."""
    if isinstance(value, bool):
        return None, "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    if value is None:
        return None, None
    return None, searchable(value if isinstance(value, str) else as_argument(value))


def tag_columns(text: str) -> tuple[float | None, str]:
    """Return the number that a tag's text reads as, and the text."""
    try:
        return _number(float(text))[0], searchable(text)
    except ValueError:
        return None, searchable(text)


def searchable(text: str) -> str:
    """Return a text that any database takes, cut to what is searched."""
    if text.isascii() and "\0" not in text:
        return text[:LONGEST]
    return text[:LONGEST].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _number(value: float) -> tuple[float | None, str | None]:
    try:
        number = float(value)
    except OverflowError:
        return None, str(value)[:LONGEST]
    return (None, "nan") if isnan(number) else (number, None)
