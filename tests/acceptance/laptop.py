"""A project on a laptop, and a cluster by SSH: a real sshd, before a real Slurm or the model."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock.settings import Cluster
from penstock.transport.peer import Shared
from tests.acceptance.conftest import Site, local_site
from tests.sshd import Proxy, Sshd

WORK = """
import os, sys
import penstock
x = int(sys.argv[1])
penstock.log_metric("double", 2 * x)
print("x is", x)
os.makedirs("deep")
open("deep/out.txt", "w").write(str(x))
open(os.path.join(sys.argv[2], f"ran.{x}"), "a").write("once\\n")
"""
SWEEP = """
experiment: far
command: [python3, work.py, "{x}", "WITNESS"]
params: {x: [1, 2, 3, 4]}
outputs: [deep]
request: {mem: 50M, time: 5m}
"""


@dataclass
class Laptop:
    """A project of who runs the tests, and a cluster where only another may do things."""

    site: Site
    server: Sshd
    proxy: Proxy
    home: Path  # of Penstock, there
    witness: Path  # where each run says that it ran
    runtime: Path  # where the sockets are of processes that have connections

    def sweep(self) -> str:
        return SWEEP.replace("WITNESS", str(self.witness))

    def ran(self) -> dict[str, int]:
        """Return how often each run ran."""
        found = self.witness.glob("ran.*")
        return {one.name: len(one.read_text().splitlines()) for one in found}

    def finish(self) -> None:
        """Bring all to its end."""
        self.site.env.pop("PENSTOCK_FAILPOINT", None)
        self.site("watch", "far")

    def is_right(self) -> None:
        runs = self.site.json("runs", "experiment = far")
        assert [run["state"] for run in runs] == ["completed"] * 4
        assert [run["metrics"] for run in runs] == [{"double": 2 * x} for x in (1, 2, 3, 4)]
        assert self.ran() == {f"ran.{x}": 1 for x in (1, 2, 3, 4)}

    def asked(self) -> list[str]:
        """Return what was asked of the cluster."""
        found = self.site.root.parent.glob(".local/state/penstock/ssh/*.asked")
        return [line.split()[1] for one in found for line in one.read_text().splitlines()]

    def forget(self) -> None:
        """Let the cluster be tried at once, whatever failed before."""
        for file in self.site.root.parent.glob(".local/state/penstock/ssh/*.json"):
            file.unlink(missing_ok=True)

    def leave(self) -> None:
        """End the processes that have connections."""
        for path in self.runtime.glob("penstock/*.socket"):
            one = Shared("big", Cluster(host="login"), self.site.root)
            one.path = path
            one.end()
            while path.exists() and one.is_up():
                time.sleep(0.05)


@contextmanager
def laptop_of(server: Sshd, folder: Path, *, more: str = "") -> Iterator[Laptop]:
    """Make a project in a folder; ``more`` are settings of the cluster."""
    user = server.users[0]
    site = local_site(folder)
    proxy = Proxy(server.port)
    ssh = folder / ".ssh"
    ssh.mkdir()
    (ssh / "known_hosts").write_text(server.known_hosts(proxy.port))
    (ssh / "config").write_text(
        f"Host login\n  HostName 127.0.0.1\n  Port {proxy.port}\n  User {user}\n"
        f"  IdentityFile {server.folder}/id\n"
    )
    there = Path(tempfile.mkdtemp(prefix="penstock-there-"))
    witness = there / "witness"
    witness.mkdir()
    for one in (there, witness):
        shutil.chown(one, user)
    with (site.root / "penstock.toml").open("a") as settings:
        settings.write(f'[clusters.big]\nhost = "login"\nhome = "{there}/home"\n{more}')
    runtime = Path(tempfile.mkdtemp(prefix="penstock-run-"))
    site.env = {"XDG_RUNTIME_DIR": str(runtime), "PENSTOCK_ACCOUNTING_LAG_S": "2"}
    site.write("work.py", WORK)
    found = Laptop(site, server, proxy, there / "home", witness, runtime)
    try:
        yield found
    finally:
        found.leave()
        proxy.close()
        shutil.rmtree(there)
        shutil.rmtree(runtime)
