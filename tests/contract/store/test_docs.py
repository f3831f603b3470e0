"""The filters of the docs mean something."""

import re
from pathlib import Path

import pytest

from penstock.store import fields, search
from penstock.store.connection import Store
from tests.contract.store.making import submit

PAGE = Path(__file__).resolve().parents[3] / "docs" / "concepts" / "store.md"


def filters() -> list[str]:
    block = re.search(r"```filter\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return block[1].splitlines()


@pytest.mark.parametrize("words", filters())
def test_a_filter_of_the_docs_is_understood(store: Store, words: str) -> None:
    submit(store, 2)
    with store.read() as view:
        assert search.runs(view, words, project="demo") == []


def test_every_field_is_in_the_docs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in fields.FIELDS if f"`{name}`" not in page] == []
