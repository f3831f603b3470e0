import json

import pytest

from benchmarks import machine
from benchmarks.__main__ import NAMES, main
from benchmarks.figures import Figure, at_least, at_most, document, left_out, number, table

FIGURES = [
    at_most("time, beside a peer's", 0.25, "× peer", 1 / 3, peer="peer 1.0: 4 s"),
    at_least("points", 150_000.0, "points/s", 200_000),
    left_out("on a real Slurm", "s", "≤ 5", "needs root"),
]


def test_json_has_one_object_with_the_keys_that_were_promised() -> None:
    line = document("submit", FIGURES)

    assert "\n" not in line
    whole = json.loads(line)
    assert set(whole) == {"benchmark", "figures"}
    assert whole["benchmark"] == "submit"
    assert [list(figure) for figure in whole["figures"]] == [
        ["what", "value", "unit", "peer", "target", "met"]
    ] * len(FIGURES)
    assert [figure["met"] for figure in whole["figures"]] == [True, False, False]
    assert whole["figures"][2]["value"] is None


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        document("cli", [Figure("x", float("nan"), "s", "", "≤ 1", met=False)])


def test_table_has_a_line_for_each_figure_and_shows_what_is_not_met() -> None:
    head, rule, *rows = table(FIGURES).splitlines()

    assert head.split() == ["what", "value", "unit", "peer", "target", "met"]
    assert set(rule) == {"-", " "}
    assert [row.split()[-1] for row in rows] == ["yes", "NO", "NO"]
    assert "150,000" in rows[1]
    at = head.index("target")
    assert [row[at - 1 : at + 1] for row in rows] == [" ≤", " ≥", " ≤"]


@pytest.mark.parametrize("limit, met", [(2.0, True), (1.99, False)])
def test_a_limit_is_met_when_it_is_reached(limit: float, met: bool) -> None:
    assert at_most("x", 2.0, "s", limit).met is met
    assert at_least("x", limit, "s", 2.0).met is met


@pytest.mark.parametrize(
    "value, text",
    [(None, "-"), (0.0, "0"), (0.12345, "0.123"), (10_066.0, "10,066"), (123.6, "124"), (8.0, "8")],
)
def test_a_number_is_short(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_tells_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_an_unknown_benchmark_is_a_mistake_that_names_the_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["speed"])

    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert all(name in told for name in NAMES)


def test_the_machine_is_one_line() -> None:
    assert "\n" not in machine.about()
    assert "cores of" in machine.about()
