"""docs/reference/spec.md: its examples are read, and it has every key and every refused option."""

import re
from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.planning import load, request, sweep

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def code(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```yaml") > 10


@pytest.mark.parametrize("text", EXAMPLES)
def test_example_is_read_and_has_as_many_runs_as_it_says(text: str) -> None:
    match = re.match(r"# (\d+) runs?\n", text)
    assert match, "an example says first how many runs it makes"
    if "command:" not in text:
        text += 'command: [program, "{params}"]\n'
    spec = load.load(text, file="sweep.yaml", folder="/project")
    assert sum(sweep.size(stage.sweep) for stage in spec.stages) == int(match[1])


@pytest.mark.parametrize("key", [*load._SPEC, *load._STAGE, *request._KEYS])
def test_key_is_on_the_page(key: str) -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    assert any(key in code(row) for row in rows)


def test_refused_options_are_on_the_page() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `--")]
    named = {option for row in rows for option in code(row) if option.startswith("--")}
    owned = {f"--{name}" for name in request.OWNED}
    assert named == owned | {"--signal", "--gres"}


def test_complaint_on_the_page_is_ours() -> None:
    (shown,) = re.findall(r"^```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    with pytest.raises(SpecError) as error:
        load.load("command: x\nparms: {}", file="sweep.yaml", folder="/project")
    assert str(error.value) == shown
