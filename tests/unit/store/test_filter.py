import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.store.filter import DEEPEST, MOST, Comparison, Joined, Not, Tree, parse


def shown(tree: Tree | None) -> str:
    if isinstance(tree, Not):
        return f"!{shown(tree.of)}"
    if isinstance(tree, Joined):
        return "(" + f" {tree.word} ".join(map(shown, tree.parts)) + ")"
    if isinstance(tree, Comparison):
        return " ".join([tree.field.text, tree.sign, *(value.text for value in tree.values)])
    return ""


@pytest.mark.parametrize(
    "text,tree",
    [
        ("", ""),
        ("  \n ", ""),
        ("a=1", "a = 1"),
        ("a == 1", "a = 1"),
        ("a<>1", "a != 1"),
        ("a!=-1e-3", "a != -1e-3"),
        ("a.b/c-d >= 'x y'", "a.b/c-d >= x y"),
        (r"a = 'it\'s'", "a = it's"),
        ('a = "say \\"x\\" \\\\"', 'a = say "x" \\'),
        ("a = ''", "a = "),
        ("a=1 and b=2 or c=3", "((a = 1 AND b = 2) OR c = 3)"),
        ("a=1 or b=2 and c=3", "(a = 1 OR (b = 2 AND c = 3))"),
        ("(a=1 or b=2) and not c=3", "((a = 1 OR b = 2) AND !c = 3)"),
        ("not not a=1", "!!a = 1"),
        ("a in (1, 'b',c)", "a in 1 b c"),
        ("a NOT IN (1)", "!a in 1"),
        ("a is null And b IS NOT NULL", "(a null  AND !b null )".replace("null ", "null")),
        ("tags.'and' = 'or'", "tags.'and' = or"),
        ('params."a b"=1', 'params."a b" = 1'),
    ],
)
def test_a_filter_is_read(text: str, tree: str) -> None:
    assert shown(parse(text)) == tree


@pytest.mark.parametrize(
    "text,at",
    [
        ("a", 1),
        ("a =", 3),
        ("a = and", 4),
        ("= 1", 0),
        ("and", 0),
        ("a = 1 b = 2", 6),
        ("a = 1 and", 9),
        ("(a = 1", 6),
        ("a = 1)", 5),
        ("a in 1", 5),
        ("a in (1", 7),
        ("a in (1,)", 8),
        ("a in ()", 6),
        ("a is 1", 5),
        ("a not 1", 6),
        ("a = 'x", 4),
        ('  a = "x', 6),
        ("a ! 1", 2),
        ("()", 1),
        ("'a' = 1", 0),
        ("\ta =", 4),
    ],
)
def test_an_error_points_at_its_place(text: str, at: int) -> None:
    with pytest.raises(UsageError) as raised:
        parse(text)
    caret = raised.value.what.splitlines()[-1]
    assert caret.index("^") - 4 == at


@pytest.mark.parametrize(
    "text",
    [
        "(" * (DEEPEST + 1) + "a=1" + ")" * (DEEPEST + 1),
        "not " * 100_000 + "a=1",
        " or ".join(["a=1"] * (MOST + 1)),
        f"a in ({','.join(['1'] * (MOST + 1))})",
    ],
    ids=["deep", "negated", "long", "listed"],
)
def test_a_filter_that_no_database_takes_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@given(st.text(alphabet="ab.1'\"\\() =<>!~,\n andorint", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse(text)
