"""Let the system keep a project up to date: a systemd user unit, a crontab line, a scrontab line.

What is written is marked with the project's folder, so that installing again changes nothing, and
uninstalling finds it.
"""

import hashlib
import os
import pwd
import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from penstock.daemon.process import STOP_S, argv
from penstock.errors import NotFoundError, TransportError, UsageError
from penstock.service.project import Project
from penstock.settings.fields import Settings, has_password
from penstock.settings.files import PROJECT_FILE
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Finished

KINDS = ("systemd", "cron", "scrontab")
EVERY_MIN = 5
SITE = "PENSTOCK_SITE"
SETTINGS = {f"PENSTOCK_{one.name.upper()}" for one in fields(Settings)} - {"PENSTOCK_ROOT"}
LINGER_OFF = (
    "linger is off (or not known): the daemon ends when you log out. `loginctl enable-linger` "
    "sets it where you may, else ask your administrator, or take --kind cron"
)
CRON_HERE = "cron runs on this host only; does yours keep crontabs?"
BEGIN, END = "# penstock begin", "# penstock end"


@dataclass(frozen=True)
class Plan:
    """What would be written, where, and what should be known before."""

    kind: str
    where: str
    text: str
    notes: tuple[str, ...] = ()


def choose() -> str:
    """Return what this machine has: systemd for users, else scrontab, else cron."""
    for kind, command in (
        ("systemd", ["systemctl", "--user", "show-environment"]),
        ("scrontab", ["scrontab", "-l"]),
    ):
        done = _run(command)
        if done is not None and done.code == 0:
            return kind
    return "cron"


def plan(project: Project, kind: str) -> Plan:
    """Return what installing would write. Raises UsageError for a folder that cannot be named."""
    root = str(project.settings.root)
    if not root.isprintable():
        raise UsageError(f"the folder's name {root!r} cannot stand in a file of {kind}")
    if kind == "systemd":
        notes = (*_linger(project), *_left_out())
        return Plan(kind, str(unit_path(project)), unit(project), notes)
    text = block(project, kind)
    if kind == "scrontab" and "%" in text:
        raise UsageError("scrontab has no way to write %", hint="--kind cron has")
    notes = (*([] if kind == "scrontab" else [CRON_HERE]), *_left_out())
    return Plan(kind, f"your {_program(kind)}", text, notes)


def install(project: Project, kind: str) -> None:
    """Write it, and let it begin. Raises TransportError or NotFoundError where it cannot be."""
    made = plan(project, kind)
    if kind != "systemd":
        _write_table(kind, without(_table(kind), str(project.settings.root)) + made.text)
        return
    path = unit_path(project)
    LocalTransport().put(str(path), made.text.encode())
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", path.name)


def uninstall(project: Project, kind: str) -> bool:
    """Take it away; return whether it was there."""
    if kind != "systemd":
        before = _table(kind)
        after = without(before, str(project.settings.root))
        if after != before:
            _write_table(kind, after)
        return after != before
    path = unit_path(project)
    if not path.exists():
        return False
    _systemctl("disable", "--now", path.name)
    path.unlink()
    _systemctl("daemon-reload")
    return True


# --- systemd --------------------------------------------------------------------------------------


def unit_path(project: Project) -> Path:
    """Return the unit's file; its name tells projects of one name apart."""
    root = str(project.settings.root)
    digest = hashlib.sha256(root.encode()).hexdigest()[:8]
    name = "".join(char if char.isalnum() else "-" for char in project.settings.root.name)
    config = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser()
    return config / "systemd" / "user" / f"penstock-{name}-{digest}.service"


