"""What is written into units and tables, and that it is taken away again whole."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.daemon import install
from penstock.errors import UsageError
from penstock.service.project import Project
from penstock.settings import Settings


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the settings of who runs the tests."""
    for name in [one for one in os.environ if one.upper().startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)


def project(root: Path) -> Project:
    return Project(Settings(root=root, home=root / ".penstock"), SystemClock())


def test_block_is_taken_out_as_it_was_put_in(tmp_path: Path) -> None:
    one, two = project(tmp_path / "a"), project(tmp_path / "a b's 100%")
    mine = "MAILTO=me\n0 1 * * * backup\n"
    table = mine + install.block(one, "cron") + "5 5 * * * x\n" + install.block(two, "cron")
    left = install.without(table, str(one.settings.root))
    assert left == mine + "5 5 * * * x\n" + install.block(two, "cron")
    assert install.without(left, str(two.settings.root)) == mine + "5 5 * * * x\n"


def test_table_without_a_last_newline_stays_whole(tmp_path: Path) -> None:
    assert install.without("0 1 * * * x", "/p") == "0 1 * * * x\n"
    assert install.without("", "/p") == ""


def test_half_a_block_is_left_alone() -> None:
    table = f"{install.BEGIN} /p\n0 1 * * * mine\n"
    assert install.without(table, "/p") == table


def test_cron_line_is_quoted_for_cron_and_for_the_shell(tmp_path: Path) -> None:
    text = install.block(project(tmp_path / "a b's 100%; rm -rf x"), "cron")
    (line,) = [one for one in text.splitlines() if one.startswith("*/5 ")]
    assert "100\\%" in line
    assert "'\"'\"'s" in line
    assert line.endswith(" tick >/dev/null")


def test_scrontab_has_its_options_and_no_percent(tmp_path: Path) -> None:
    assert "\n#SCRON --job-name=" in install.plan(project(tmp_path / "a"), "scrontab").text
    with pytest.raises(UsageError, match="no way to write %"):
        install.plan(project(tmp_path / "100%"), "scrontab")


@pytest.mark.parametrize("kind", install.KINDS)
def test_folder_with_a_newline_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="cannot stand"):
        install.plan(project(tmp_path / "a\nb"), kind)


def test_unit_quotes_what_systemd_would_expand(tmp_path: Path) -> None:
    text = install.unit(project(tmp_path / 'a "b" 5% $HOME'))
    (line,) = [one for one in text.splitlines() if one.startswith("ExecStart=")]
    assert '\\"b\\" 5%% $$HOME"' in line
    assert line.endswith('"daemon" "run" "--log"')


def test_units_of_projects_of_one_name_differ(tmp_path: Path) -> None:
    names = {install.unit_path(project(tmp_path / at / "p")).name for at in ("a", "b")}
    assert len(names) == 2


def test_linger_that_is_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs(tmp_path, loginctl="echo no")))
    assert install.plan(project(tmp_path), "systemd").notes == (install.LINGER_OFF,)
    monkeypatch.setenv("PATH", str(programs(tmp_path, loginctl="echo yes")))
    assert install.plan(project(tmp_path), "systemd").notes == ()


def programs(folder: Path, **scripts: str) -> str:
    bin_ = folder / "bin"
    bin_.mkdir(exist_ok=True)
    for name, text in scripts.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    return f"{bin_}:/usr/bin:/bin"


CRONTAB = """
file=$(dirname "$0")/table
case "$1" in
  -l) [ -e "$file" ] && cat "$file" || { echo "no crontab for me" >&2; exit 1; } ;;
  -) cat > "$file" ;;
esac
"""


@pytest.mark.parametrize("kind, name", [("cron", "crontab"), ("scrontab", "scrontab")])
def test_table_is_merged_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, **{name: CRONTAB}))
    table = tmp_path / "bin" / "table"
    mine = project(tmp_path)
    install.install(mine, kind)
    once = table.read_text()
    assert once.count(install.BEGIN) == 1
    install.install(mine, kind)
    assert table.read_text() == once
    table.write_text("0 1 * * * mine\n" + once)
    assert install.uninstall(mine, kind)
    assert table.read_text() == "0 1 * * * mine\n"
    assert not install.uninstall(mine, kind)


def test_unit_is_written_enabled_and_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, systemctl=f'echo "$@" >> {tmp_path}/said'))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    mine = project(tmp_path)
    assert not install.uninstall(mine, "systemd")
    install.install(mine, "systemd")
    assert "[Service]" in install.unit_path(mine).read_text()
    assert install.uninstall(mine, "systemd")
    assert not install.unit_path(mine).exists()
    said = (tmp_path / "said").read_text()
    assert said.count("daemon-reload") == 2
    assert "--user enable --now penstock-" in said
    assert "--user disable --now penstock-" in said


# --- settings in the environment


def test_settings_of_the_environment_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed works with the settings that its user's shell has."""
    monkeypatch.chdir(tmp_path)
    given = {
        "PENSTOCK_SCHEDULER": "local",
        "PENSTOCK_SCRATCH": '/scratch/$USER/"5%"',
        "PENSTOCK_STORE": "postgresql+psycopg://me@db/penstock",
        "PENSTOCK_TEMPLATES": '["/t"]',
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PENSTOCK_SITE", "site.toml")
    monkeypatch.setenv("PENSTOCK_ROOT", "/elsewhere")  # the folder is named by --project
    monkeypatch.setenv("PENSTOCK_FAILPOINT", "x")  # no setting
    given["PENSTOCK_SITE"] = str(tmp_path / "site.toml")
    mine = project(tmp_path)

    text = install.unit(mine)
    assert '"PENSTOCK_SCRATCH=/scratch/$USER/\\"5%%\\""' in text
    assert all(f"{name}=" in text for name in given)
    assert f'"PENSTOCK_SITE={tmp_path}/site.toml"' in text
    assert "ROOT" not in text
    assert "FAILPOINT" not in text

    (line,) = [one for one in install.block(mine, "cron").splitlines() if one.startswith("*/5 ")]
    command = line.replace("\\%", "%").split(" ", 5)[5]
    named = shlex.split(command.partition(f" {sys.executable} ")[0])
    assert named[0] == "env"
    for name, value in given.items():
        assert f"{name}={value}" in named


@pytest.mark.parametrize("kind", ["systemd", "cron"])
def test_password_is_left_out_and_what_to_do_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("PENSTOCK_STORE", "postgresql+psycopg://me:hunter2@db/penstock")
    monkeypatch.setenv("PENSTOCK_SCRATCH", "/a\nb")
    plan = install.plan(project(tmp_path), kind)
    assert "hunter2" not in plan.text + str(plan.notes)
    assert "PENSTOCK_" not in plan.text
    (store,) = [note for note in plan.notes if note.startswith("$PENSTOCK_STORE is left out")]
    assert "~/.pgpass" in store
    (scratch,) = [note for note in plan.notes if note.startswith("$PENSTOCK_SCRATCH is left out")]
    assert "penstock.toml" in scratch


def test_scrontab_takes_no_percent_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SCRATCH", "/a%b")
    with pytest.raises(UsageError, match="no way to write %"):
        install.plan(project(tmp_path), "scrontab")
