"""``penstock doctor`` as its users have it, with a job on the local scheduler and a real Slurm."""

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Site


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.slurm)])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def test_doctor_sends_a_job_and_tells_what_it_found(site: Site) -> None:
    told = site.json("doctor", "--job")
    assert told["fails"] == 0
    seen = {one["what"]: one for one in told["checks"]}
    for what in ("home", "store", "locks", "scheduler", "job", "python", "daemon"):
        assert what in seen
    assert seen["scheduler"]["said"].startswith(site.scheduler)
    assert "compute node" not in seen["job"]["said"]
    home = site.root / ".penstock"
    assert not list((home / "doctor").iterdir()), "the job's folder is removed"
    assert not list((home / "arrays").glob("*")) if (home / "arrays").exists() else True
    assert site.json("runs") == [], "it is no run"
    site("tick")  # a job that is none of its arrays confuses nobody


def test_doctor_ends_with_1_where_something_fails(local: Site) -> None:
    local.env["PATH"] = str(local.bin)
    local.env["PENSTOCK_SCHEDULER"] = "slurm"
    out = local("doctor", code=1)
    assert "fail  slurm" in out.stdout
    assert "1 fail" in out.stderr
    told = local.json("doctor", code=1)
    assert told["fails"] == 1


def test_a_job_that_cannot_tell_is_told_of_with_its_log(local: Site, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho no python today; exit 3\n")
    python.chmod(0o755)
    local.env["PENSTOCK_PYTHON"] = str(python)
    told = local.json("doctor", "--job", code=1)
    (job,) = [one for one in told["checks"] if one["what"] == "job"]
    assert "has ended without a report; its log says: no python today" in job["said"]


def test_a_job_that_does_not_begin_is_cancelled(local: Site) -> None:
    python = local.write("slow", "#!/bin/sh\nsleep 600\n")
    python.chmod(0o755)
    local.env["PENSTOCK_PYTHON"] = str(python)
    told = local.json("doctor", "--job", "--wait", 2, code=1)
    (job,) = [one for one in told["checks"] if one["what"] == "job"]
    assert "has not told anything for 2 s, and was cancelled" in job["said"]
    assert json.dumps(job)
