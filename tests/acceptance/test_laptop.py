"""The command on a laptop, with a real sshd, and the model in place of a Slurm."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.connection import Store
from penstock.testing import rounds
from penstock.testing.crashes import failpoints
from penstock.testing.places import SITE
from penstock.testing.served import served
from tests import sshd
from tests.acceptance.conftest import Site
from tests.acceptance.laptop import Laptop, laptop_of
from tests.sshd import Sshd
from tests.terminal import typed

# The model runs jobs as who started it: so that is who logs in, on the loopback alone.
AS_ROOT = "PermitRootLogin prohibit-password"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start the model, whose arrays are of three tasks at most; yield a folder of its programs."""
    with served(tmp_path_factory.mktemp("model"), site=SITE) as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with sshd.running(users=("root",), more=AS_ROOT) as found:
        yield found


@pytest.fixture
def laptop(server: Sshd, programs: Path, tmp_path: Path) -> Iterator[Laptop]:
    with laptop_of(server, tmp_path, more=f'path = ["{programs}"]\n') as found:
        yield found


def stored(site: Site, sql: str) -> list[str]:
    """Return words of the store by itself: a command would go on with what it finds."""
    with Store(f"sqlite:///{site.root / '.penstock' / 'penstock.db'}").read() as view:
        return [word for (word,) in view.execute(sql)]


def intents(site: Site) -> list[str]:
    """Return how the arrays stand."""
    return stored(site, "SELECT intent FROM job_array ORDER BY id")


def is_folded_by_a_tick(site: Site) -> bool:
    """Bring all up to date; return whether all arrays are folded then."""
    site("tick")
    return set(intents(site)) == {"folded"}


def ran_out(laptop: Laptop) -> bool:
    """Return whether all runs have ended, by their files alone."""
    return len(list(laptop.home.glob("arrays/*/spool/0/*.done"))) == 4


# --- killed at each request


# The requests of a submit of two arrays, then those of two looks: the second begins with the folds.
SUBMIT = 17
LOOKS = dict(enumerate(["gather", "run", "gather"], SUBMIT + 1))
METRICS, FOLD = SUBMIT + 1, SUBMIT + 3
SHORT = {"ssh.connected:1", f"ssh.answered:{METRICS}", f"ssh.asking:{FOLD}", f"ssh.answered:{FOLD}"}
POINTS = ["ssh.connected:1"] + [
    f"ssh.{name}:{count}" for name in ("asking", "answered") for count in range(1, FOLD + 1)
]


def test_every_failpoint_of_ssh_is_armed() -> None:
    armed = {point.partition(":")[0] for point in POINTS}
    assert armed == {name for name in failpoints() if name.startswith(rounds.SSH)}


@pytest.mark.parametrize(
    "point", [pytest.param(one, marks=() if one in SHORT else pytest.mark.long) for one in POINTS]
)
def test_killed_at_any_request_of_a_whole_sweep_all_is_done_once(
    laptop: Laptop, point: str
) -> None:
    """The process that has the connection dies at each request in turn, also at a fold."""
    site = laptop.site
    site.env["PENSTOCK_FAILPOINT"] = point
    spec = site.write("s.yaml", laptop.sweep())
    site.start("submit", "--cluster", "big", spec).communicate(timeout=60)
    site.env.pop("PENSTOCK_FAILPOINT")
    if not stored(site, "SELECT state FROM run"):  # killed before that, and it was said
        site("submit", "--cluster", "big", spec)
    nth = int(point.rpartition(":")[2])
    if nth > SUBMIT:
        assert laptop.asked().count("connect") == 1
        site.until(lambda: ran_out(laptop), "the runs")
        assert set(intents(site)) == {"accepted"}
    site.until(lambda: is_folded_by_a_tick(site), "the fold")
    asked = laptop.asked()
    assert asked.count("connect") > 1, "it was killed, and came back"
    if nth in LOOKS:
        died = len(asked) - asked[::-1].index("connect") - 1
        assert asked[died - 1] == LOOKS[nth]
    laptop.is_right()
    assert "is whole" in site("store", "check").stderr
    folded = {one.name for one in laptop.home.glob("arrays/*/*.zip")}
    assert folded == {"spools.zip", "logs.zip"}
    assert site("logs", "far/3").stdout == "x is 3\n"


