import json

import pytest

from benchmarks import machine
from benchmarks.__main__ import NAMES, main
from benchmarks.figures import Figure, at_least, at_most, document, left_out, number, table
from benchmarks.peers import is_read, is_right
from benchmarks.scripts import peers_penstock
from benchmarks.ssh import of_intervals
from benchmarks.truths import CODES, EXPRESSIONS, STATES, Expression, Said, questions

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


@pytest.mark.parametrize("said", [*STATES, *CODES], ids=lambda said: f"{said.text} {said.by}")
def test_penstock_makes_the_right_thing_of_each_word(said: Said) -> None:
    answer = peers_penstock.kind({**vars(said)})

    assert is_right(said.right, answer), answer


@pytest.mark.parametrize("one", EXPRESSIONS, ids=lambda one: one.text)
def test_penstock_reads_each_expression_rightly(one: Expression) -> None:
    answer = peers_penstock.tasks(one.text)

    assert is_read(one, answer), answer


@pytest.mark.parametrize(
    "right, over, kind, is_good",
    [
        ("runs", False, None, True),
        ("runs", True, None, False),
        ("runs", False, "waits", False),
        ("held", False, "waits", False),
        ("sibling", False, "waits", True),
        ("sibling", True, "failed", False),
        ("unknown", False, None, True),
        ("unknown", True, None, False),
        ("unknown", False, "waits", False),
        ("failed: memory", True, "failed", True),
        ("failed: memory", True, "failed: memory", True),
        ("failed: memory", True, "failed: user", False),
        ("failed: memory", True, "well", False),
        ("failed: memory", False, None, False),
    ],
)
def test_an_answer_on_a_word_is_right_or_wrong(
    right: str, over: bool, kind: str | None, is_good: bool
) -> None:
    assert is_right(right, {"over": over, "kind": kind}) is is_good


@pytest.mark.parametrize(
    "right, tasks, is_good",
    [
        (("12_1", "12_2"), ["12_2", "12_01"], True),
        (("12_1", "12_2"), ["12_1"], False),
        (("12_1",), None, False),
        (("12_1",), [], False),
        (None, None, True),
        (None, [], True),
        (None, ["12_1"], False),
        ((), [], True),
        ((), ["12"], False),
    ],
)
def test_an_answer_on_an_expression_is_right_or_wrong(
    right: tuple[str, ...] | None, tasks: list[str] | None, is_good: bool
) -> None:
    assert is_read(Expression("…", right), {"tasks": tasks}) is is_good


def test_who_raises_or_has_another_limit_of_tasks_is_wrong() -> None:
    one = Expression("12_[1%2]", ("12_1",), 2)

    assert is_read(one, {"tasks": ["12_1"], "throttle": 2})
    assert not is_read(one, {"tasks": ["12_1"], "throttle": 3})
    assert not is_read(one, {"raised": "ValueError"})
    assert not is_right("runs", {"raised": "KeyError"})


def test_no_answer_is_told_with_the_questions() -> None:
    told = json.dumps(questions())

    assert "right" not in told
    assert "OUT_OF_ME+" in told
    assert "12_[0-20:4%3]" in told


def test_interval_of_ssh_counts_what_comes_before_the_first_look_and_after_the_last() -> None:
    look = ["gather", "run squeue"]
    assert of_intervals([*look, *look, "ping", *look]) == [2, 2, 3]
    assert of_intervals(["ping", *look, *look, "gather", "put", "run sbatch"]) == [3, 2, 3]
