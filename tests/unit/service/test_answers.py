"""Who answered is remembered with the pace: it keeps a silent run from being called lost."""

from pathlib import Path

import pytest

from penstock.service.project import Project
from penstock.service.upkeep import Upkeep, pace_of
from penstock.testing.transport import Fault
from tests.unit.reconciler.test_send import Here


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """A project whose job is over, and forgotten by squeue."""
    made = Here(tmp_path)
    made.submit(1)
    made.world.settings.home.mkdir(exist_ok=True)
    return made


def project(here: Here) -> Project:
    opened = Project(here.world.settings, here.world.clock)
    opened.__dict__.update(world=here.world, store=here.world.store)
    return opened


@pytest.mark.parametrize(
    "program, unanswered", [("squeue", "queue"), ("sacct", "accounting"), ("nothing", "")]
)
def test_who_did_not_answer_is_remembered(here: Here, program: str, unanswered: str) -> None:
    opened = project(here)
    upkeep = Upkeep(opened)
    (sent,) = upkeep.step(force=True).sent
    here.transport.run(["scancel", str(sent.job)])
    here.cluster.run_until(here.cluster.now + 400)
    answered_at = pace_of(opened, "", opened.user).answered_at
    here.transport.order(Fault.FAIL, rf"^{program} -", count=99)
    upkeep.step(force=True)
    pace = pace_of(opened, "", opened.user)
    assert pace.unanswered == unanswered
    assert (pace.answered_at == answered_at) is (program == "squeue")
    assert pace.absent_s == 300 + 60
