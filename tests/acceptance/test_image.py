"""A command in an image, as its users have it; a program stands for Apptainer where that lacks."""

import os
import tarfile
from pathlib import Path

import pytest

from tests import apptainer
from tests.acceptance.conftest import Site

SPEC = """\
experiment: inside
command: [sh, -c, 'cat mine.txt; echo "$INSIDE" $GREETING']
env: {apptainer: images/an image.sif, GREETING: hello}
"""


@pytest.fixture
def site(local: Site, shared: Path) -> Site:
    folder, _ = apptainer.stand_in(shared, python=str(local.bin / "python"))
    local.env["PATH"] = f"{folder}:{local.environment()['PATH']}"
    local.write("mine.txt", "of the code\n")
    return local


def test_runs_of_a_spec_are_in_its_image_which_is_no_code(site: Site) -> None:
    image = site.write("images/an image.sif", "x")
    (run,) = site.finish(SPEC)
    assert run["state"] == "completed", site("logs", "inside/1").stdout
    assert site("logs", "inside/1").stdout == f"of the code\n{image} hello\n"
    assert f"image      {image}" in site("show", "inside/1").stdout
    assert site.json("show", "inside/1")["image"] == str(image)
    (archive,) = (site.root / ".penstock" / "code").glob("*.tar.gz")
    with tarfile.open(archive) as code:
        assert "mine.txt" in code.getnames()
        assert "images/an image.sif" not in code.getnames()


def test_image_behind_a_link_is_no_code_either(site: Site, shared: Path) -> None:
    real = shared / "real.sif"
    real.touch()
    (site.root / "images").mkdir()
    (site.root / "images" / "an image.sif").symlink_to(real)
    (run,) = site.finish(SPEC)
    assert run["state"] == "completed", site("logs", "inside/1").stdout


def test_image_that_is_not_there_is_refused_with_its_place(site: Site) -> None:
    spec = site.write("s.yaml", SPEC)
    for words in (("submit", spec), ("submit", "--dry-run", spec)):
        said = site(*words, code=3).stderr
        assert f"s.yaml:3:18: env.apptainer: there is no image {site.root}/images/an" in said
    assert site.json("runs") == []


def test_image_that_is_no_file_or_may_not_be_read_is_refused(site: Site) -> None:
    (site.root / "images").mkdir()
    os.mkfifo(site.root / "images" / "an image.sif")
    assert "is no file and no folder" in site("submit", site.write("s.yaml", SPEC), code=3).stderr


def test_image_that_may_not_be_read_is_refused(site: Site) -> None:
    site.write("images/an image.sif", "x").chmod(0)
    said = site("submit", site.write("s.yaml", SPEC), code=3).stderr
    assert "you may not read the image" in said
