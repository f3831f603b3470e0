"""Ended arrays are folded: here at once, far away by the command that looks anyway."""

from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import pytest

from penstock import failpoint
from penstock.errors import Lost
from penstock.failpoint import Tripped
from penstock.model.run import Intent
from penstock.reconciler.cycle import cycle
from penstock.store import attempts, submissions
from penstock.testing.factories import make_new_submission
from penstock.testing.jobs import Plan
from penstock.testing.model import Cluster
from penstock.testing.site import Site
from penstock.testing.transport import ModelTransport
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Finished, Gathered, Wanted
from penstock.wire import place, spool
from tests.world import make_world


def told(token: str, index: int, restart: int = 0) -> bytes:
    """Return the spool of a run that ended by itself."""
    opened = {"k": "open", "token": token, "index": index, "restart": restart, "job": "1_0",
              "node": "n1"}  # fmt: skip
    point = {"k": "m", "key": "loss", "steps": [0], "times": [1], "values": [0.5]}
    ended = {"k": "exit", "code": 0, "signal": None, "cause": None, "detail": "", "peak": 1,
             "cpu": 1, "wall": 1, "log": [0, 0], "sealed": True}  # fmt: skip
    return b"".join(spool.encode({"at": 1, **record}) for record in (opened, point, ended))


class Counted(ModelTransport):
    """A machine whose files are in a folder of this one: each command to it is counted."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, files=LocalTransport())
        self.asked: list[str] = []
        self.is_cut = False

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        """Run a program."""
        self.asked.append(argv[0])
        return super().run(argv, stdin=stdin, timeout_s=timeout_s)

    def gather(self, wanted: Wanted, over: Container[str] = frozenset()) -> Iterable[Gathered]:
        """Tell of spools; or do it, and let nobody hear of it."""
        self.asked.append("gather")
        found = list(super().gather(wanted, over))
        if self.is_cut:
            raise Lost("the connection was lost")
        return found


class Sweep:
    """Five arrays of two runs each, with all of their jobs in the queue."""

    def __init__(self, folder: Path, alias: str = "") -> None:
        self.cluster = Cluster(Site(max_array_size=2))
        self.cluster.behave = lambda _: Plan(duration_s=10_000, on_term_s=0)
        self.transport = Counted(self.cluster)
        self.world = make_world(folder, self.transport, alias=alias)
        with self.world.store.write() as tx:
            new = make_new_submission(cluster=self.world.cluster)
            runs = [(0, submissions.params({"n": n})) for n in range(10)]
            submissions.insert(tx, new, runs, self.world.clock.now())
        cycle(self.world)
        self.cluster.advance(60)

    def end(self, *tokens: str) -> None:
        """Let the runs of some arrays end, whatever their jobs do."""
        for token in tokens:
            for index in range(2):
                self.files(token, place.spool(index, 0, done=True), told(token, index))

    def files(self, token: str, name: str, data: bytes) -> Path:
        """Write a file of an array."""
        path = self.world.folder(token) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def step(self) -> list[str]:
        """Look once; return the commands that it took."""
        self.transport.asked.clear()
        report = cycle(self.world)
        assert report.polled
        return self.transport.asked

    def tokens(self, *intents: Intent) -> list[str]:
        """Return the arrays that stand so."""
        with self.world.store.read() as view:
            who = {"user": "alice", "cluster": self.world.cluster}
            found = attempts.arrays(view, **who, intents=intents or [*Intent])
        return [array.token for array in found]

    def points(self) -> int:
        """Return how many points of metrics the store has."""
        with self.world.store.read() as view:
            (found,) = view.one("SELECT coalesce(sum(count), 0) FROM chunk") or (0,)
        return int(found)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Sweep]:
    found = Sweep(tmp_path, "big")
    yield found
    found.world.store.close()


def test_arrays_that_end_in_one_interval_cost_no_command_more(far: Sweep) -> None:
    first, *others, last = far.tokens()
    far.end(first, *others)
    assert far.step() == ["gather", "squeue"]
    assert far.tokens(Intent.ENDED) == [first, *others]
    assert far.step() == ["gather", "squeue"]
    assert far.tokens(Intent.FOLDED) == [first, *others]
    far.end(last)
    assert [far.step(), far.step()] == [["gather", "squeue"]] * 2
    assert far.tokens(Intent.FOLDED) == [first, *others, last]
    assert far.points() == 10
    for token in far.tokens():
        names = {one.name for one in far.world.folder(token).iterdir()}
        assert place.SPOOLS_FOLDED in names
        assert not names & {place.MANIFEST, place.SPOOLS}


def test_arrays_of_this_machine_are_folded_at_once(tmp_path: Path) -> None:
    near = Sweep(tmp_path)
    near.end(*near.tokens())
    cycle(near.world)
    assert near.tokens(Intent.FOLDED) == near.tokens()
    near.world.store.close()


def test_what_came_after_the_last_look_is_read_though_the_answer_is_lost(far: Sweep) -> None:
    far.end(*far.tokens())
    far.step()
    late, *_ = far.tokens(Intent.ENDED)
    far.files(late, place.spool(0, 1, done=True), told(late, 0, 1))
    far.transport.is_cut = True
    assert any("the connection was lost" in words for words in cycle(far.world).odd)
    assert (far.world.folder(late) / place.SPOOLS_FOLDED).exists()
    assert far.tokens(Intent.FOLDED) == []
    far.transport.is_cut = False
    far.step()
    assert far.tokens(Intent.FOLDED) == far.tokens()
    assert far.points() == 11


@pytest.mark.parametrize(
    "point", ["fold.closed", "fold.written", "fold.packed", "reconciler.collect"]
)
@pytest.mark.parametrize("alias", ["", "big"])
def test_killed_while_it_folds_all_is_folded_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alias: str, point: str
) -> None:
    sweep = Sweep(tmp_path, alias)
    sweep.end(*sweep.tokens())
    if alias:
        sweep.step()
    left = [1 if point == "reconciler.collect" else 3]  # arrays are taken in together

    def trip(name: str) -> None:
        left[0] -= name == point
        if left[0] == 0:
            raise Tripped(name)

    with monkeypatch.context() as patch:
        patch.setattr(failpoint, "trip", trip)
        with pytest.raises(Tripped):
            cycle(sweep.world)
    sweep.step()
    sweep.step()
    assert sweep.tokens(Intent.FOLDED) == sweep.tokens()
    assert sweep.points() == 10
    sweep.world.store.close()


def test_array_that_cannot_be_folded_is_told_and_tried_again(far: Sweep) -> None:
    far.end(*far.tokens())
    far.step()
    bad, *others = far.tokens(Intent.ENDED)
    far.files(bad, place.log(0, 0), b"said")
    zipped = far.files(bad, place.LOGS_FOLDED, b"no zip")
    assert any("logs.zip" in words for words in cycle(far.world).odd)
    assert far.tokens(Intent.FOLDED) == others
    zipped.unlink()
    far.step()
    assert far.tokens(Intent.FOLDED) == far.tokens()
