"""One Slurm in one folder: its parts, how they are started, asked and stopped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local_slurm.accounts import USERS, make_accounts
from deploy.local_slurm.machine import SEARCH_PATH, LocalSlurmError, accepts, make_user, say, tool
from deploy.local_slurm.processes import end, left_by_jobs, read_pid, replace_file, spawn, write_pid

TEMPLATES = Path(__file__).resolve().parent
NODES = ("n1", "n2", "n3", "n4")
PARTS = ("munge", "mariadb", "slurmdbd", "slurmctld", *NODES)
BAD_NODE_WORDS = ("down", "drain", "fail", "unknown", "*", "inval", "reboot", "power")
ENFORCED = "AccountingStorageEnforce=associations,limits,qos"
# Slurm from 23.11 on starts its cgroup plugin even where nothing uses it, and fails where there is
# no tree of cgroups; older versions do not know the word.
NO_CGROUPS = "CgroupPlugin=disabled"
CGROUPS = "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes"
START_DEADLINE_S = 90.0
JOBS_DEADLINE_S = 10.0


@dataclass(frozen=True)
class Options:
    """What `up` can be told; it is kept in the folder, so that a plain `up` changes nothing."""

    max_array_size: int = 1001
    max_job_count: int = 200_000
    min_job_age: int = 5
    kill_wait: int = 5
    slurmd_timeout: int = 30
    requeue_wait: int = 5
    port_base: int = 17_000
    message_timeout: int = 10
    accounting: int = 1  # 0: slurmctld has none, as on many small clusters
    cgroups: int = 0  # 1: the kernel keeps each job within its memory; takes a tree of version 1


@dataclass(frozen=True)
class Part:
    """One daemon: how it is started, and how one knows that it answers."""

    name: str
    argv: tuple[str, ...]
    user: str
    is_ready: Callable[[], bool]


class Site:
    """One local Slurm in its folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.conf = home / "slurm.conf"
        self.last_error = ""
        saved = home / "options.json"
        self.options = Options(**json.loads(saved.read_text())) if saved.exists() else Options()
        controller = (tool("slurmctld"), "-D", "-f", str(self.conf))
        self.parts = (
            self.munge(),
            self.mariadb(),
            Part(
                "slurmdbd",
                (tool("slurmdbd"), "-D"),
                "root",
                # Where Slurm is told to have no accounting, sacctmgr does not even ask.
                lambda: (
                    not self.options.accounting or self.succeeds("sacctmgr", "-n", "show", "user")
                ),
            ),
            Part("slurmctld", controller, "root", self.controller_answers),
            *(self.slurmd(node) for node in NODES),
        )

    def munge(self) -> Part:
        folder = self.home / "munge"
        options = (
            f"--key-file={folder}/key",
            f"--seed-file={folder}/seed",
            f"--pid-file={folder}/own.pid",
        )
        argv = (
            tool("munged"),
            "--foreground",
            "--num-threads=4",
            f"--socket={folder}/socket",
            *options,
        )
        return Part(
            "munge", argv, "munge", lambda: self.succeeds("munge", "-n", "-S", f"{folder}/socket")
        )

    def mariadb(self) -> Part:
        folder = self.home / "mariadb"
        options = (
            f"--datadir={folder}/data",
            f"--pid-file={folder}/own.pid",
            f"--init-file={self.home}/init.sql",
        )
        # What it stores need not survive a power cut, and waiting for the disk would be slow.
        quick = (
            "--skip-networking",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-lock-wait-timeout=900",
        )
        argv = (
            tool("mariadbd"),
            "--no-defaults",
            "--user=mysql",
            f"--socket={folder}/socket",
            *options,
            *quick,
        )
        return Part("mariadb", argv, "root", lambda: accepts(folder / "socket"))

    def slurmd(self, node: str) -> Part:
        argv = (tool("slurmd"), "-D", "-N", node, "-f", str(self.conf))
        return Part(node, argv, "root", lambda: self.node_states().get(node) == "usable")

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def environment(self) -> dict[str, str]:
        """Return the few variables that daemons and commands get: no SLURM_* of the caller's."""
        kept = {key: os.environ[key] for key in ("TZ", "LANG") if key in os.environ}
        # slurmdbd connects to "localhost"; this names the socket that stands for.
        sockets = {"MYSQL_UNIX_PORT": f"{self.home}/mariadb/socket"}
        return {**kept, **sockets, "PATH": SEARCH_PATH, "SLURM_CONF": str(self.conf)}

    def run(self, *argv: str, timeout_s: float = 20) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                argv,
                env=self.environment(),
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            done = subprocess.CompletedProcess(argv, 124, "", f"no answer in {timeout_s:.0f} s")
        self.last_error = (
            f"`{' '.join(argv)}` ({done.returncode}): {(done.stderr or done.stdout).strip()}"
        )
        return done

    def succeeds(self, *argv: str) -> bool:
        return self.run(*argv).returncode == 0

    def must(self, *argv: str) -> str:
        done = self.run(*argv, timeout_s=120)
        if done.returncode != 0:
            raise LocalSlurmError(f"this failed: {self.last_error}")
        return done.stdout

    def controller_answers(self) -> bool:
        return "is UP" in self.run("scontrol", "ping").stdout

    def node_states(self) -> dict[str, str]:
        """Return each node's state as sinfo has it, or `usable` for the many words that mean so."""
        rows = [
            line.split()
            for line in self.run(
                "sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T"
            ).stdout.splitlines()
        ]
        return {
            n: word if any(bad in word for bad in BAD_NODE_WORDS) else "usable" for n, word in rows
        }

    def pid(self, part: Part) -> int | None:
        return read_pid(self.home / "run" / f"{part.name}.pid", part.argv[0])

    def start(self, part: Part) -> None:
        """Start a part unless it runs. It does not wait until the part answers."""
        if self.pid(part) is None:
            pid = spawn(
                part.argv, part.user, self.environment(), self.home / "log" / f"{part.name}.out"
            )
            write_pid(self.home / "run" / f"{part.name}.pid", pid)
            say(f"{part.name}: started, pid {pid}")

    def stop(self, parts: Sequence[Part]) -> None:
        """End parts together."""
        pids = {part.name: pid for part in parts if (pid := self.pid(part)) is not None}
        end(list(pids.values()))
        for part in parts:
            (self.home / "run" / f"{part.name}.pid").unlink(missing_ok=True)
            if part.name in pids:
                say(f"{part.name}: stopped")

    def wait(self, part: Part, deadline: float) -> None:
        while not part.is_ready():
            advice = "Mend that and run `up` again, or `down --remove` to begin afresh."
            advice = f"{self.tail(part)}\n{advice}"
            if self.pid(part) is None:
                raise LocalSlurmError(f"{part.name} ended while it started.\n{advice}")
            if time.monotonic() > deadline:
                raise LocalSlurmError(
                    f"{part.name} runs but does not answer: {self.last_error}\n{advice}"
                )
            time.sleep(0.05)

    def tail(self, part: Part, lines: int = 15) -> str:
        log = self.home / "log" / f"{part.name}.out"
        text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
        return "\n".join([f"The end of {log}:", *(f"    {line}" for line in text)])

    def up(self, options: Options) -> None:
        for user in USERS:
            make_user(user)
        self.make_folders()
        if self.render(options):
            self.stop(
                [part for part in self.parts if part.name in ("slurmdbd", "slurmctld", *NODES)]
            )
        self.check_ports()
        deadline = time.monotonic() + START_DEADLINE_S
        for name in ("munge", "mariadb"):
            self.start(self.part(name))
        for name in ("munge", "mariadb", "slurmdbd"):
            self.start(self.part(name))
            self.wait(self.part(name), deadline)
        if options.accounting:
            make_accounts(self.must)
        for name in ("slurmctld", *NODES):
            self.start(self.part(name))
        self.wait(self.part("slurmctld"), deadline)
        self.wait_for_nodes(deadline)
        say(f'Slurm is up. For a shell: eval "$({sys.argv[0]} env)"')

    def make_folders(self) -> None:
        owners = {
            "munge": "munge",
            "mariadb": "mysql",
            "mariadb/data": "mysql",
            "state": "slurm",
            "log": "slurm",
        }
        for name, owner in {**owners, "run": "slurm", "spool": "root"}.items():
            folder = self.home / name
            folder.mkdir(mode=0o755, exist_ok=True)
            shutil.chown(folder, owner, owner)
        for node in NODES:
            (self.home / "spool" / node).mkdir(mode=0o755, exist_ok=True)
        key = self.home / "munge" / "key"
        if not key.exists():
            replace_file(key, os.urandom(128), mode=0o600, owner="munge")
        made = self.home / "mariadb" / "made"
        if not made.exists():
            data = (
                f"--datadir={self.home}/mariadb/data",
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
            )
            self.must("mariadb-install-db", "--no-defaults", "--user=mysql", *data)
            made.touch()

    def render(self, options: Options) -> bool:
        """Write the configuration; return whether it differs from what Slurm runs with."""
        base = options.port_base
        ports = {
            "ctld_port": base,
            **{f"{node}_port": base + i for i, node in enumerate(NODES, 1)},
            "dbd_port": base + 5,
        }
        values = {
            **asdict(options),
            **ports,
            "home": self.home,
            "accounting_type": "slurmdbd" if options.accounting else "none",
            "enforced": ENFORCED if options.accounting else "",  # Slurm refuses it without
            "task_plugin": "cgroup" if options.cgroups else "none",
            "memory_params": "NoOverMemoryKill" if options.cgroups else "OverMemoryKill",
            "cgroup_plugin": CGROUPS if options.cgroups else NO_CGROUPS,
            "host": socket.gethostname().split(".")[0],
        }
        is_changed = False
        for template in sorted(TEMPLATES.glob("*.in")):
            target = self.home / template.stem
            if target.name == "cgroup.conf" and not options.cgroups and self.version() < (23, 11):
                target.unlink(missing_ok=True)
                continue
            text = string.Template(template.read_text()).substitute(values).encode()
            if not target.exists() or target.read_bytes() != text:
                is_secret = target.name == "slurmdbd.conf"  # slurmdbd refuses it otherwise
                replace_file(
                    target,
                    text,
                    mode=0o600 if is_secret else 0o644,
                    owner="slurm" if is_secret else "root",
                )
                is_changed = True
        replace_file(self.home / "options.json", json.dumps(asdict(options)).encode())
        self.options = options
        return is_changed

    def version(self) -> tuple[int, ...]:
        return tuple(
            int(number) for number in self.must("slurmctld", "-V").split()[-1].split(".")[:2]
        )

    def check_ports(self) -> None:
        base = self.options.port_base
        for name, port in {
            "slurmctld": base,
            **{n: base + i for i, n in enumerate(NODES, 1)},
            "slurmdbd": base + 5,
        }.items():
            with socket.socket() as probe:
                if self.pid(self.part(name)) is None and probe.connect_ex(("127.0.0.1", port)) == 0:
                    advice = "choose others with `up --port-base`, or end what listens there"
                    raise LocalSlurmError(
                        f"port {port}, for {name}, is taken by another program: {advice}"
                    )

    def wait_for_nodes(self, deadline: float) -> None:
        stuck = [
            node
            for node, word in self.node_states().items()
            if "drain" in word or word.startswith("down")
        ]
        if stuck:
            self.run("scontrol", "update", f"NodeName={','.join(stuck)}", "State=RESUME")
        for node in NODES:
            self.wait(self.part(node), deadline)

    def down(self) -> None:
        if self.pid(self.part("slurmctld")) is not None:
            self.end_jobs()
        self.stop([self.part(name) for name in ("slurmctld", *NODES)])
        if left := left_by_jobs(self.home, NODES):
            say(f"ending {len(left)} processes that jobs left behind")
            end(left)
        for name in ("slurmdbd", "mariadb", "munge"):
            self.stop([self.part(name)])

    def end_jobs(self) -> None:
        """Cancel every job, waiting or running, and give their ends a few seconds to arrive."""
        self.run("scancel", "--quiet", "--state=PENDING")
        # Killed first: a job that is being cancelled has KillWait to ignore its SIGTERM.
        self.run("scancel", "--quiet", "--full", "--signal=KILL", "--state=RUNNING")
        for state in ("RUNNING", "SUSPENDED"):
            self.run("scancel", "--quiet", f"--state={state}")
        deadline = time.monotonic() + JOBS_DEADLINE_S
        while (
            self.run("squeue", "-h", "-t", "RUNNING,COMPLETING,SUSPENDED").stdout
            and time.monotonic() < deadline
        ):
            time.sleep(0.1)

    def status(self) -> bool:
        """Print a line for each part; return whether all are up and all nodes usable."""
        states = self.node_states() if self.conf.exists() else {}
        is_green = True
        for part in self.parts:
            pid = self.pid(part)
            word = (
                "down"
                if pid is None
                else "up"
                if part.name in NODES or part.is_ready()
                else "no answer"
            )
            detail = f"node {states.get(part.name, 'unknown')}" if part.name in NODES else ""
            is_green &= word == "up" and detail in ("", "node usable")
            print(f"{part.name:<10} {pid or '-':>8}  {word:<10} {detail}".rstrip())
        return is_green
