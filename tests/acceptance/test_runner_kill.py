"""A runner that is killed at any instant leaves files from which the truth can be told."""

import json
import re
import signal
from pathlib import Path

import pytest

from penstock.runner.instants import INSTANTS
from penstock.staging import code
from penstock.wire import claim, place
from tests.elements import Array, make_array

SRC = Path(__file__).resolve().parents[2] / "src" / "penstock"

# Says that it ran, waits for a beat, tells and makes something, and leaves a process behind.
COMMAND = """\
set -e
echo ran >> "$1/ran"
until grep -q '"k":"beat"' "$1/arrays/tok/spool/0/0.$PENSTOCK_RESTART.open"; do sleep 0.02; done
penstock-log loss=0.25 step=7 --tag kind=test
mkdir out
cp input.txt out/model
echo text > out/text
sleep 600 &
"""


def make_whole(home: Path) -> Array:
    """Return an array whose run passes every instant but those of a takeover."""
    folder = home / "project"
    folder.mkdir()
    (folder / "input.txt").write_text("weights")
    (folder / "train.sh").write_text(COMMAND)
    kept = code.archive(folder, home=home)
    return make_array(
        home,
        "sh",
        "train.sh",
        str(home),
        code={"path": str(kept.path), "digest": kept.digest},
        outputs=["out"],
        beat_s=0.1,
    )


def sealed(array: Array) -> list[dict[str, object]]:
    """Return the exit records that say that the command ended by itself."""
    records = [record for restart in range(4) for record in array.records(restart=restart)]
    return [record for record in records if record["k"] == "exit" and record["sealed"]]


def results(array: Array) -> dict[str, str]:
    return {
        path.relative_to(array.results).as_posix(): path.read_text()
        for path in array.results.rglob("*")
        if path.is_file() and ".penstock-" not in str(path)
    }


WHOLE = {"e/0/out/model": "weights", "e/0/out/text": "text\n"}


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed_anywhere_tells_the_truth_and_is_taken_over(tmp_path: Path, instant: str) -> None:
    array = make_whole(tmp_path)
    restart = 0
    if instant.startswith("runner.takeover."):
        array.run(PENSTOCK_FAILPOINT="runner.started")
        restart = 1

    killed = array.run(restart=restart, PENSTOCK_FAILPOINT=instant)

    assert killed.code == -signal.SIGKILL, killed.err  # it did pass there
    assert len(list(array.folder.glob("spool/0/*.claim"))) <= 1
    was_sealed = bool(sealed(array))
    if was_sealed:
        assert results(array) == WHOLE  # never a sealed end without its result
    ran_before = ran(tmp_path)

    if (array.folder / place.claim(0)).exists():
        assert array.run(job=13).code == claim.TAKEN
        assert ran(tmp_path) == ran_before  # another job runs nothing

    again = array.run(restart=restart + 1)

    assert again.code == 0, again.err + again.log
    assert again.exit["sealed"]
    assert again.exit["code"] == 0
    assert results(array) == WHOLE
    assert array.is_done(restart=restart + 1)
    assert ran(tmp_path) == ran_before + (not was_sealed)  # sealed: nothing is run again
    assert array.left_on_scratch() == []
    assert list(array.results.rglob(".penstock-*")) == []
    assert list(array.folder.rglob("*.open")) == []
    if not was_sealed:
        assert again.points("loss") == [(7, 0.25)]


def ran(home: Path) -> int:
    try:
        return (home / "ran").read_text().count("ran")
    except FileNotFoundError:
        return 0


def test_every_instant_of_the_source_is_listed_once() -> None:
    """… so that none goes untested."""
    source = [path.read_text() for name in ("runner", "wire") for path in (SRC / name).glob("*.py")]
    hits = re.findall(r'\bhit\(\s*"([^"]+)"\s*\)', "\n".join(source))
    assert sorted(hits) == sorted(INSTANTS)


def test_a_whole_run_tells_everything(tmp_path: Path) -> None:
    """What the killed ones are compared with."""
    array = make_whole(tmp_path)
    ended = array.run()
    assert ended.code == 0
    kinds = [record["k"] for record in ended.records]
    order = [kind for kind in kinds if kind != "beat"]  # it may beat while the code is unpacked
    assert (order[0], order[1], order[-1]) == ("open", "start", "exit")
    assert {"beat", "m", "tag", "note", "output"} <= set(kinds)
    assert {record["path"] for record in ended.of("output")} == {"out/model", "out/text"}
    assert json.dumps(ended.exit)
    assert results(array) == WHOLE
