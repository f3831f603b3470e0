"""Code archives: which files, and that the same files have the same digest."""

import contextlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import StagingError
from penstock.runner.code import extract
from penstock.runner.trouble import Trouble
from penstock.staging import code
from penstock.staging.code import archive

GIT = ["git", "-c", "user.name=x", "-c", "user.email=x", "-c", "protocol.file.allow=always"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project", {"a.py": "a", "lib/b.py": "b", "data.bin": "d"})


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body)
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True)


def names(made: code.Archive) -> list[str]:
    with tarfile.open(made.path) as tar:
        return tar.getnames()


def test_without_git_all_files_are_code(project: Path, tmp_path: Path) -> None:
    write(project, {"__pycache__/x.pyc": "", ".git2/x": "", ".hidden": ""})
    write(project, {"env/pyvenv.cfg": "", "env/lib/x.py": "", "conda/conda-meta/history": ""})
    made = archive(project, home=tmp_path / "home")
    assert names(made) == [".git2/x", ".hidden", "a.py", "data.bin", "lib/b.py"]
    assert (made.files, made.bytes, made.commit, made.is_dirty) == (5, 3, "", False)
    assert made.path == tmp_path / "home" / "code" / f"{made.digest}.tar.gz"


def test_digest_is_of_what_files_hold(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = archive(project, home=home)
    body = first.path.read_bytes()
    os.utime(project / "a.py", (0, 0))
    assert archive(project, home=home) == first
    first.path.unlink()
    assert archive(project, home=home) == first
    assert first.path.read_bytes() == body
    (project / "a.py").chmod(0o755)
    second = archive(project, home=home)
    assert second.digest != first.digest
    assert [path.suffix for path in (home / "code").iterdir()] == [".gz", ".gz"]  # nothing aside


def test_archive_is_written_once(project: Path, tmp_path: Path) -> None:
    made = archive(project, home=tmp_path / "home")
    inode = made.path.stat().st_ino
    assert archive(project, home=tmp_path / "home").path.stat().st_ino == inode


def test_runner_finds_the_same_digest(project: Path, tmp_path: Path) -> None:
    (project / "link").symlink_to("lib/b.py")
    (project / "a.py").chmod(0o700)
    write(project, {"unicode é 漢": "x", "with\nnewline": "", "empty": ""})
    made = archive(project, home=tmp_path / "home")
    tree = tmp_path / "tree"
    tree.mkdir()
    assert extract(str(made.path), str(tree)).digest() == made.digest
    assert os.access(tree / "a.py", os.X_OK)
    assert not os.access(tree / "lib/b.py", os.X_OK)
    assert (tree / "link").read_text() == "b"


def test_with_git_what_it_ignores_is_no_code(project: Path, tmp_path: Path) -> None:
    git(project, "init", "-q")
    write(project, {".gitignore": "*.bin\n", "gone.py": ""})
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    (project / "gone.py").unlink()
    write(project, {"new.py": "not added yet"})
    made = archive(project, home=tmp_path / "home")
    assert names(made) == [".gitignore", "a.py", "lib/b.py", "new.py"]
    assert len(made.commit) == 40
    assert made.is_dirty
    below = archive(project / "lib", home=tmp_path / "home")
    assert names(below) == ["b.py"]
    assert not below.is_dirty


def test_submodule_comes_along(project: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"m.py": "", ".gitignore": "*.log", "x.log": ""})
    for folder in (other, project):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "one")
    git(project, "submodule", "add", "-q", str(other), "sub")
    write(project, {"sub/y.log": ""})
    assert [name for name in names(archive(project, home=tmp_path / "home")) if "sub/" in name] == [
        "sub/.gitignore",
        "sub/m.py",
    ]


def test_folder_that_git_ignores_is_code_all_the_same(project: Path, tmp_path: Path) -> None:
    git(project, "init", "-q")
    write(project, {".gitignore": "inner/\n", "inner/x.py": ""})
    assert names(archive(project / "inner", home=tmp_path / "home")) == ["x.py"]


def test_home_and_results_are_left_out(project: Path, tmp_path: Path) -> None:
    write(project, {".penstock/code/x": "", "runs/e/1/model": "", "runs2/x": ""})
    exclude = [project / ".penstock", project / "runs"]
    made = archive(project, home=project / ".penstock", exclude=exclude)
    assert names(made) == ["a.py", "data.bin", "lib/b.py", "runs2/x"]


