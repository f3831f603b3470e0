import errno
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import pytest

from penstock.errors import NotFoundError, TransportError
from penstock.transport import files, local, programs
from penstock.transport.local import LocalTransport, scrubbed
from penstock.transport.protocol import Finished, Tail
from penstock.wire import place

# --- commands


def run_python(code: str, **options: object) -> Finished:
    return LocalTransport().run([sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_run_returns_code_and_output() -> None:
    done = run_python("import sys; print(sys.stdin.read()); sys.exit(3)", stdin=b"in")
    assert (done.code, done.out, done.err) == (3, "in\n", "")


def test_run_replaces_what_is_no_utf8() -> None:
    done = run_python(r"import sys; sys.stdout.buffer.write(b'a\xffb')")
    assert done.out == "a�b"


def test_run_tells_a_signal() -> None:
    done = run_python("import os; os.kill(os.getpid(), 9)")
    assert done.code == -signal.SIGKILL


def test_run_of_no_program_has_its_cause() -> None:
    with pytest.raises(TransportError, match="no-such-program") as caught:
        LocalTransport().run(["no-such-program"])
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_run_takes_no_word_for_a_shell() -> None:
    done = LocalTransport().run(["printf", "%s", "$(id) `id`; $HOME"])
    assert done.out == "$(id) `id`; $HOME"


def test_run_passes_only_what_is_allowed() -> None:
    given = {"PATH": os.environ["PATH"], "HOME": "/h", "SLURM_CONF": "/c"}
    bad = ["SLURM_ARRAY_TASK_ID", "SBATCH_ACCOUNT", "SQUEUE_STATES", "SACCT_FORMAT", "SCANCEL_QOS"]
    bad += ["SRUN_CPUS_PER_TASK", "PMI_RANK", "SLURM_CLUSTERS", "LD_PRELOAD", "MY_TOKEN"]
    seen = LocalTransport(given | dict.fromkeys(bad, "x")).run(["env"]).out.splitlines()
    wanted = {**given, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%Y-%m-%dT%H:%M:%S%z"}
    assert dict(line.split("=", 1) for line in seen) == wanted


def test_scrubbed_overrules_how_slurm_prints() -> None:
    assert scrubbed({"SLURM_BITSTR_LEN": "9", "SLURM_TIME_FORMAT": "relative"}) == local.FORCED


def test_run_kills_the_group_at_the_time_out(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"sleep 600 & echo $! > {pid_file}; wait"
    with pytest.raises(TransportError, match="did not end") as caught:
        LocalTransport().run(["sh", "-c", code], timeout_s=2)
    assert isinstance(caught.value.__cause__, TimeoutError)
    wait_until_gone(int(pid_file.read_text()))


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists():
        if ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_run_does_not_wait_for_a_child_that_left_the_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(programs, "AFTER_KILL_S", 0.2)
    pid_file = tmp_path / "pid"
    code = f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 60' & sleep 60"
    started = time.monotonic()
    with pytest.raises(TransportError):
        LocalTransport().run(["sh", "-c", code], timeout_s=2)
    assert time.monotonic() - started < 30
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


# --- files


def test_put_makes_folders_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "script.sh"
    LocalTransport().put(str(path), b"one", mode=0o750)
    LocalTransport().put(str(path), b"two", mode=0o755)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o755
    assert list(path.parent.iterdir()) == [path]


def test_put_leaves_the_old_file_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TransportError, match="No space left") as caught:
        LocalTransport().put(str(path), b"new")
    assert "free some space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_put_below_a_file_is_a_transport_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransportError):
        LocalTransport().put(str(tmp_path / "file" / "x"), b"")


def test_get_returns_a_part(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    transport = LocalTransport()
    assert transport.get(str(path)) == b"0123456789"
    assert transport.get(str(path), 3, 4) == b"3456"
    assert transport.get(str(path), 8) == b"89"


def test_get_of_no_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        LocalTransport().get(str(tmp_path / "none"))


def test_get_of_a_folder_is_a_transport_error(tmp_path: Path) -> None:
    with pytest.raises(TransportError):
        LocalTransport().get(str(tmp_path))


# --- spools


def write_spool(folder: Path, index: int, restart: int, data: bytes, *, done: bool = False) -> Path:
    path = folder / place.spool(index, restart, done)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tails(folder: Path, known: dict[tuple[int, int], int] | None = None, **kw: int) -> list[Tail]:
    return list(LocalTransport().tails(str(folder), known or {}, **kw))


def test_tails_of_an_array_that_has_not_begun_are_none(tmp_path: Path) -> None:
    assert tails(tmp_path) == []


def test_tails_yield_what_is_beyond_the_offset_in_order(tmp_path: Path) -> None:
    write_spool(tmp_path, 2000, 0, b"new")
    write_spool(tmp_path, 10, 0, b"abcdef")
    write_spool(tmp_path, 9, 1, b"xyz", done=True)
    write_spool(tmp_path, 8, 0, b"same")
    assert tails(tmp_path, {(10, 0): 4, (8, 0): 4}) == [
        Tail(9, 1, 0, b"xyz", is_done=True),
        Tail(10, 0, 4, b"ef", is_done=False),
        Tail(2000, 0, 0, b"new", is_done=False),
    ]


def test_tails_yield_a_done_spool_once_without_data(tmp_path: Path) -> None:
    write_spool(tmp_path, 0, 0, b"abc", done=True)
    assert tails(tmp_path, {(0, 0): 3}) == [Tail(0, 0, 3, b"", is_done=True)]
    assert tails(tmp_path, {(0, 0): -1}) == []


def test_tails_do_not_look_at_what_is_known_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spool(tmp_path, 0, 0, b"abc", done=True)

    def never(*_: object) -> None:
        raise AssertionError("looked at")

    monkeypatch.setattr(files, "_tail", never)
    assert tails(tmp_path, {(0, 0): -1}) == []


def test_tails_stop_at_the_most_bytes_and_are_not_done_then(tmp_path: Path) -> None:
    write_spool(tmp_path, 0, 0, b"abcdef", done=True)
    write_spool(tmp_path, 1, 0, b"xyz", done=True)
    assert tails(tmp_path, at_most=4) == [Tail(0, 0, 0, b"abcd", is_done=False)]
    rest = tails(tmp_path, {(0, 0): 4}, at_most=4)
    assert rest == [Tail(0, 0, 4, b"ef", is_done=True), Tail(1, 0, 0, b"xy", is_done=False)]


@pytest.mark.parametrize(
    "name",
    ["0.claim", ".0.0.open.tmp", "0.0.open.swp", "00.0.open", "-1.0.open", "0.1e9.open", "0.open",
     "1000.0.open", "9999999999.0.open", "0.0.done.x", "０.0.open"],
)  # fmt: skip
def test_tails_trust_no_names(tmp_path: Path, name: str) -> None:
    shard = tmp_path / place.SPOOLS / "0"
    shard.mkdir(parents=True)
    (shard / name).write_bytes(b"x")
    assert tails(tmp_path) == []


def test_tails_follow_no_link_and_open_no_pipe(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    shard = tmp_path / place.SPOOLS / "0"
    shard.mkdir(parents=True)
    (shard / "0.0.open").symlink_to(secret)
    os.mkfifo(shard / "1.0.done")
    (shard / "2.0.done").mkdir()
    (tmp_path / place.SPOOLS / "1").touch()
    (tmp_path / place.SPOOLS / "x").mkdir()
    assert tails(tmp_path) == []


def test_tails_take_done_where_a_rename_shows_both(tmp_path: Path) -> None:
    write_spool(tmp_path, 0, 0, b"abc")
    write_spool(tmp_path, 0, 0, b"abcd", done=True)
    assert tails(tmp_path) == [Tail(0, 0, 0, b"abcd", is_done=True)]


def test_tails_of_a_spool_shorter_than_known_have_no_data(tmp_path: Path) -> None:
    write_spool(tmp_path, 0, 0, b"abc")
    assert tails(tmp_path, {(0, 0): 10}) == []


# --- folded


def folded(folder: Path, **members: bytes) -> None:
    with zipfile.ZipFile(folder / place.SPOOLS_FOLDED, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_tails_of_a_folded_array_are_in_its_zip(tmp_path: Path) -> None:
    folded(tmp_path, **{"0/0.0.done": b"abc", "0/1.0.open": b"de", "1/1000.2.done": b"f", "x": b""})
    found = list(LocalTransport().tails(str(tmp_path), {(0, 0): 1, (1, 0): 2}))
    assert found == [Tail(0, 0, 1, b"bc", True), Tail(1000, 2, 0, b"f", True)]
    known = {(0, 0): -1, (1, 0): 2, (1000, 2): -1}
    assert not list(LocalTransport().tails(str(tmp_path), known))


def test_tails_of_a_folded_array_stop_at_the_most_bytes(tmp_path: Path) -> None:
    folded(tmp_path, **{"0/0.0.done": b"abc", "0/1.0.done": b"def"})
    assert list(LocalTransport().tails(str(tmp_path), {}, at_most=4)) == [
        Tail(0, 0, 0, b"abc", True),
        Tail(1, 0, 0, b"d", False),
    ]


def test_tails_of_a_damaged_zip_are_an_error(tmp_path: Path) -> None:
    (tmp_path / place.SPOOLS_FOLDED).write_bytes(b"no zip")
    with pytest.raises(TransportError, match=r"spools\.zip"):
        list(LocalTransport().tails(str(tmp_path), {}))
