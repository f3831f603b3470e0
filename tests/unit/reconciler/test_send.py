"""From INTENDED to ACCEPTED: whatever sbatch answers, once."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from penstock import failpoint
from penstock.errors import Fenced, StoreError, TransportError
from penstock.failpoint import Tripped
from penstock.model.run import Intent
from penstock.model.spec import Request
from penstock.planning import sweep
from penstock.reconciler import mark
from penstock.reconciler.cycle import cycle
from penstock.store import attempts, lease, submissions
from penstock.testing.factories import make_new_submission, make_stage, make_sweep
from penstock.testing.model import Cluster
from penstock.testing.site import Site
from penstock.testing.transport import Fault, ModelTransport
from penstock.transport.protocol import Tail
from tests.world import make_world


class Here:
    """A project of alice's on a model of Slurm."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(Site(min_job_age_s=300))
        self.transport = ModelTransport(self.cluster)
        self.world = make_world(folder, self.transport)

    def submit(self, runs: int, request: Request | None = None) -> None:
        """Store runs."""
        stage = make_stage(
            sweep=make_sweep(x=list(range(runs))), request=request or Request(mem_mb=10)
        )
        new = make_new_submission(
            cluster=self.world.cluster,
            stages=(stage,),
        )
        with self.world.store.write() as tx:
            found = ((0, params) for params in sweep.combine(stage.sweep, submissions.param))
            submissions.insert(tx, new, found, self.world.clock.now())

    def intents(self) -> list[Intent]:
        """Return where the arrays stand."""
        with self.world.store.read() as view:
            found = view.execute("SELECT intent FROM job_array WHERE size > 0 ORDER BY id")
            return [Intent(intent) for (intent,) in found]

    def jobs(self) -> int:
        """Return how many array jobs Slurm has ever been given."""
        rows = self.cluster.accounting.seen(self.cluster.now + 3600)
        return len({row.array for row in rows if row.name.startswith("ps-")})


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """A project with three runs to be sent."""
    made = Here(tmp_path)
    made.submit(3)
    return made


def test_ready_runs_are_sent_once(here: Here) -> None:
    report = cycle(here.world)
    assert [sent.array.size for sent in report.sent] == [3]
    assert cycle(here.world).sent == []
    assert (here.intents(), here.jobs()) == ([Intent.ACCEPTED], 1)


@pytest.mark.parametrize("fault", [Fault.DONE_THEN_TIME_OUT, Fault.DONE_THEN_FAIL, Fault.GARBAGE])
def test_submission_that_may_have_arrived_is_adopted(here: Here, fault: Fault) -> None:
    here.transport.order(fault, "sbatch --parsable")
    cycle(here.world)
    assert here.intents() == [Intent.SENDING]
    here.cluster.advance(30)
    cycle(here.world)
    (intent,) = here.intents()
    assert intent in (Intent.ACCEPTED, Intent.FOLDED)
    assert here.jobs() == 1


def test_submission_that_never_arrived_is_sent_again_when_absent(here: Here) -> None:
    here.transport.order(Fault.TIME_OUT, "sbatch --parsable")
    cycle(here.world)
    here.cluster.advance(30)
    cycle(here.world)
    assert (here.intents(), here.jobs()) == ([Intent.SENDING], 0)
    here.cluster.advance(here.world.policy.absent_after.total_seconds())
    cycle(here.world)
    cycle(here.world)
    assert (here.intents(), here.jobs()) == ([Intent.ACCEPTED], 1)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.EMPTY, Fault.HALF, Fault.GARBAGE])
def test_failed_look_is_no_information(here: Here, fault: Fault) -> None:
    here.transport.order(Fault.TIME_OUT, "sbatch --parsable")
    cycle(here.world)
    here.cluster.advance(10 * here.world.policy.absent_after.total_seconds())
    here.transport.order(fault, "squeue|sacct", count=100)
    cycle(here.world)
    assert (here.intents(), here.jobs()) == ([Intent.SENDING], 0)


@pytest.mark.parametrize(
    "name, jobs",
    [
        ("reconciler.plan", 0),
        ("reconciler.planned", 0),
        ("reconciler.sending", 0),
        ("reconciler.sent", 1),
        ("reconciler.accepted", 1),
    ],
)
def test_killed_at_an_instant_sends_once(
    here: Here, monkeypatch: pytest.MonkeyPatch, name: str, jobs: int
) -> None:
    monkeypatch.setattr(failpoint, "trip", tripping(name))
    with pytest.raises(Tripped):
        cycle(here.world)
    assert here.jobs() == jobs
    monkeypatch.setattr(failpoint, "trip", None)
    for _ in range(3):
        here.cluster.advance(here.world.policy.absent_after.total_seconds() + 1)
        cycle(here.world)
    assert here.jobs() == 1
    with here.world.store.read() as view:
        assert attempts.has_ready(view, user="alice", cluster=here.world.cluster) is False


def copied(here: Here) -> bytes:
    """Return the store as it is now."""
    here.world.store.close()
    return here.world.store.path.read_bytes()


