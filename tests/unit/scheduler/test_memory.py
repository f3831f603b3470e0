"""What is remembered across processes."""

import os
from pathlib import Path

import pytest

from penstock.scheduler.memory import Memory


class Asked:
    """A slow question that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"answer {self.count}"


def test_answer_is_remembered_for_a_while(tmp_path: Path) -> None:
    now, ask = [1000.0], Asked()

    def memory() -> Memory:
        return Memory(tmp_path / "memory", for_s=60, now=lambda: now[0])

    assert memory().recall("a", ask) == "answer 1"
    now[0] += 59
    assert memory().recall("a", ask) == "answer 1"
    assert memory().recall("b", ask) == "answer 2"
    now[0] += 2
    assert memory().recall("a", ask) == "answer 3"
    now[0] -= 1000  # a clock that was set back
    assert memory().recall("a", ask) == "answer 4"
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"a": 1}', '{"a": ["x", "y"]}'])
def test_file_that_is_none_is_asked_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "memory"
    path.write_text(text)
    assert Memory(path, for_s=60, now=lambda: 1000.0).recall("a", Asked()) == "answer 1"


def test_folder_that_is_not_there_only_costs_time(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "no" / "memory", for_s=60, now=lambda: 1000.0)
    ask = Asked()
    assert [memory.recall("a", ask), memory.recall("a", ask)] == ["answer 1", "answer 2"]


@pytest.mark.skipif(os.getuid() != 0, reason="giving a file away needs root")
def test_file_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    Memory(path, for_s=60, now=lambda: 1000.0).recall("a", lambda: "lies")
    os.chown(path, 12345, 12345)
    assert Memory(path, for_s=60, now=lambda: 1001.0).recall("a", Asked()) == "answer 1"
