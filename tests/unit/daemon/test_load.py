"""What is asked of the scheduler is counted, by all processes, and told."""

from datetime import timedelta
from pathlib import Path

import pytest

from penstock.daemon.report import load
from penstock.scheduler import counted
from penstock.scheduler.counted import COSTS, Asked, Counted
from penstock.scheduler.slurm import SlurmScheduler
from penstock.testing.factories import AT, make_submission
from penstock.testing.model import Cluster
from penstock.testing.site import Site
from penstock.testing.transport import ModelTransport


def test_questions_are_counted_with_their_cost(tmp_path: Path) -> None:
    cluster = Cluster(Site(), seed=1)
    inner = SlurmScheduler(ModelTransport(cluster), clock=cluster.clock)
    scheduler = Counted(inner, tmp_path / "asked", cluster.clock, is_slurm=True)
    scheduler.capabilities()
    scheduler.capabilities()
    scheduler.limits()
    scheduler.limits()
    scheduler.check(make_submission())
    scheduler.observe()
    scheduler.find("ps-1", since=cluster.clock.now())
    scheduler.history([1], since=cluster.clock.now())
    scheduler.cancel([(1, 2), (1, 3), (2, None)])
    found = [(one.verb, one.rpcs) for one in counted.asked(tmp_path / "asked")]
    assert found == [
        ("capabilities", 2),
        ("limits", 4),
        ("limits", 2),
        ("check", 2),
        ("observe", 3),
        ("find", 0),
        ("history", 0),
        ("cancel", 2),
    ]


@pytest.mark.parametrize("verb", COSTS)
def test_cost_is_what_the_verb_says_of_itself(verb: str) -> None:
    words = str(getattr(SlurmScheduler, verb).__doc__).partition("Cost: ")[2]
    told = words.split()[0]
    assert told == ("none" if COSTS[verb] == 0 else str(COSTS[verb]))


def test_file_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "MOST_BYTES", 100)
    cluster = Cluster(Site(), seed=1)
    inner = SlurmScheduler(ModelTransport(cluster), clock=cluster.clock)
    scheduler = Counted(inner, tmp_path / "asked", cluster.clock, is_slurm=True)
    for _ in range(40):
        scheduler.observe()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 300
    assert 4 < len(list(counted.asked(tmp_path / "asked"))) < 40


def test_count_that_cannot_be_kept_is_no_failure(tmp_path: Path) -> None:
    cluster = Cluster(Site(), seed=1)
    inner = SlurmScheduler(ModelTransport(cluster), clock=cluster.clock)
    Counted(inner, tmp_path / "no" / "asked", cluster.clock, is_slurm=True).observe()
    (tmp_path / "asked").write_text("odd\n1 observe\n1e999 x 1\n5 observe 3\n")
    assert [one.rpcs for one in counted.asked(tmp_path / "asked")] == [3]


def test_load_is_of_the_last_hour_and_of_each_run() -> None:
    asked = [Asked(AT - timedelta(hours=2), "observe", 3), Asked(AT, "submit", 1)]
    told = load(asked, 2, AT)
    assert (told.questions, told.rpcs, told.per_run) == ({"submit": 1}, 1, 2.0)
    assert load([], 0, AT).per_run is None
