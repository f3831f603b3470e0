"""A PostgreSQL of the tests' own: in a folder, on a socket there, as an ordinary user.

Its programs are Debian's (`apt-get install postgresql`); nothing system-wide is touched or started.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.testing.places import as_user

MISSING = "needs PostgreSQL (Debian: apt-get install postgresql)"
_PLACES = "/usr/lib/postgresql"  # Debian's: below it a folder for each version
# Ends a server, and removes its folder, when whoever holds the other end of its stdin is gone.
_GUARD = 'cat >/dev/null; "$1/pg_ctl" stop --mode immediate --pgdata "$2/data"; rm -rf "$2"'
_UNSAFE = ("fsync=off", "full_page_writes=off")  # only where the machine itself may crash


def programs() -> Path | None:
    """Return the folder of initdb, pg_ctl and the others; None: it is not here."""
    found = [path.parent for path in Path(_PLACES).glob("*/bin/pg_ctl")]
    on_path = shutil.which("pg_ctl")
    found += [Path(on_path).resolve().parent] if on_path else []
    whole = [folder for folder in found if (folder / "initdb").exists()]
    return max(
        whole, key=lambda folder: int("0" + "".join(filter(str.isdigit, str(folder)))), default=None
    )


@dataclass(frozen=True)
class Server:
    """A server; each test makes a database of its own."""

    folder: Path
    programs: Path
    user: str  # whose processes they are: not root's, which PostgreSQL refuses
    port: int
    settings: tuple[str, ...] = ()

    def run(self, *argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its programs."""
        env = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
        }
        words = [str(word) for word in argv]
        done = subprocess.run(
            words, env=env, cwd=self.folder, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=120, **as_user(self.user),
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done

    def guard(self) -> "subprocess.Popen[bytes]":
        """Start what ends it when this process is no more, however that came."""
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.programs), str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"}, cwd="/", start_new_session=True,
            **as_user(self.user),
        )  # fmt: skip

    def make(self, *options: str) -> None:
        """Make its files: its superuser is penstock, who needs no password on the socket."""
        self.run(
            "initdb", "--pgdata", self.folder / "data", "--username=penstock", *options,
            "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        given = (
            "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}",
            f"port={self.port}", *self.settings,
        )  # fmt: skip
        words = " ".join(f"-c {word}" for word in given)
        log = self.folder / "log"
        self.run(
            "pg_ctl", "start", "--wait", "--pgdata", self.folder / "data", "--log", log,
            "--options", words,
        )  # fmt: skip

    def stop(self, how: str = "immediate") -> None:
        """End it, as a crash would."""
        self.run(
            "pg_ctl", "stop", "--wait", "--mode", how, "--pgdata", self.folder / "data", check=False
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop its processes where they are: the kernel still takes what is sent to them."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(first, signal.SIGSTOP)  # before it makes one more
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        every = [first, *map(int, children)]
        for pid in every:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in every:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as the superuser; return what it printed."""
        return self.run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--set=ON_ERROR_STOP=1", "--host", self.folder, "--port", str(self.port),
            "--username=penstock", "--dbname", database, "--command", statement,
        ).stdout.strip()  # fmt: skip

    def url(self, database: str, user: str = "penstock") -> str:
        """Return the URL of a database, on the socket."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}&port={self.port}"


@contextmanager
def running(settings: Sequence[str] = _UNSAFE) -> Iterator[Server]:
    """Yield a server that runs, and end it."""
    where = programs()
    assert where is not None, MISSING
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's name is short
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    server = Server(folder, where, user, _free_port(), tuple(settings))
    guard = server.guard()
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
        guard.communicate()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
