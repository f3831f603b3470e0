"""Where settings come from, and which goes first."""

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.settings import Cluster, Settings, files, known, schema

OWN = [one.name for one in fields(Cluster) if one.default is None]
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a user's and a site's file around it."""
    for name in ("PENSTOCK_ROOT", "PENSTOCK_HOME", "PENSTOCK_POLL_S"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PENSTOCK_SITE", str(tmp_path / "site.toml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "config" / "penstock").mkdir(parents=True)
    root = tmp_path / "project"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "penstock.toml").write_text("")
    return root


def test_project_is_found_from_a_folder_below(project: Path) -> None:
    found = files.load(project / "deep" / "er")
    assert found.root == project
    assert found.home == project / ".penstock"
    assert found.store_url == f"sqlite:///{project}/.penstock/penstock.db"
    assert found.project_name == "project"


def test_root_variable_starts_the_search(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_ROOT", str(project / "deep"))
    assert files.load().root == project


def test_no_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="penstock init"):
        files.load(tmp_path)


def test_folder_that_may_not_be_looked_into_has_no_project(tmp_path: Path) -> None:
    """Root looks into all, so it is tried as nobody."""
    shut = tmp_path / "shut"
    (shut / "inner").mkdir(parents=True)
    shut.chmod(0)
    as_root = os.geteuid() == 0
    if as_root:
        os.seteuid(65534)
    try:
        with pytest.raises(SettingsError, match="penstock init"):
            files.project_root(shut / "inner")
    finally:
        if as_root:
            os.seteuid(0)
        shut.chmod(0o700)


def test_file_of_a_stranger_is_refused_where_anybody_may_write(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "penstock.toml").write_text("python = '/tmp/evil'")
    owner = os.getuid() or 65534  # what is root's is taken
    os.chown(project / "penstock.toml", owner, -1)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert files.project_root(project / "deep") == project  # a colleague's project
    project.chmod(0o1777)
    with pytest.raises(SettingsError, match="is not yours"):
        files.project_root(project / "deep")
    monkeypatch.setattr(os, "getuid", lambda: owner)
    assert files.project_root(project / "deep") == project


def test_nearer_places_go_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.parent / "site.toml").write_text("poll_s = 20\nbeat_s = 21\nlocal_cpus = 22\n")
    own = project.parent / "config" / "penstock" / "settings.toml"
    own.write_text("poll_s = 30\nbeat_s = 31\n")
    (project / "penstock.toml").write_text("poll_s = 40\n")
    found = files.load(project)
    assert (found.poll_s, found.beat_s, found.local_cpus) == (40, 31, 22)
    monkeypatch.setenv("PENSTOCK_POLL_S", "50")
    assert files.load(project).poll_s == 50


@pytest.mark.parametrize("text", ["pol_s = 3", "poll_s = 'often'", "poll_s ="])
def test_wrong_file_is_named(project: Path, text: str) -> None:
    (project / "penstock.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"penstock\.toml"):
        files.load(project)


def test_unknown_setting_names_the_nearest(project: Path) -> None:
    (project / "penstock.toml").write_text("pol_s = 3")
    with pytest.raises(SettingsError, match="no such setting; did you mean poll_s"):
        files.load(project)


def test_every_setting_is_documented() -> None:
    named = {line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    assert named == {one.name for one in fields(Settings)} - {"root"}


def test_nobody_looks_at_the_queue_more_often_than_the_site_allows(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.toml").write_text("poll_s = 30")
    (project / "penstock.toml").write_text("poll_s = 5")
    assert files.load(project).poll_s == 30
    monkeypatch.setenv("PENSTOCK_POLL_S", "1")
    assert files.load(project).poll_s == 30
    monkeypatch.setattr(files, "SITE_FILE", str(tmp_path / "site.toml"))
    monkeypatch.setenv("PENSTOCK_SITE", str(tmp_path / "mine.toml"))
    assert files.load(project).poll_s == 30, "another site file is no way around it"
    monkeypatch.setenv("PENSTOCK_POLL_S", "60")
    assert files.load(project).poll_s == 60
    assert files.site_floor_s() == 30, "one's own setting is no floor"


def test_site_that_says_nothing_has_no_floor(project: Path) -> None:
    (project / "penstock.toml").write_text("poll_s = 3600")
    assert files.site_floor_s() == 0


CLUSTER = "[clusters.big]\nhost = 'login.big.example'\n"


def test_clusters_of_all_files_stand_side_by_side(project: Path) -> None:
    (project.parent / "site.toml").write_text(CLUSTER + "[clusters.small]\nhost = 'small'\n")
    (project / "penstock.toml").write_text(CLUSTER.replace("login", "login2") + "user = 'me'\n")
    found = files.load(project).clusters
    assert {name: one.host for name, one in found.items()} == {
        "big": "login2.big.example",
        "small": "small",
    }
    assert found["big"].user == "me"


@pytest.mark.parametrize(
    "text, words",
    [
        ("[clusters.big]", "clusters.big.host"),
        (CLUSTER + "usr = 'me'", "did you mean user"),
        ("[clusters.'a b']\nhost = 'x'", "letters, digits"),
        (CLUSTER + "port = 70000", "clusters.big.port"),
        ("clusters = 3", "clusters"),
    ],
)
def test_cluster_that_is_wrong_is_refused(project: Path, text: str, words: str) -> None:
    (project / "penstock.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        files.load(project)


def test_folders_of_a_cluster_are_not_resolved_here(project: Path) -> None:
    (project / "link").symlink_to(project)
    (project / "penstock.toml").write_text(CLUSTER + "python = '/opt/python'\n")
    there = files.load(project).on("big", home=f"{project}/link/home", results="/r")
    assert str(there.home) == f"{project}/link/home"
    assert (str(there.results), there.python, there.scheduler) == ("/r", "/opt/python", "slurm")


@pytest.mark.parametrize(
    "mine, site, poll_s, scratch",
    [
        ("", "", 10, ""),
        ("poll_s = 60\nscratch = '/own'", "poll_s = 30\nscratch = '/site'", 60, "/own"),
        ("poll_s = 5", "poll_s = 30\nscratch = '/site'", 30, "/site"),
        ("poll_s = 5", "scratch = 3", 5, ""),
    ],
)
def test_site_of_a_cluster_sets_its_floor_and_scratch(
    project: Path, mine: str, site: str, poll_s: float, scratch: str
) -> None:
    (project / "penstock.toml").write_text(CLUSTER + mine)
    floor_s, there = files.of_site(site, "site.toml of big")
    on = files.load(project).on("big", home="/h", results="/r", floor_s=floor_s, scratch=there)
    assert (on.poll_s, on.scratch) == (poll_s, scratch)


TWO = """
lost_after_s = 7200
templates = ["/t"]
[clusters.big]
host = "big"
templates = ["/big", "/all"]
poll_s = 20
poll_max_s = 600
beat_s = 5
lost_after_s = 100
accounting_lag_s = 300
record_grace_s = 0
[clusters.small]
host = "small"
templates = []
"""


def test_clusters_of_a_project_differ(project: Path) -> None:
    (project / "penstock.toml").write_text(TWO)
    files.load(project)  # and what is remembered says the same
    found = files.load(project)
    here, big, small = (
        [getattr(found.at(name), key) for key in OWN] for name in ("", "big", "small")
    )
    assert here == [(Path("/t"),), 10, 120, 30, 7200, 60, 60]
    assert big == [(Path("/big"), Path("/all")), 20, 600, 5, 100, 300, 0]
    assert small == [(), *here[1:]], "what is not set is as in the project"
    assert found.at("unknown") is found.at("") is found
    for name in ("big", "small"):
        on = found.on(name, home="/h", results="/r", floor_s=30)
        assert on == replace(
            found.at(name), home=Path("/h"), results=Path("/r"), scheduler="slurm", poll_s=30,
            clusters={},
        )  # fmt: skip


def test_what_a_cluster_sets_has_the_bounds_of_the_project() -> None:
    def bounds(kind: type) -> dict[str, object]:
        return {
            one.name: [value for key, value in one.metadata.items() if key != "description"]
            for one in fields(kind)
            if one.name in OWN
        }

    assert bounds(Cluster) == bounds(Settings)


def test_broken_file_of_a_site_is_named() -> None:
    with pytest.raises(SettingsError, match="of big is not TOML"):
        files.of_site("poll_s =", "site.toml of big")


def test_every_setting_of_a_cluster_is_in_the_guide() -> None:
    guide = DOCS.parents[1] / "guides" / "ssh.md"
    rows = {line.split("`")[1] for line in guide.read_text().splitlines() if line.startswith("| `")}
    assert {one.name for one in fields(Cluster)} <= rows


def memory(project: Path) -> list[Path]:
    """Return the files in which checked settings are remembered."""
    return sorted((project.parent / "cache" / "penstock" / "settings").glob("*.json"))


def test_folders_of_templates_start_at_the_root(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (project / "penstock.toml").write_text(
        f"templates = ['t', '/t', '~/t']\n{CLUSTER}templates = ['big']\n"
    )
    found = files.load(project)
    assert found.templates == (project / "t", Path("/t"), Path("/home/me/t"))
    assert found.at("big").templates == (project / "big",)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each check fail."""

    def fail(values: dict[str, Any], where: str) -> dict[str, Any]:
        raise AssertionError(f"checked: {values}, {where}")

    monkeypatch.setattr(schema, "checked", fail)


