"""The client of user code and `penstock-log`, from the zip, by a real Python."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from penstock.reconciler.install import build
from tests.elements import PYTHON


class Inside:
    """What a run sees: the zip, an events file, parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zip = folder / "runner.zip"
        self.zip.write_bytes(build()[1])
        self.events = folder / "events"
        (folder / "params.json").write_text('{"lr": 0.1}')
        self.env = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.zip),
            "PENSTOCK_EVENTS": str(self.events),
            "PENSTOCK_PARAMS": str(folder / "params.json"),
        }

    def python(self, code: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return self._run(["-S", "-c", "import penstock\n" + code], env)

    def log(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return self._run(["-S", str(self.zip), "log", *arguments], env)

    def _run(self, arguments: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        merged = {name: value for name, value in (self.env | env).items() if value}
        return subprocess.run(
            [PYTHON, *arguments],
            env=merged, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def told(self) -> list[dict[str, object]]:
        events = [json.loads(line) for line in self.events.read_text().splitlines()]
        assert all(event.pop("at") > 0 for event in events)
        return events


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    return Inside(tmp_path)


def test_import_brings_nothing_heavy(inside: Inside) -> None:
    heavy = {"subprocess", "tarfile", "shutil", "tempfile", "hashlib", "ctypes", "logging"}
    done = inside.python(f"import sys; print(sorted({heavy!r} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_installed_package_supplies_what_the_zip_lacks(inside: Inside, tmp_path: Path) -> None:
    installed = tmp_path / "site" / "penstock"
    (installed / "cli").mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    (installed / "cli" / "__init__.py").write_text("here = 1")
    done = inside.python(
        "import penstock.cli; print(penstock.__file__, penstock.cli.here)",
        PYTHONPATH=f"{inside.zip}:{tmp_path / 'site'}",
    )
    assert done.stdout.split() == [f"{inside.zip}/penstock/__init__.py", "1"], done.stderr


def test_each_call_is_one_event(inside: Inside) -> None:
    done = inside.python(
        "penstock.log_metric('loss', 0.5, step=2)\n"
        "penstock.log_metrics({'a': 1, 'b': True})\n"
        "penstock.log_params({'depth': 3, 'names': ['x']})\n"
        "penstock.set_tag('note', 'é')\n"
        "print(penstock.params['lr'], dict(penstock.params), len(penstock.params))"
    )
    assert done.stderr == ""
    assert done.stdout == "0.1 {'lr': 0.1} 1\n"
    assert inside.told() == [
        {"k": "m", "step": 2, "values": {"loss": 0.5}},
        {"k": "m", "step": None, "values": {"a": 1.0, "b": 1.0}},
        {"k": "param", "values": {"depth": 3, "names": ["x"]}},
        {"k": "tag", "values": {"note": "é"}},
    ]


def test_params_cannot_be_changed(inside: Inside) -> None:
    done = inside.python("penstock.params['lr'] = 1")
    assert "TypeError" in done.stderr


def test_outside_a_run_there_is_one_warning_and_no_harm(inside: Inside) -> None:
    done = inside.python(
        "for i in range(9): penstock.log_metric('x', i)\n"
        "penstock.set_tag('a', 'b'); penstock.log_artifact('nothing')\n"
        "print(dict(penstock.params))",
        PENSTOCK_EVENTS="",
        PENSTOCK_PARAMS="",
    )
    assert done.returncode == 0
    assert done.stdout == "{}\n"
    assert len(done.stderr.splitlines()) == 1
    assert "not in a run" in done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "penstock.log_metric('x', 'high')",
        "penstock.log_metric('x', None)",
        "penstock.log_metric('', 1)",
        "penstock.log_metric('x', 1, step=1.5)",
        "penstock.log_metrics(None)",
        "penstock.log_params(3)",
        "penstock.log_artifact('no such file')",
        "penstock.log_artifact('params.json', name='../up')",
        "penstock.set_tag('x', type('Bad', (), {'__str__': lambda self: 1 / 0})())",
    ],
)
def test_wrong_calls_warn_and_do_not_end_the_training(inside: Inside, call: str) -> None:
    done = inside.python(f"{call}\n{call}\nprint('went on')")
    assert done.stdout == "went on\n"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("penstock: ")
    assert not inside.events.exists()


def test_full_disk_warns_once(inside: Inside) -> None:
    done = inside.python(
        "for i in range(9): penstock.log_metric('x', i)\nprint('went on')",
        PENSTOCK_EVENTS="/dev/full",
    )
    assert done.stdout == "went on\n"
    assert len(done.stderr.splitlines()) == 1


def test_closed_stderr_does_no_harm(inside: Inside) -> None:
    done = inside.python(
        "import sys; sys.stderr.close(); penstock.log_metric('x', 'high'); print('went on')"
    )
    assert done.stdout == "went on\n"


def test_artifact_is_kept_as_it_was(inside: Inside) -> None:
    done = inside.python(
        "open('f', 'w').write('one'); penstock.log_artifact('f'); open('f', 'w').write('two')"
    )
    assert done.stderr == ""
    (told,) = inside.told()
    assert told["name"] == "f"
    assert Path(str(told["path"])).read_text() == "one"


def test_log_takes_metrics_tags_params_and_files(inside: Inside) -> None:
    (inside.folder / "f").write_text("x")
    done = inside.log(
        "loss=0.3", "acc=nan", "step=2", "--tag", "k=a=b c", "--param=depth=3",
        "--artifact", "f=g/f",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tag, param, file, metrics = inside.told()
    assert tag == {"k": "tag", "values": {"k": "a=b c"}}
    assert param == {"k": "param", "values": {"depth": "3"}}
    assert (file["k"], file["name"]) == ("file", "g/f")
    values = metrics["values"]
    assert isinstance(values, dict)
    assert (metrics["step"], list(values)) == (2, ["loss", "acc"])


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["loss"], "NAME=NUMBER"),
        (["loss=high"], "a metric is a number"),
        (["loss=1", "step=x"], "a metric is a number"),
        (["loss=1", "step=1.5"], "a step is a whole number"),
        (["step=1"], "a step without a metric"),
        (["=1"], "a name is printable text"),
        (["--tag"], "needs a value"),
        (["--tag", "x"], "is not K=V"),
        (["--tga", "x=1"], "unknown option --tga"),
        (["--artifact", "none"], "no such file"),
        (["--artifact", "params.json=../x"], "is not a path below"),
    ],
)
def test_log_says_what_it_does_not_understand(
    inside: Inside, arguments: list[str], says: str
) -> None:
    done = inside.log(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not inside.events.exists()


def test_log_takes_utf8_in_a_bare_locale(inside: Inside) -> None:
    assert inside.log("--tag", "é=漢", LC_ALL="C").returncode == 0
    assert inside.told() == [{"k": "tag", "values": {"é": "漢"}}]
    assert inside.log("--help", LC_ALL="C").returncode == 0


def test_log_helps(inside: Inside) -> None:
    assert inside.log("--help").returncode == 0
    assert "step=2" in inside.log("--help").stdout
    assert inside.log().returncode == 2


def test_log_outside_a_run_says_so_and_succeeds(inside: Inside) -> None:
    done = inside.log("x=1", PENSTOCK_EVENTS="")
    assert done.returncode == 0
    assert "not in a run" in done.stderr


def test_log_that_cannot_write_fails(inside: Inside) -> None:
    done = inside.log("x=1", PENSTOCK_EVENTS="/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr or "no space left" in done.stderr
