"""A command in an image: with a program that stands for Apptainer, and with Apptainer itself."""

import json
import os
import sys
from pathlib import Path

import pytest

from penstock.wire.manifest import read as read_manifest
from tests import apptainer
from tests.elements import Array, make_array

PROGRAM = """\
import json, os, sys, penstock
penstock.log_metric("seen", 1)
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "inside": os.environ.get("INSIDE"),
                  "mine": os.environ["MINE"], "p": os.environ["PENSTOCK_PARAM_P"],
                  "file": json.load(open(os.environ["PENSTOCK_PARAMS"])), "tmp": os.environ["TMPDIR"]}))
open("out.txt", "w").write("made inside")
"""  # noqa: E501
NASTY = "a b'\"$(touch /tmp/never) `x`"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "an image.sif"
    path.touch()
    return path


def array_in(tmp_path: Path, image: Path, *command: str, path: str, **more: object) -> Array:
    return make_array(
        tmp_path,
        *command,
        params=[{"p": NASTY}],
        env={"PATH": path, "MINE": "it's $HOME", **more.pop("env", {})},  # type: ignore[dict-item]
        environment={"apptainer": str(image)},
        outputs=["out.txt"],
        **more,
    )


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
def test_command_runs_in_the_image_with_all_that_a_run_has(
    tmp_path: Path, image: Path, name: str
) -> None:
    folder, said = apptainer.stand_in(tmp_path, name)
    script = f'python3 -c "$0" "$1" && penstock-log logged=2 && exec {sys.executable} -c "$0" "$1"'
    script = script.replace("python3", sys.executable, 1)
    (tmp_path / "results").mkdir()
    array = array_in(tmp_path, image, "sh", "-c", script, PROGRAM.replace("{", "{{").replace("}", "}}"), "{p}", path=str(folder))  # fmt: skip  # noqa: E501
    ended = array.run()
    assert ended.code == 0, ended.log
    seen = json.loads(ended.log.splitlines()[-1])
    work = seen["cwd"]
    assert (seen["argv"], seen["p"], seen["file"]) == ([NASTY], NASTY, {"p": NASTY})
    assert (seen["inside"], seen["mine"]) == (str(image), "it's $HOME")
    assert array.result("out.txt").read_text() == "made inside"
    assert ended.points("seen") == [(0, 1.0), (1, 1.0)]
    assert ended.points("logged") == [(0, 2.0)]
    (call,) = [json.loads(line) for line in said.read_text().splitlines()]
    run = str(Path(work).parent)
    assert call[:2] == [name, "exec"]
    assert call[2 : call.index(str(image))] == [
        "--bind", f"{run}:{run}", "--bind", f"{array.zip}:{array.zip}:ro",
        "--bind", f"{array.results}:{array.results}", "--pwd", work,
    ]  # fmt: skip
    assert ended.of("start")[0]["argv"][1:] == call[1:]


def test_node_without_the_program_ends_the_run_with_a_sentence(tmp_path: Path, image: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ended = array_in(tmp_path, image, "true", path=str(empty)).run()
    assert (ended.code, ended.exit["cause"], ended.exit["sealed"]) == (127, "setup", False)
    assert "no apptainer (or singularity) on this node's PATH" in ended.log
    assert not ended.of("start")


def test_image_that_is_not_on_the_node_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    folder, said = apptainer.stand_in(tmp_path)
    ended = array_in(tmp_path, tmp_path / "gone.sif", "true", path=str(folder)).run()
    assert (ended.code, ended.exit["cause"]) == (125, "setup")
    assert f"the image {tmp_path}/gone.sif cannot be read on this node" in ended.log
    assert not said.exists()


def test_path_that_cannot_be_bound_ends_the_run_with_a_sentence(
    tmp_path: Path, image: Path
) -> None:
    folder, _ = apptainer.stand_in(tmp_path)
    odd = tmp_path / "scratch:1"
    odd.mkdir()
    ended = array_in(tmp_path, image, "true", path=str(folder), scratch=str(odd)).run()
    assert (ended.code, ended.exit["cause"]) == (125, "setup")
    assert "it has a : or a , in its path" in ended.log


def test_manifest_of_an_earlier_version_still_runs(tmp_path: Path) -> None:
    array = make_array(tmp_path, "true")
    header, _ = read_manifest(str(array.folder / "manifest"), 0)
    assert "environment" not in header
    assert array.run().code == 0


REAL = """\
import json, os, sys, penstock
penstock.log_metric("seen", 1)
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "p": os.environ["PENSTOCK_PARAM_P"],
                  "mine": os.environ["MINE"], "mark": open("/in-the-image").read(),
                  "file": json.load(open(os.environ["PENSTOCK_PARAMS"]))}))
open("out.txt", "w").write("made inside")
"""


@pytest.mark.skipif(not apptainer.is_here(), reason=apptainer.MISSING)
def test_command_runs_in_a_real_image(tmp_path: Path) -> None:
    image = apptainer.sandbox(tmp_path / "image")
    (tmp_path / "results").mkdir()
    script = 'python3 -c "$0" "$1" && penstock-log logged=2'
    bound = {"APPTAINER_BIND": "/usr", "SINGULARITY_BIND": "/usr"}
    if os.getuid() == 0:  # who may be root of a container, without all that root may
        bound["APPTAINER_USERNS"] = "1"
    array = array_in(
        tmp_path, image, "sh", "-c", script, REAL.replace("{", "{{").replace("}", "}}"), "{p}",
        path=os.environ["PATH"], env=bound,
    )  # fmt: skip
    ended = array.run()
    assert ended.code == 0, ended.log
    seen = json.loads(next(line for line in ended.log.splitlines() if line.startswith("{")))
    assert (seen["argv"], seen["p"], seen["file"]) == ([NASTY], NASTY, {"p": NASTY})
    assert (seen["mark"], seen["mine"]) == ("yes", "it's $HOME")
    assert array.result("out.txt").read_text() == "made inside"
    assert ended.points("seen") == [(0, 1.0)]
    assert ended.points("logged") == [(0, 2.0)]
    assert not array.left_on_scratch()
