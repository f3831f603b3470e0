"""What is over is told to runners, also where the process died before it could."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import TransportError
from penstock.failpoint import Tripped
from penstock.model.run import Array, Intent
from penstock.planning.reconcile import waiting
from penstock.reconciler import over
from penstock.reconciler.cycle import cycle
from penstock.reconciler.world import Memory
from penstock.store import attempts, submissions
from penstock.testing.factories import make_new_submission
from penstock.testing.jobs import Plan
from penstock.testing.model import Cluster
from penstock.testing.site import Site
from penstock.testing.transport import ModelTransport
from penstock.wire import over as told
from penstock.wire import place
from tests.world import make_world


class Fails(ModelTransport):
    """A transport that fails to write what is over, for as long as ``error`` says how."""

    error: BaseException | None = None
    puts = 0

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file, or fail to."""
        if path.endswith(place.OVER):
            self.puts += 1
            if self.error is not None:
                raise self.error
        super().put(path, data, mode=mode)


class Here:
    """An array of three, of which the first was cancelled while it ran."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(Site(min_job_age_s=300))
        self.cluster.behave = lambda _: Plan(duration_s=10_000, on_term_s=0)
        self.transport = Fails(self.cluster)
        self.world = make_world(folder, self.transport)
        self._submit()
        cycle(self.world)
        self.cluster.advance(60)
        self.cluster.cancel(f"{self.array.job}_0", user="alice")
        self.cluster.advance(60)

    def _submit(self) -> None:
        new = make_new_submission(
            cluster=self.world.cluster,
        )
        with self.world.store.write() as tx:
            runs = [(0, submissions.params({"n": n})) for n in range(3)]
            submissions.insert(tx, new, runs, self.world.clock.now())

    @property
    def array(self) -> Array:
        """Return the array."""
        with self.world.store.read() as view:
            (found,) = attempts.arrays(
                view, user="alice", cluster=self.world.cluster, intents=[*Intent]
            )
        return found

    def is_told(self) -> list[bool]:
        """Return which indices are told to be over."""
        path = str(self.world.folder(self.array.token) / place.OVER)
        data = self.transport.files.get(path) if path in self.transport.memory.files else b"[]"
        return [told.has(data, index) for index in range(3)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """An array of three, of which the first was cancelled while it ran."""
    made = Here(tmp_path)
    yield made
    made.world.store.close()


def test_what_is_over_is_told_once(here: Here) -> None:
    for _ in range(3):
        cycle(here.world)
    assert here.is_told() == [True, False, False]
    assert here.transport.puts == 1


def test_what_could_not_be_told_is_told_in_the_next_cycle(here: Here) -> None:
    here.transport.error = TransportError("the file system is away")
    assert "the file system is away" in cycle(here.world).odd
    assert here.is_told() == [False, False, False]
    here.transport.error = None
    assert cycle(here.world).odd == []
    assert here.is_told() == [True, False, False]


def test_what_a_process_left_untold_another_tells(here: Here) -> None:
    here.transport.error = Tripped("it dies between the commit and the file")
    with pytest.raises(Tripped):
        cycle(here.world)
    here.transport.error = None
    cycle(replace(here.world, memory=Memory()), look=False)
    assert here.is_told() == [True, False, False]


def test_a_new_process_does_not_tell_again(here: Here) -> None:
    cycle(here.world)
    cycle(replace(here.world, memory=Memory()))
    assert here.transport.puts == 1


def test_nothing_is_told_of_an_array_without_such(here: Here) -> None:
    assert over.catch_up(here.world, 5, [])
    assert here.transport.puts == 0


def end(here: Here) -> int:
    """Let the whole array end, and be folded; return its job."""
    job = here.array.job
    assert job is not None
    here.cluster.cancel(str(job), user="alice")
    while here.array.intent is not Intent.FOLDED:
        here.cluster.advance(60)
        cycle(here.world)
    return job


def words(here: Here) -> list[str]:
    """Return the words of what waits in the queue."""
    return [task.word for task in here.world.scheduler.observe().tasks if waiting(task)]


def test_what_was_requeued_though_its_array_is_over_is_taken_from_the_queue(here: Here) -> None:
    job = end(here)
    here.cluster.requeue(f"{job}_1", user="alice", then="hold")
    assert words(here) == ["PENDING"]
    cycle(here.world)
    assert words(here) == []


def test_what_is_over_stays_in_the_queue_where_its_name_is_anothers(here: Here) -> None:
    job = end(here)
    here.cluster.requeue(f"{job}_1", user="alice", then="hold")
    here.cluster.update(f"{job}_1", user="alice", name="ps-x.e")
    cycle(here.world)
    assert words(here) == ["PENDING"]
