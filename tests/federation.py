"""A second cluster in a federation with a Slurm of the tests' own: both ask one slurmdbd."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.own_slurm import OwnSlurm

NAME = "sibling"
ACCOUNT = ("Account=lab", f"Cluster={NAME}")
SOON_S = 30


@contextmanager
def federated(own: OwnSlurm) -> Iterator[None]:
    """Have the second cluster, of one node, until this ends."""
    home = own.home.with_name(NAME)
    conf = home / "slurm.conf"
    for name in ("state", "spool", "run", "log"):
        (home / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(home / name, "slurm")
    conf.write_text(_of_the_other(Path(own.conf).read_text(), own, home))
    env = {**os.environ, "SLURM_CONF": own.conf}

    def accounts(*words: str) -> None:
        subprocess.run(["sacctmgr", "-i", *words], env=env, capture_output=True, check=True)

    accounts("add", "cluster", NAME)
    accounts("add", "account", "lab", f"Cluster={NAME}")
    accounts("add", "user", "alice", *ACCOUNT)
    controller = ["/usr/sbin/slurmctld", "-D", "-f", str(conf)]
    node = ["/usr/sbin/slurmd", "-D", "-N", "n1", "-f", str(conf)]
    started = [_start(controller, home, user="slurm")]
    try:
        _until(["scontrol", "ping"], "is UP", conf)
        started.append(_start(node, home))
        _until(["sinfo", "-h", "-o", "%T"], "idle", conf)
        accounts("add", "federation", "both", f"clusters=penstock,{NAME}")
        _until(["scontrol", "show", "federation"], "Synced:Yes", Path(own.conf))
        yield
        accounts("delete", "federation", "both")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(SOON_S)


def _of_the_other(text: str, own: OwnSlurm, home: Path) -> str:
    """Return the configuration of the second cluster: other ports, other folders, one node."""
    host = re.search(r"NodeHostname=(\S+)", text)
    assert host
    address = f"NodeHostname={host[1]} NodeAddr=127.0.0.1 Port={own.port_base + 7}"
    kept = [
        line for line in text.splitlines() if not line.startswith(("NodeName=n", "GresTypes", "#"))
    ]
    text = "\n".join([*kept, f"NodeName=n1 {address} Feature=plain", ""])
    text = text.replace("ClusterName=penstock", f"ClusterName={NAME}").replace("n[1-4]", "n1")
    text = re.sub(r"SlurmctldPort=\d+", f"SlurmctldPort={own.port_base + 6}", text)
    return re.sub(rf"{re.escape(str(own.home))}/(state|spool|run|log)\b", rf"{home}/\1", text)


def _start(argv: list[str], home: Path, user: str = "root") -> "subprocess.Popen[bytes]":
    with (home / "log" / f"{Path(argv[0]).name}.out").open("wb") as out:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, "SLURM_CONF": argv[-1]},
            user=user,
            group=user,
            extra_groups=[],
        )


def _until(argv: list[str], wanted: str, conf: Path) -> None:
    end = time.monotonic() + SOON_S
    env = {**os.environ, "SLURM_CONF": str(conf)}
    while True:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        if wanted in done.stdout:
            return
        assert time.monotonic() < end, done
        time.sleep(0.2)
