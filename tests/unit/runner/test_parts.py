"""The pure parts of the runner."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runner import usage
from penstock.runner.metrics import Printed
from penstock.runner.points import AT_ONCE, KEYS, Points
from penstock.runner.tail import Tail
from penstock.runner.verdict import Seen, exit_code, verdict


def seen(
    code: int | None,
    number: int | None = None,
    *,
    termed: bool = False,
    oom: int = 0,
    lost: str = "",
) -> Seen:
    found = Seen(code, number, termed, oom)
    found.lost = lost
    return found


@pytest.mark.parametrize(
    "found, cause, is_sealed, status",
    [
        (seen(0), None, True, 0),
        (seen(3), None, True, 3),
        (seen(0, termed=True), None, False, 0),
        (seen(None, signal.SIGSEGV), None, False, 139),
        (seen(None, signal.SIGKILL, oom=1), "memory", False, 137),
        (seen(None, signal.SIGKILL), None, False, 137),
        (seen(None, signal.SIGTERM, termed=True, oom=1), None, False, 143),
        (seen(137, oom=1), "memory", True, 137),
        (seen(1, oom=1), "memory", True, 1),
        (seen(0, oom=1), None, True, 0),  # what survives a killed helper has succeeded
        (seen(0, lost="no model"), "output", True, 0),
        (seen(1, lost="no model"), None, True, 1),
        (seen(0, termed=True, lost="no model"), None, False, 0),
    ],
)
def test_verdict_is_as_in_the_table(
    found: Seen, cause: str | None, is_sealed: bool, status: int
) -> None:
    fields = verdict(found)
    assert (fields["cause"], fields["sealed"], exit_code(fields)) == (cause, is_sealed, status)
    assert bool(fields["detail"]) == (cause is not None or found.signal is not None)


def test_points_count_their_own_steps() -> None:
    points = Points()
    for key, step in [("a", None), ("b", None), ("a", 10), ("a", None)]:
        points.add(key, 1.0, step, 5.0)
    steps = {record["key"]: record["steps"] for record in points.take()}
    assert steps == {"a": [0, 10, 11], "b": [0]}
    points.add("a", 2.0, None)
    assert [record["steps"] for record in points.take()] == [[12]]


def test_points_come_in_records_of_bounded_size() -> None:
    points = Points()
    for value in range(AT_ONCE + 1):
        points.add("a", value, None)
    assert [len(str(record["steps"]).split()) for record in points.take()] == [AT_ONCE, 1]


def test_too_many_metrics_are_counted() -> None:
    points = Points()
    for number in range(KEYS + 2):
        points.add(f"m{number}", 1, None)
    assert points.left_out == 2
    assert len(points.take()) == KEYS


@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(1, 20))
def test_tail_gives_the_lines_whatever_the_reads(parts: list[bytes], size: int) -> None:
    whole = b"\n".join(parts)
    path = f"/dev/shm/penstock-tail-{os.getpid()}"
    Path(path).write_bytes(whole)  # one for each example, in memory
    tail = Tail(path, 1000)
    got = list(itertools.chain.from_iterable(iter(lambda: tail.lines(size) or None, None)))
    while tail.is_behind:
        got += tail.lines(size)
    got += tail.last()
    tail.close()
    Path(path).unlink()
    want = whole.split(b"\n")
    assert got == (want if want[-1] else want[:-1])


def test_tail_leaves_out_lines_that_are_too_long(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\n" + b"b" * 3_000_000 + b"\nc\n" + b"d" * 20)
    tail = Tail(str(path), 10)
    assert tail.lines(1 << 30) == [b"a", b"c"]
    assert tail.last() == []
    assert tail.too_long == 2


def test_tail_waits_for_its_file(tmp_path: Path) -> None:
    tail = Tail(str(tmp_path / "x"), 10)
    assert (tail.lines(10), tail.is_behind) == ([], False)
    (tmp_path / "x").write_text("a\nb")
    assert tail.is_behind
    assert (tail.lines(10), tail.last()) == ([b"a"], [b"b"])


def printed(tmp_path: Path, text: str, pattern: object) -> dict[str, list[object]]:
    (tmp_path / "log").write_text(text)
    points = Points()
    reader = Printed(str(tmp_path / "log"), pattern, points)
    reader.read(1 << 20)
    reader.close()
    assert not reader.note
    return {
        str(record["key"]): list(zip(record["steps"], record["values"], strict=True))  # type: ignore[call-overload]
        for record in points.take()
    }


@pytest.mark.parametrize(
    "line, found",
    [
        ("loss: 0.5", {"loss": 0.5}),
        ("loss=0.5, acc = 1e-3;", {"loss": 0.5, "acc": 1e-3}),
        ("{'loss': 0.5, \"val/acc\": .9}", {"loss": 0.5, "val/acc": 0.9}),
        ("[epoch 3] top-1=71.2% n=1_000", {"n": 1000.0, "top-1": 71.2}),
        ("x: -inf", {"x": float("-inf")}),
        ("12:30:01 http://host:80/ host:8080 a::1", {}),
        ("loss: high, version=1.2.3 date=2024-01-01", {}),
    ],
)
def test_pairs_are_found_and_other_things_not(
    tmp_path: Path, line: str, found: dict[str, float]
) -> None:
    read = printed(tmp_path, line + "\n", True)
    assert {key: points[0][1] for key, points in read.items()} == found  # type: ignore[index]


@pytest.mark.parametrize(
    "pattern",
    [
        r"it (?P<step>\d+): (?P<name>\w+) is (?P<value>\S+)",
        r"it (?P<step>\d+): loss is (?P<loss>\S+)",
    ],
)
def test_expression_has_groups_for_name_and_value_or_one_a_metric(
    tmp_path: Path, pattern: str
) -> None:
    assert printed(tmp_path, "it 5: loss is 0.5\nit 6: loss is high\n", pattern) == {
        "loss": [(5, 0.5)]
    }


@pytest.mark.parametrize("pattern", ["(", r"loss (\d+)", r"(?P<step>\d+)"])
def test_expression_that_names_no_metric_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match=r"metrics\.stdout"):
        Printed(str(tmp_path / "log"), pattern, Points())


def test_tree_finds_what_is_below_and_in_the_session() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '600'])"],
        start_new_session=True,
    )
    try:
        found: list[int] = []
        while len(found) < 2:
            found = [
                process.pid for process in usage.tree(os.getpid()) if process.session == child.pid
            ]
        assert child.pid in found
        assert {process.pid for process in usage.tree(0, child.pid)} >= set(found)
    finally:
        os.killpg(child.pid, signal.SIGKILL)  # not all of this process's: some serve other tests
        child.wait()


@pytest.mark.parametrize(
    "groups, file, body, count",
    [
        ("0::/slurm/job_1\n", "slurm/job_1/memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        (
            "4:memory:/slurm\n0::/\n",
            "memory/slurm/memory.oom_control",
            "under_oom 0\noom_kill 1\n",
            1,
        ),
        ("4:cpu,memory:/s\n", "memory/s/memory.oom_control", "oom_kill_disable 0\n", None),
        ("0::/gone\n", "x", "", None),
    ],
    ids=["v2", "v1", "before Linux 4.13", "none"],
)
def test_oom_kills_are_read_of_both_versions(
    tmp_path: Path, groups: str, file: str, body: str, count: int | None
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cgroup").write_text(groups)
    counter = tmp_path / "cgroup" / file
    counter.parent.mkdir(parents=True)
    counter.write_text(body)
    assert usage.oom_kills(str(tmp_path / "proc"), str(tmp_path / "cgroup")) == count
