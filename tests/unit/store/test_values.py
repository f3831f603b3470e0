import json
import math
from dataclasses import replace

import pytest

from penstock.model.spec import Environment, Request, Stage, Value
from penstock.store import bodies
from penstock.store.values import LONGEST, columns, tag_columns


@pytest.mark.parametrize(
    "value,expected",
    [
        (3, (3.0, None)),
        (0.1, (0.1, None)),
        (True, (None, "true")),
        (False, (None, "false")),
        (None, (None, None)),
        ("x", (None, "x")),
        ("3", (None, "3")),
        ([1, "a"], (None, '[1,"a"]')),
        ({"a": None}, (None, '{"a":null}')),
        (math.inf, (math.inf, None)),
        (math.nan, (None, "nan")),
        pytest.param(10**600, (None, "1" + "0" * (LONGEST - 1)), id="huge"),
        ("a\0\ud800é", (None, "a\ufffd?é")),
        ("x" * 1000, (None, "x" * LONGEST)),
    ],
)
def test_a_parameter_is_a_number_or_a_text(
    value: Value, expected: tuple[float | None, str | None]
) -> None:
    assert columns(value) == expected


@pytest.mark.parametrize(
    "text,number",
    [("3", 3.0), (" 1e3 ", 1000.0), ("x", None), ("", None), ("nan", None), ("true", None)],
)
def test_a_tag_is_a_number_too_where_it_reads_as_one(text: str, number: float | None) -> None:
    assert tag_columns(text) == (number, text)


def test_a_stage_comes_back_without_its_sweep() -> None:
    stage = Stage("é", ("a", "{x}"), request=Request(options=("--x=1",)), env=(("A", "b"),))
    assert bodies.stage_of(bodies.stage_text(stage)) == stage
    inside = replace(stage, environment=Environment("/images/x.sif", (3, 9)))
    assert bodies.stage_of(bodies.stage_text(inside)) == inside


def test_a_stage_of_a_version_without_environments_is_read() -> None:
    body = json.loads(bodies.stage_text(Stage("s", ("a",))))
    del body["environment"]
    assert bodies.stage_of(json.dumps(body)) == Stage("s", ("a",))