def everything(project: Path) -> None:
    """Set something of each kind."""
    (project / "penstock.toml").write_text(
        "poll_s = 11\nhome = 'h'\ntemplates = ['/t']\n" + CLUSTER + "known_hosts = ['~/k']\n"
    )


def test_what_is_remembered_is_what_was_checked(
    project: Path, request: pytest.FixtureRequest
) -> None:
    everything(project)
    first = files.load(project)
    assert first.clusters["big"].known_hosts == ("~/k",)
    assert first.templates == (Path("/t"),)
    request.getfixturevalue("unchecked")
    again = files.load(project)
    assert again == first
    assert [type(one) for one in vars(again).values()] == [
        type(one) for one in vars(first).values()
    ]


def test_same_words_are_checked_once_for_all_projects(
    project: Path, request: pytest.FixtureRequest
) -> None:
    everything(project)
    files.load(project)
    request.getfixturevalue("unchecked")
    other = project.parent / "other"
    other.mkdir()
    (other / "penstock.toml").write_text((project / "penstock.toml").read_text())
    assert files.load(other).home == other / "h"


@pytest.mark.parametrize("name", ["PENSTOCK_POLL_S", "penstock_poll_s"])
def test_anything_new_is_checked(project: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    files.load(project)
    monkeypatch.setenv(name, "often")
    with pytest.raises(SettingsError, match="poll_s"):
        files.load(project)
    monkeypatch.setenv(name, "12")
    assert files.load(project).poll_s == 12
    monkeypatch.delenv(name)
    (project / "penstock.toml").write_text("poll_s = 'often'")
    with pytest.raises(SettingsError, match="poll_s"):
        files.load(project)
    with pytest.raises(SettingsError, match="poll_s"):
        files.load(project)


def test_release_that_checks_otherwise_checks_anew(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = known.digest({}, {})
    for name in ("fields.py", "schema.py"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(known, "__file__", str(tmp_path / "known.py"))
    mine = known.digest({}, {})
    (tmp_path / "schema.py").write_text("#")
    assert len({before, mine, known.digest({}, {})}) == 3


@pytest.mark.parametrize("text", ["", "{", "{}", "[1, 2]"])
def test_memory_that_cannot_be_read_is_none(project: Path, text: str) -> None:
    files.load(project)
    (kept,) = memory(project)
    kept.write_text(text)
    assert files.load(project).poll_s == 10


def test_memory_of_a_stranger_is_not_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.load(project)
    (kept,) = memory(project)
    kept.write_text(kept.read_text().replace("python3", "/tmp/evil"))
    assert files.load(project).python == "/tmp/evil"
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert files.load(project).python == "python3"


def test_where_nothing_can_be_kept_nothing_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert files.load(project).poll_s == 10


@pytest.mark.parametrize(
    "url, is_remembered",
    [
        ("postgresql+psycopg://me@db:5432/p", True),
        ("postgresql+psycopg://me:secret@db/p", False),
        ("postgresql+psycopg://me:se@cret@db/p", False),
        ("postgresql+psycopg://db/p?user=me&password=secret", False),
    ],
)
def test_password_is_not_remembered(
    project: Path, monkeypatch: pytest.MonkeyPatch, url: str, is_remembered: bool
) -> None:
    monkeypatch.setenv("PENSTOCK_STORE", url)
    assert files.load(project).store == url
    assert len(memory(project)) == is_remembered


def test_memory_of_many_projects_is_kept_small(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    for poll_s in range(10, 20):
        (project / "penstock.toml").write_text(f"poll_s = {poll_s}")
        files.load(project)
    assert len(memory(project)) == 3
