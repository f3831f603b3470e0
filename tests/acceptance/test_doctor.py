"""``penstock doctor`` as its users have it, with a job on the local scheduler and a real Slurm."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Site, local_site


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


# A node by another name; the second sees another file where the lock is held, as it would be where
# locks do not reach from host to host.
NODE = """#!/bin/sh
exec unshare --uts sh -c 'hostname node7 && exec python3 "$@"' sh "$@"
"""
APART = """#!/bin/sh
exec unshare --uts --mount sh -c '
  hostname node7 && touch "$2.own" && mount --bind "$2.own" "$2/held.lock" && exec python3 "$@"
' sh "$@"
"""


@pytest.fixture
def roots(shared: Path) -> Site:
    """A project of root's."""
    if os.getuid() != 0:
        pytest.skip("only root may give a node another name")
    return local_site(shared)


def as_a_node(site: Site, script: str, code: int) -> tuple[Any, Any]:
    """Let jobs run as on a node; return what the doctor says of locks, and what it keeps."""
    python = site.write("python-of-node", script)
    python.chmod(0o755)
    site.env["PENSTOCK_PYTHON"] = str(python)
    told = site.json("doctor", "--job", code=code)
    said = [one for one in told["checks"] if "node7" in one["said"] and one["what"] == "locks"]
    return said, json.loads((site.root / ".penstock" / "locks.json").read_text())["hosts"]


def test_locks_that_reach_another_host_are_kept_as_proven(roots: Site) -> None:
    said, kept = as_a_node(roots, NODE, code=0)
    assert [one["level"] for one in said] == ["ok"]
    assert kept["node7"]["proven"] is True


def test_locks_that_do_not_reach_another_host_are_kept_as_failed(roots: Site) -> None:
    said, kept = as_a_node(roots, APART, code=1)
    assert [one["level"] for one in said] == ["fail"]
    assert kept["node7"]["proven"] is False
    again = roots("doctor", code=1).stdout
    assert "fail  locks" in again
    assert "PostgreSQL" in again


def test_a_job_that_cannot_tell_is_told_of_with_its_log(local: Site, shared: Path) -> None:
    python = shared / "python3"
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
