"""What every transport does: of this machine, of the model, and by SSH to a real sshd."""

import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import NotFoundError, TransportError
from penstock.testing.model import Cluster as Model
from penstock.testing.site import Site
from penstock.testing.transport import ModelTransport
from penstock.transport import protocol, ssh
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Finished, Gathered, Tail, Transport
from penstock.transport.session import Session
from penstock.transport.ssh import SshTransport
from penstock.wire import place
from tests import sshd
from tests.session import make_session
from tests.sshd import Sshd


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd.running(users=("alice",)) as found:
        yield found


@pytest.fixture(params=["local", "model", "ssh"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    if request.param == "local":
        yield LocalTransport()
    elif request.param == "model":
        yield ModelTransport(Model(Site()), files=LocalTransport())
    else:
        server: Sshd = request.getfixturevalue("server")
        # A state of its own: so many connections in a row would be held back.
        session = make_session(server.cluster(), server.folder / secrets.token_hex(4))
        yield SshTransport(session, "big")
        session.close()


@pytest.fixture
def folder(transport: Transport) -> Iterator[Path]:
    """A folder of the transport's user, in which the test may look."""
    path = Path("/tmp") / f"penstock-transport-{secrets.token_hex(6)}"
    transport.put(str(path / "here"), b"")
    yield path
    for one in sorted(path.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() and not one.is_symlink() else one.unlink()
    path.rmdir()


def spool(transport: Transport, folder: Path, index: int, data: bytes, *, done: bool) -> None:
    transport.put(str(folder / place.spool(index, 0, done)), data)


def test_put_makes_folders_and_replaces_whole(transport: Transport, folder: Path) -> None:
    path = folder / "a b" / "it's $HOME; `id`\n"
    transport.put(str(path), b"one", mode=0o750)
    transport.put(str(path), b"\x00\xfftwo", mode=0o755)
    assert path.read_bytes() == b"\x00\xfftwo"
    assert path.stat().st_mode & 0o777 == 0o755
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_get_returns_a_part_and_a_large_whole(transport: Transport, folder: Path) -> None:
    data = secrets.token_bytes(3_000_000)
    transport.put(str(folder / "x"), data)
    assert transport.get(str(folder / "x")) == data
    assert transport.get(str(folder / "x"), 3, 4) == data[3:7]
    assert transport.get(str(folder / "x"), len(data) - 2) == data[-2:]
    assert transport.get(str(folder / "x"), 0, 0) == b""


def test_get_of_no_file_is_not_found(transport: Transport, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="none"):
        transport.get(str(folder / "none"))


def test_put_below_a_file_says_why(transport: Transport, folder: Path) -> None:
    with pytest.raises(TransportError, match="cannot be written"):
        transport.put(str(folder / "here" / "x"), b"")


def test_digest_is_of_the_content_and_none_of_no_file(transport: Transport, folder: Path) -> None:
    assert transport.digest(str(folder / "none")) is None
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert transport.digest(str(folder / "here")) == empty


def test_tails_come_from_the_offset(transport: Transport, folder: Path) -> None:
    spool(transport, folder, 0, b"abcdef", done=False)
    spool(transport, folder, 1, b"xyz", done=True)
    spool(transport, folder, 1001, b"new", done=False)
    assert list(transport.tails(str(folder), {(0, 0): 4, (1, 0): 3})) == [
        Tail(0, 0, 4, b"ef", is_done=False),
        Tail(1, 0, 3, b"", is_done=True),
        Tail(1001, 0, 0, b"new", is_done=False),
    ]
    assert list(transport.tails(str(folder), {(0, 0): 6, (1, 0): -1, (1001, 0): 3})) == []


def test_gather_tells_each_folder_and_what_cannot_be_read(
    transport: Transport, folder: Path
) -> None:
    spool(transport, folder / "one", 0, b"abc", done=False)
    transport.put(str(folder / "bad" / place.SPOOLS_FOLDED), b"no zip")
    spool(transport, folder / "two", 0, b"de", done=True)
    wanted: list[tuple[str, dict[tuple[int, int], int]]]
    wanted = [(str(folder / name), {}) for name in ("one", "bad", "none", "two")]
    found = {one.folder: one for one in transport.gather(wanted)}
    assert found[str(folder / "one")].tails == [Tail(0, 0, 0, b"abc", is_done=False)]
    assert found[str(folder / "two")].tails == [Tail(0, 0, 0, b"de", is_done=True)]
    assert found[str(folder / "none")].tails == []
    error = found[str(folder / "bad")].error
    assert error is not None
    assert "spools.zip" in error.what
    assert "put it back whole" in error.hint


def ended(transport: Transport, folder: Path) -> Gathered:
    """Gather the spools of an array that is over, of which a byte is known."""
    (found,) = transport.gather([(str(folder), {(0, 0): 1})], {str(folder)})
    return found


def test_array_that_is_over_is_folded_and_still_tells_all(
    transport: Transport, folder: Path
) -> None:
    spool(transport, folder, 0, b"abc", done=True)
    transport.put(str(folder / place.claim(0)), b"claim")
    transport.put(str(folder / place.log(0, 0)), b"said")
    transport.put(str(folder / place.log(0, 2)), b"again")
    transport.put(str(folder / place.MANIFEST), b"manifest")
    before = transport.logs(str(folder), 0, {0: 1})
    told = Gathered(str(folder), [Tail(0, 0, 1, b"bc", is_done=True)], is_folded=True)
    assert ended(transport, folder) == told
    assert ended(transport, folder) == told, "the answer may have been lost"
    assert before == [(0, b"aid"), (2, b"again")] == transport.logs(str(folder), 0, {0: 1})
    assert list(transport.tails(str(folder), {(0, 0): 1})) == told.tails
    names = {"here", place.MANIFEST_ENDED, place.SPOOLS_FOLDED, place.LOGS_FOLDED}
    assert {one.name for one in folder.iterdir()} == names
    with zipfile.ZipFile(folder / place.SPOOLS_FOLDED) as archive:
        assert archive.namelist() == ["0/0.0.done"]


def test_array_that_cannot_be_folded_tells_its_tails_and_keeps_back_no_other(
    transport: Transport, folder: Path
) -> None:
    for name in ("bad", "good", "live"):
        spool(transport, folder / name, 0, b"abc", done=True)
        transport.put(str(folder / name / place.MANIFEST), b"manifest")
    transport.put(str(folder / "bad" / place.log(0, 0)), b"said")
    transport.put(str(folder / "bad" / place.LOGS_FOLDED), b"no zip")
    wanted: list[tuple[str, dict[tuple[int, int], int]]]
    wanted = [(str(folder / name), {}) for name in ("bad", "good", "live")]
    bad, good, live = transport.gather(wanted, {str(folder / "bad"), str(folder / "good")})
    assert bad.tails == good.tails == live.tails == [Tail(0, 0, 0, b"abc", is_done=True)]
    assert (bad.is_folded, good.is_folded, live.is_folded) == (False, True, False)
    assert bad.error is not None
    assert "logs.zip" in bad.error.what
    assert (folder / "live" / place.MANIFEST).exists()


def test_array_of_which_not_all_could_be_told_is_not_folded_yet(
    transport: Transport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MOST_BYTES", 2)
    monkeypatch.setattr(ssh, "GATHER_BYTES", 2)
    spool(transport, folder, 0, b"abcd", done=True)
    found = ended(transport, folder)
    assert (found.tails, found.is_folded) == ([Tail(0, 0, 1, b"bc", is_done=False)], False)
    assert (folder / place.SPOOLS).exists()
    (rest,) = transport.gather([(str(folder), {(0, 0): 3})], {str(folder)})
    assert (rest.tails, rest.is_folded) == ([Tail(0, 0, 3, b"d", is_done=True)], True)


def test_array_without_a_folder_is_folded_by_being_away(transport: Transport, folder: Path) -> None:
    found = ended(transport, folder / "none")
    assert found == Gathered(str(folder / "none"), [], is_folded=True)
    assert transport.logs(str(folder / "none"), 0, {}) == []


# --- commands: those of the model are Slurm's own programs, for which it has a suite


@pytest.fixture(params=["local", "ssh"])
def runs(request: pytest.FixtureRequest) -> Iterator[Transport]:
    yield from (
        [LocalTransport()]
        if request.param == "local"
        else [SshTransport(request.getfixturevalue("session"), "big")]
    )


@pytest.fixture(scope="module")
def session(server: Sshd) -> Iterator[Session]:
    found = make_session(server.cluster(), server.folder / "state")
    yield found
    found.close()


def test_run_returns_code_output_and_takes_stdin(runs: Transport) -> None:
    done = runs.run(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=b"in\n")
    assert (done.code, done.out, done.err) == (3, "in\n", "bad\n")


@pytest.mark.parametrize(
    "word",
    ["$HOME `id` $(id)", "a'b\"c", "x\ny", "!!", "\\", "*", "", "-n", "%s", "ü ☃", "a;b|c&d<e>"],
)
def test_run_takes_no_word_for_a_shell(runs: Transport, word: str) -> None:
    assert runs.run(["printf", "%s", word]).out == word


def test_run_of_no_program_has_its_cause(runs: Transport) -> None:
    with pytest.raises(TransportError, match="no-such-program") as caught:
        runs.run(["no-such-program"])
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_run_ends_what_takes_too_long(runs: Transport) -> None:
    with pytest.raises(TransportError, match="did not end") as caught:
        runs.run(["sleep", "600"], timeout_s=0.5)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert runs.run(["true"]).code == 0


def test_run_tells_little_of_who_calls(runs: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "x")
    names = {line.partition("=")[0] for line in runs.run(["env"]).out.splitlines()}
    assert {"PATH", "HOME", "SLURM_TIME_FORMAT"} <= names
    assert not {"SQUEUE_STATES", "SSH_CLIENT", "SSH_CONNECTION"} & names


def test_several_programs_run_by_one_question(transport: Transport) -> None:
    if isinstance(transport, ModelTransport):
        asked, missing = ["sbatch", "--version"], ["no-such-program"]
    else:
        asked, missing = ["printf", "%s", "a b'c"], ["no-such-program"]
    first, none, last = transport.run_all([asked, missing, asked])
    assert first == last == transport.run(asked)
    assert isinstance(none, TransportError)
    assert isinstance(none.__cause__, FileNotFoundError)
    assert transport.run_all([]) == []


def test_of_several_programs_one_that_never_ends_costs_no_other(transport: Transport) -> None:
    if isinstance(transport, ModelTransport):
        pytest.skip("nothing of the model's takes time")
    big = ["head", "-c", "300000", "/dev/zero"]  # more than a pipe holds
    slow, out, failed = transport.run_all([["sleep", "60"], big, ["false"]], timeout_s=1)
    assert isinstance(slow, TransportError)
    assert isinstance(slow.__cause__, TimeoutError)
    assert isinstance(failed, Finished)
    assert failed.code == 1
    assert isinstance(out, Finished)
    assert len(out.out) == 300000