def test_several_arrays_cost_two_commands_in_an_interval(laptop: Laptop) -> None:
    """A new process needs no more: what was sent last is known where the connection is kept."""
    site = laptop.site
    site("submit", "--cluster", "big", site.write("s.yaml", laptop.sweep()))
    submitted = laptop.asked()
    assert submitted[0] == "connect"
    assert len(submitted) == 1 + SUBMIT, "SUBMIT says how many requests it takes"
    site.until(lambda: ran_out(laptop), "the runs")
    for stand in ("ended", "folded"):
        site("tick")
        assert intents(site) == [stand] * 2
    assert laptop.asked()[len(submitted) :] == ["gather", "run"] * 2


# --- a daemon


def test_daemon_brings_a_sweep_to_its_end_over_a_connection_that_is_cut(laptop: Laptop) -> None:
    site = laptop.site
    site.env["PENSTOCK_POLL_MAX_S"] = "2"
    spec = laptop.sweep().replace("python3, work.py", "sh, slow.sh").replace("WITNESS", "")
    with site.daemon():
        site.write("slow.sh", 'sleep 3\nexec python3 work.py "$@"\n')
        site("submit", "--cluster", "big", site.write("s.yaml", spec))
        site.until(lambda: laptop.asked().count("gather") > 1, "looks of the daemon")
        laptop.proxy.cut()
        site.until(lambda: set(intents(site)) == {"folded"}, "the fold")
    assert laptop.asked().count("get") <= 3, "the mark is read by each process, not at each look"
    assert laptop.proxy.connections == 2, "it came back"
    laptop.is_right()


# --- a code that is typed


@pytest.fixture
def coded(programs: Path, tmp_path: Path) -> Iterator[Laptop]:
    """A cluster that asks for a code, too."""
    with sshd.coded() as server:
        path = lent(programs, server.folder / "programs")
        with laptop_of(server, tmp_path, more=f'path = ["{path}"]\n') as found:
            yield found


def lent(programs: Path, folder: Path) -> Path:
    """Return the model's programs as every user may run them, by the system's Python."""
    folder.mkdir()
    for one in programs.iterdir():
        text = one.read_text().replace(f"#!{sys.executable}", "#!/usr/bin/python3")
        (folder / one.name).write_text(text)
        (folder / one.name).chmod(0o755)
    (address,) = re.findall(r"connect\('(.+)'\)", (folder / "sbatch").read_text())
    Path(address).parent.chmod(0o755)
    Path(address).chmod(0o666)
    return folder


def test_code_is_typed_once_on_a_terminal_and_serves_those_that_have_none(coded: Laptop) -> None:
    site = coded.site
    error = site("clusters", "--connect", "big", code=8).stderr
    assert "asks for something" in error
    assert "run `penstock clusters --connect NAME` on one" in error
    said = typed(sshd.CODE, **site.how("clusters", "--connect", "big"))
    assert said.count("assword: ") == 1
    assert "connected to big" in said
    assert sshd.CODE not in said, "it is not shown"
    assert site.json("clusters")["clusters"][0]["is_connected"]
    before = coded.proxy.connections
    site("clusters", "--connect", "big")
    out = site("submit", "--cluster", "big", "--dry-run", site.write("s.yaml", coded.sweep()))
    assert f"{coded.home}/arrays/" in out.stdout
    assert coded.proxy.connections == before, "the terminal is gone, and its connection is not"
    assert "disconnected" in site("clusters", "--disconnect", "big").stderr
