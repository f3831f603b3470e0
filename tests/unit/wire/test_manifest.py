"""The manifest: what is written is read, by index."""

import json
from pathlib import Path

import pytest

from penstock.wire import manifest

PARAMS = ['{"lr":0.1}', '{"half":"\\ud800","text":"ä\\n"}', "{}"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A manifest of three elements."""
    entries = [
        manifest.entry(f'größe "x"/{number}', f"u{number}", number + 1, params)
        for number, params in enumerate(PARAMS)
    ]
    file = tmp_path / "manifest"
    file.write_bytes(manifest.encode({"token": "ps-1", "command": ["echo", "\ud800"]}, entries))
    return str(file)


@pytest.mark.parametrize("index", range(3))
def test_element_reads_the_header_and_its_own_entry(path: str, index: int) -> None:
    header, entry = manifest.read(path, index)
    assert (header["token"], header["size"], header["command"]) == ("ps-1", 3, ["echo", "\ud800"])
    assert entry == {
        "run": f'größe "x"/{index}',
        "uid": f"u{index}",
        "attempt": index + 1,
        "folder": f'größe "x"/{index}',
        "params": json.loads(PARAMS[index]),
    }


@pytest.mark.parametrize("index", [-1, 3])
def test_index_that_is_not_there_is_no_entry(path: str, index: int) -> None:
    with pytest.raises(IndexError):
        manifest.read(path, index)