def unit(project: Project) -> str:
    """Return the unit. What is found here by PATH has to be found there too."""
    words = " ".join(_quoted(word) for word in argv(project, "daemon", "run", "--log"))
    # A $ means nothing there, and may not be doubled. Source: systemd.exec(5).
    lines = [f"Environment={_escaped(f'{name}={value}')}" for name, value in _environment()]
    described = str(project.settings.root).replace("%", "%%")
    return "\n".join(
        [
            "[Unit]",
            f"Description=Penstock keeps {described} up to date",
            "",
            "[Service]",
            *lines,
            f"ExecStart={words}",
            "Restart=on-failure",
            "RestartSec=60",
            f"TimeoutStopSec={STOP_S + 30}",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def _quoted(word: str) -> str:
    """Return a word of a command as a unit has it. Source: systemd.service(5)."""
    return _escaped(word).replace("$", "$$")


def _escaped(word: str) -> str:
    """Return a word as a unit has it. Source: systemd.syntax(7)."""
    for char, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        word = word.replace(char, written)
    return f'"{word}"'


def _environment() -> list[tuple[str, str]]:
    """Return the variables that what is installed has to have: as here, where they are set."""
    return [(name, value) for name, value in _variables() if not _why_not(name, value)]


def _variables() -> list[tuple[str, str]]:
    mine = {name: value for name, value in os.environ.items() if name.upper() in SETTINGS}
    if os.environ.get(SITE):  # it may be relative, and nobody else starts here
        mine[SITE] = str(Path(os.environ[SITE]).absolute())
    usual = {name: os.environ[name] for name in ("PATH", "SLURM_CONF") if os.environ.get(name)}
    return [*usual.items(), *sorted(mine.items())]


def _why_not(name: str, value: str) -> str:
    if name.upper() == "PENSTOCK_STORE" and has_password(value):
        return (
            "its URL has a password, and what is written can be read by others: put the password "
            "into ~/.pgpass (mode 600: HOST:PORT:DATABASE:USER:PASSWORD), and the URL without it "
            f"into {PROJECT_FILE} (`store`) or the variable"
        )
    if not value.isprintable():
        return f"its value cannot stand in such a file: set it in {PROJECT_FILE}"
    return ""


def _left_out() -> list[str]:
    """Say which variables are not written, and what to do."""
    found = ((name, _why_not(name, value)) for name, value in _variables())
    return [f"${name} is left out: {why}" for name, why in found if why]


def _linger(project: Project) -> list[str]:
    """Say whether a user's units go on when the user logs out."""
    done = _run(["loginctl", "show-user", project.user, "--property=Linger", "--value"])
    if done is not None and done.out.strip() == "yes":
        return []
    return [LINGER_OFF]


def _systemctl(*words: str) -> None:
    done = _run(["systemctl", "--user", *words])
    if done is None:
        raise NotFoundError("there is no systemctl here", hint="--kind cron does without it")
    if done.code != 0:
        raise TransportError(
            f"systemctl --user {' '.join(words)} failed: {done.err.strip()}",
            hint="is there a systemd for users here? --kind cron does without it",
        )


# --- cron and scrontab ----------------------------------------------------------------------------


def block(project: Project, kind: str) -> str:
    """Return the lines for a table, between marks."""
    root = str(project.settings.root)
    words = " ".join(shlex.quote(word) for word in argv(project, "tick"))
    named = " ".join(f"{name}={shlex.quote(value)}" for name, value in _environment())
    command = f"env {named} {words} >/dev/null"
    lines = [f"{BEGIN} {root}"]
    if kind == "scrontab":
        lines += ["#SCRON --job-name=penstock-tick --time=10 --mem=300M --output=/dev/null"]
    else:
        command = command.replace("%", "\\%")  # else cron ends the line there
    return "\n".join([*lines, f"*/{EVERY_MIN} * * * * {command}", f"{END} {root}", ""])


def without(table: str, root: str) -> str:
    """Return a table without the lines of a project; what has only one mark is left alone."""
    lines = table.splitlines(keepends=True)
    plain = [line.rstrip("\n") for line in lines]
    begin, end = f"{BEGIN} {root}", f"{END} {root}"
    if begin not in plain or end not in plain[plain.index(begin) :]:
        return table if not table or table.endswith("\n") else table + "\n"
    first = plain.index(begin)
    last = plain.index(end, first)
    return without("".join(lines[:first] + lines[last + 1 :]), root)


def _program(kind: str) -> str:
    return "scrontab" if kind == "scrontab" else "crontab"


def _table(kind: str) -> str:
    done = _run([_program(kind), "-l"])
    if done is None:
        raise NotFoundError(f"there is no {_program(kind)} here", hint="try another --kind")
    if done.code == 0:
        return done.out
    if "no crontab" in done.err.lower() or "no scrontab" in done.err.lower():
        return ""
    user = pwd.getpwuid(os.getuid()).pw_name
    raise TransportError(
        f"{_program(kind)} -l failed for {user}: {done.err.strip() or done.code}",
        hint="nothing was changed; may you use it here? try another --kind",
    )


def _write_table(kind: str, text: str) -> None:
    done = _run([_program(kind), "-"], text)
    if done is None or done.code != 0:
        said = done.err.strip() if done else "it is not there"
        raise TransportError(f"{_program(kind)} refused: {said}", hint="nothing was changed")


def _run(command: list[str], stdin: str = "") -> Finished | None:
    """Run a program; None: it is not there. A user's systemd is found by XDG_RUNTIME_DIR."""
    names = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
    given = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    argv_ = ["env", *given, *command] if given else command
    try:
        done = LocalTransport().run(argv_, stdin=stdin.encode(), timeout_s=30)
    except TransportError:
        return None
    return None if done.code == 127 else done