def put_back(here: Here, copy: bytes) -> None:
    """Put an older store in place, as `cp` does."""
    here.world.store.close()
    here.world.store.path.write_bytes(copy)


@pytest.mark.parametrize("name", ["reconciler.plan", "reconciler.planned"])
def test_older_copy_of_any_instant_before_it_was_sent_is_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(failpoint, "trip", tripping(name))
    with pytest.raises(Tripped):
        cycle(here.world)
    copy = copied(here)
    monkeypatch.setattr(failpoint, "trip", None)
    cycle(here.world)
    put_back(here, copy)
    for _ in range(5):
        with pytest.raises(StoreError, match="older than what was sent"):
            cycle(here.world)
    assert here.jobs() == 1


def test_copy_of_the_midst_of_a_cycle_is_refused_when_a_further_array_was_sent(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is the same one: only with what was sent has its fence grown."""
    here.submit(2)
    copies: list[bytes] = []

    def trip(name: str) -> None:
        if name == "reconciler.accepted":
            copies.append(copied(here))

    monkeypatch.setattr(failpoint, "trip", trip)
    assert len(cycle(here.world).sent) == 2
    put_back(here, copies[0])
    with pytest.raises(StoreError, match="older than what was sent"):
        cycle(here.world)
    put_back(here, copies[1])
    cycle(here.world)
    assert here.jobs() == 2


def test_store_without_a_mark_begins_with_what_it_has(here: Here) -> None:
    who = {"user": "alice", "cluster": here.world.cluster}
    home = here.world.settings.home
    copy = copied(here)
    cycle(here.world)
    del here.transport.memory.files[str(mark.path(home, **who))]  # as a Penstock of before left it
    cycle(here.world)
    assert mark.read(here.transport, home, **who) == 3  # once it grew with what was sent
    put_back(here, copy)
    with pytest.raises(StoreError, match="older than what was sent"):
        cycle(here.world)
    here.transport.put(str(mark.path(home, **who)), b"{}")
    with pytest.raises(StoreError, match="overwritten"):
        cycle(here.world)


def test_array_whose_mark_cannot_be_written_is_not_sent(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_more: object) -> None:
        raise TransportError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(mark, "write", full)
        with pytest.raises(TransportError):
            cycle(here.world)
    assert (here.intents(), here.jobs()) == ([Intent.INTENDED], 0)
    cycle(here.world)
    assert (here.intents(), here.jobs()) == ([Intent.ACCEPTED], 1)


def test_nothing_is_sent_once_another_has_taken_over(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock may be minutes ahead: what was to be sent just now is long absent to it."""
    store, cluster = here.world.store, here.world.cluster

    def trip(name: str) -> None:
        if name == "reconciler.sending":
            lease.take(
                store,
                user="alice",
                cluster=cluster,
                holder="b",
                ttl_s=60,
                is_gone=lambda _: True,
            )

    monkeypatch.setattr(failpoint, "trip", trip)
    with pytest.raises(Fenced):
        cycle(here.world)
    assert (here.intents(), here.jobs()) == ([Intent.SENDING], 0)


def tripping(wanted: str) -> Callable[[str], None]:
    """Return a failpoint's hook that ends the process, so to speak, at one of them."""

    def trip(name: str) -> None:
        if name == wanted:
            raise Tripped(name)

    return trip


def test_refused_array_fails_its_runs_with_the_reason(here: Here) -> None:
    here.transport.order(Fault.REJECT, "sbatch --parsable")
    cycle(here.world)
    with here.world.store.read() as view:
        ends = set(view.execute("SELECT state, cause FROM run"))
        details = {detail for (detail,) in view.execute("SELECT detail FROM attempt")}
    assert ends == {("failed", "refused")}
    assert all("Invalid account" in detail for detail in details)


def test_array_that_a_limit_has_no_room_for_is_halved(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.submit(25, Request(mem_mb=10, qos="few"))  # of which ten may be in the queue
    here.submit(5)
    report = cycle(here.world)
    sizes = [sent.array.size for sent in report.sent if sent.job]
    assert sizes == [6, 5]
    for _ in range(60):
        here.cluster.advance(70)
        cycle(here.world)
    with here.world.store.read() as view:
        (row,) = view.execute("SELECT count(*), sum(size) FROM job_array WHERE job IS NOT NULL")
        assert not attempts.has_ready(view, user="alice", cluster=here.world.cluster)
    assert (row[1], here.jobs()) == (30, row[0])


def test_spools_that_cannot_be_read_keep_back_no_other_array(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle(here.world)
    here.submit(2)
    cycle(here.world)
    with here.world.store.read() as view:
        (first, *_) = [token for (token,) in view.execute("SELECT token FROM job_array")]
    read = here.transport.files.tails

    def tails(folder: str, known: Mapping[tuple[int, int], int], *, at_most: int) -> Iterable[Tail]:
        if folder.endswith(first):
            raise TransportError(f"{folder} cannot be listed")
        return read(folder, known, at_most=at_most)

    monkeypatch.setattr(here.transport.files, "tails", tails)
    report = cycle(here.world)
    assert [words for words in report.odd if "cannot be listed" in words]
    assert report.polled