@pytest.mark.parametrize(
    "globs, kept",
    [
        (["*.py"], ["a.py"]),
        (["**/*.py"], ["a.py", "lib/b.py"]),
        (["lib"], ["lib/b.py"]),
        (["./lib/", "a.py"], ["a.py", "lib/b.py"]),
        (["?.py"], ["a.py"]),
        (["**"], ["a.py", "data.bin", "lib/b.py"]),
    ],
)
def test_globs_narrow_the_code(
    project: Path, tmp_path: Path, globs: list[str], kept: list[str]
) -> None:
    assert names(archive(project, home=tmp_path / "home", globs=globs)) == kept


def test_glob_that_matches_nothing_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="'src' matches no file"):
        archive(project, home=tmp_path / "home", globs=["a.py", "src"])


def test_too_much_code_names_the_largest(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (project / "huge.bin").open("wb") as file:
        file.truncate(code.MOST_BYTES + 1)
    with pytest.raises(StagingError, match=r"huge\.bin") as caught:
        archive(project, home=tmp_path / "home")
    assert "gitignore" in caught.value.hint
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr(code, "MOST_FILES", 2)
    with pytest.raises(StagingError, match="4 files"):
        archive(project, home=tmp_path / "home")


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "lib/../../outside"])
def test_link_out_of_the_folder_is_refused_by_name(
    project: Path, tmp_path: Path, target: str
) -> None:
    (project / "link").symlink_to(target)
    with pytest.raises(StagingError, match="link is a link to"):
        archive(project, home=tmp_path / "home")


def test_link_to_a_folder_outside_is_refused_too(project: Path, tmp_path: Path) -> None:
    (project / "data").symlink_to(tmp_path)
    with pytest.raises(StagingError, match="data is a link to"):
        archive(project, home=tmp_path / "home")


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_unreadable_file_is_named(project: Path, tmp_path: Path) -> None:
    (project / "a.py").chmod(0)
    with pytest.raises(StagingError, match=r"a\.py cannot be read"):
        archive(project, home=tmp_path / "home")


def test_unreadable_folder_is_named(project: Path, tmp_path: Path) -> None:
    """Root reads everything, so it is tried as nobody."""
    (project / "shut").mkdir(mode=0)
    let_pass(tmp_path)
    with as_nobody(), pytest.raises(StagingError, match="shut cannot be read"):
        archive(project, home=tmp_path / "home")


def let_pass(folder: Path) -> None:
    """Let others pass through a folder of pytest's, and those above it that pytest made."""
    for one in (folder, *folder.parents):
        if one.stat().st_uid != os.getuid() or one.stat().st_mode & 0o1:
            return
        one.chmod(0o711)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_home_of_another_says_whose_project_it_takes(project: Path, tmp_path: Path) -> None:
    let_pass(tmp_path)
    (tmp_path / "home").mkdir(mode=0o555)
    with as_nobody(), pytest.raises(StagingError, match="could not be archived") as caught:
        archive(project, home=tmp_path / "home")
    assert "penstock init" in caught.value.hint


def test_home_that_cannot_be_written_says_so(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StagingError, match="could not be archived"):
        archive(project, home=tmp_path / "home")


def test_files_that_change_meanwhile_are_archived_as_one_of_both(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive = code._write
    edits = iter(["edited"])

    def edit_first(*arguments: object) -> bool:
        for body in edits:
            (project / "a.py").write_text(body)
        return write_archive(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(code, "_write", edit_first)
    made = archive(project, home=tmp_path / "home")
    tree = tmp_path / "tree"
    tree.mkdir()
    assert extract(str(made.path), str(tree)).digest() == made.digest
    assert (tree / "a.py").read_text() == "edited"


# --- archives that we did not make --------------------------------------------------------------


def plant(path: Path, *members: tarfile.TarInfo) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member)
    return str(path)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "members",
    [
        [member("/abs")],
        [member("../up")],
        [member("a/../../up")],
        [member("dev", tarfile.CHRTYPE)],
        [member("fifo", tarfile.FIFOTYPE)],
        [member("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [member("out", tarfile.SYMTYPE, "/etc")],
        [member("out", tarfile.SYMTYPE, "..")],
        [member("d", tarfile.SYMTYPE, "."), member("e", tarfile.SYMTYPE, "d/../..")],
    ],
    ids=lambda members: members[-1].name + members[-1].linkname,
)
def test_archive_that_would_leave_its_folder_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    tree = tmp_path / "deep" / "tree"
    tree.mkdir(parents=True)
    with pytest.raises(Trouble):
        extract(plant(tmp_path / "x.tar.gz", *members), str(tree))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["tree"]


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "outside").mkdir()
    members = [member("d", tarfile.SYMTYPE, "../outside"), member("d/f")]
    with pytest.raises((Trouble, OSError)):
        extract(plant(tmp_path / "x.tar.gz", *members), str(tree))
    assert list((tmp_path / "outside").iterdir()) == []
