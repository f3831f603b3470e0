"""Two login nodes, two users, a laptop: one store, each run once."""

import json
import threading
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.containers import GOOD, NODES, STEADY, Seat

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

TEN = {"n": {"from": 1, "to": 10}}
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def witness(seat: Seat) -> str:
    """Return a script that leaves a line for each time that it runs."""
    return f'echo "$PENSTOCK_RUN" >> {seat.root}/ran'


def ran_once(seat: Seat, experiment: str, count: int) -> None:
    """Check that each run has completed, and that its command ran once."""
    assert seat.states(experiment) == [GOOD] * count
    ran = [line for line in seat.read("ran") if line.startswith(f"{experiment}/")]
    assert sorted(ran) == sorted(f"{experiment}/{n}" for n in range(1, count + 1))


def at_once(*seats_and_work: "threading.Thread") -> None:
    for one in seats_and_work:
        one.start()
    for one in seats_and_work:
        one.join()


def test_a_second_daemon_says_where_the_first_one_is(alice: Seat) -> None:
    """And takes over when the first one has been ended."""
    there = alice.at("login2")
    alice("daemon", "start")
    try:
        assert "on login1" in there("daemon", "start", code=2).stderr
        assert "on login1" in there("daemon", "stop", code=2).stderr
        assert there.json("daemon", "status")["host"] == "login1"
        there.submit("kept", witness(alice), params={"n": [1, 2, 3]})
        alice.until(lambda: len(alice.read("ran")) == 3, "the runs")
    finally:
        alice("daemon", "stop")
    there("daemon", "start")
    try:
        alice.submit("more", witness(alice), params={"n": [1, 2, 3]})
        ran_once(there, "more", 3)
    finally:
        there("daemon", "stop")
    ran_once(alice, "kept", 3)


def test_two_login_nodes_that_act_by_turns_send_each_run_once(alice: Seat) -> None:
    """A daemon here, one tick after the other there: the lease and its fence keep them apart."""
    there = alice.at("login2")
    alice("daemon", "start")
    alice.write("going", "")
    script = "while [ -e going ]; do penstock tick; done >/dev/null 2>&1"
    ticks = threading.Thread(target=there.run, args=("sh", "-c", script), kwargs={"timeout_s": 300})
    ticks.start()
    names = [f"{number}{uuid4().hex[:8]}" for number in ("one", "two")]
    try:
        script = witness(alice)
        at_once(
            *(
                threading.Thread(target=seat.submit, args=(name, script), kwargs={"params": TEN})
                for seat, name in zip((alice, there), names, strict=True)
            )
        )
        for name in names:
            ran_once(alice, name, 10)
    finally:
        alice.shell("rm going")
        ticks.join()
        alice("daemon", "stop")
    rows = alice.shell("sacct -nPXu alice -S now-1hour -o JobID,JobName").split()
    arrays = {row.partition("_")[0] for row in rows if row.endswith(tuple(names))}
    assert len(arrays) == 2, rows
    assert "whole" in alice("store", "check").stderr


@pytest.mark.parametrize("minutes", [4, -4])
def test_clock_of_a_login_node_is_minutes_off(alice: Seat, minutes: int) -> None:
    """It submits, asks and decides; the other one, whose clock is right, does so in between."""
    off = alice.at("login2", LD_PRELOAD=FAKETIME, FAKETIME=f"{minutes * 60:+d}s")
    shown, true = (int(seat.shell("date +%s")) for seat in (off, alice))
    assert abs(shown - true - minutes * 60) < 30
    off.submit("skew", f"{witness(alice)}; sleep 3", params={"n": [1, 2, 3]})
    off("daemon", "start")
    try:
        alice.submit("right", f"{witness(alice)}; sleep 3", params={"n": [1, 2, 3]})
        off.submit("fails", "exit 3")
        for name in ("skew", "right"):
            ran_once(alice, name, 3)
        assert off.states("fails") == [("failed", "exit", 1)]
    finally:
        off("daemon", "stop")
    for run in ("skew/1", "right/1"):
        for seat in (alice, off):
            attempt = seat.last(run)
            # What is shown mixes the reader's clock and the node's: off by as much as they differ.
            assert 0 <= seconds(attempt, "started_at", "ended_at") < 60 + 60 * abs(minutes)
    off.submit("gone", "sleep 100", request={"options": ["--hold"]})
    off("cancel", "gone/1")
    assert off.states("gone") == [("cancelled", "user", 1)]


def seconds(attempt: dict[str, Any], first: str, second: str) -> float:
    began, ended = (datetime.fromisoformat(attempt[name]) for name in (first, second))
    return (ended - began).total_seconds()


def test_store_is_written_from_two_login_nodes_at_once(alice: Seat) -> None:
    """SQLite's locks hold between machines that share a file system which has them."""
    there = alice.at("login2")

    def work(seat: Seat, number: int) -> None:
        for turn in range(3):
            seat.submit(f"w{number}-{turn}", witness(alice), params={"n": [1, 2]})
            seat("tick")
            seat("runs", "--limit", 5)

    def read() -> None:
        seen, until = 0, time.monotonic() + 200
        while seen < 24 and time.monotonic() < until:
            found = there.json("runs")
            assert len(found) >= seen, "what was there is there"
            assert len(found) % 2 == 0, "a submission is there as a whole"
            seen = len(found)

    at_once(
        threading.Thread(target=read),
        *(
            threading.Thread(target=work, args=((alice, there)[number % 2], number))
            for number in range(4)
        ),
    )
    for number in range(4):
        for turn in range(3):
            ran_once(alice, f"w{number}-{turn}", 2)
    assert "whole" in there("store", "check").stderr


def test_doctor_proves_locks_between_the_login_node_and_a_node(alice: Seat) -> None:
    """A job tries to take what the login node holds: a lock, and one of the store's own."""
    alice("doctor", "--job")
    hosts = json.loads("".join(alice.read(".penstock/locks.json")))["hosts"]
    assert [found["proven"] for host, found in hosts.items() if host in NODES] == [True]


# --- users


def test_project_of_another_is_closed_to_others(alice: Seat) -> None:
    """Her home is hers: neither project nor results can be read, and that is said in a line."""
    alice.submit("hers", "echo secret > out", outputs=["out"])
    assert alice.states("hers") == [GOOD]
    bob = Seat(alice.cluster, "/shared/home/bob", user="bob")
    for words in (("runs",), ("submit", f"{alice.root}/hers.yaml")):
        said = bob("--project", alice.root, *words, code=4).stderr
        assert said.count("penstock: ") == 1
    assert bob.run("cat", f"{alice.root}/runs/hers/1/out").returncode == 1
    scratch = ("ls", "/scratch/penstock-2001")  # where the run was, on the node that it ran on
    assert alice.cluster.run(STEADY, *scratch).returncode == 0
    assert "Permission denied" in alice.cluster.run(STEADY, *scratch, user="bob").stderr


def test_two_users_share_a_project_by_their_group(cluster: Cluster) -> None:
    """Each submits as themself, reads what the other's runs told, and cancels none of them."""
    name = f"/shared/projects/lab/p{uuid4().hex[:8]}"
    alice = Seat(cluster, "/shared/projects/lab", umask="002")
    alice("init", name)
    alice.root = name
    bob = alice.at("login2", "bob")
    who = f"{witness(alice)}; id -un > who; echo loss=0.5"
    told: dict[str, Any] = {"outputs": ["who"], "metrics": "stdout", "params": {"n": [1, 2]}}
    alice.submit("hers", who, **told)
    bob.submit("his", who, **told)
    for seat, mine in ((alice, "hers"), (bob, "his")):
        assert seat.states(mine) == [GOOD] * 2  # each one's commands bring their own runs on
    for seat, other, theirs in ((alice, "bob", "his"), (bob, "alice", "hers")):
        assert seat.states(theirs) == [GOOD] * 2
        assert seat.read(f"runs/{theirs}/1/who") == [other]
        assert seat("logs", f"{theirs}/1").stdout == "loss=0.5\n"
    alice.submit("long", "sleep 600")
    assert "a run of alice, who alone may cancel it" in bob("cancel", "long/1", code=2).stderr
    alice("cancel", "long/1")
    assert alice.states("long") == [("cancelled", "user", 1)]
    assert sorted(bob.read("ran")) == ["hers/1", "hers/2", "his/1", "his/2"]
    assert "whole" in bob("store", "check").stderr


def test_postgresql_serves_two_users_on_two_login_nodes(cluster: Cluster) -> None:
    """The store of a project that both work in, each with a daemon: a database, of one role."""
    database = f"d{uuid4().hex[:8]}"
    for line in (
        f"CREATE DATABASE {database} OWNER lab TEMPLATE template0 ENCODING 'UTF8'",
        f"ALTER ROLE alice IN DATABASE {database} SET role = lab",
        f"ALTER ROLE bob IN DATABASE {database} SET role = lab",
    ):
        psql = ("runuser", "-u", "postgres", "--", "psql", "--quiet", "-c", line)
        cluster.must("postgres", *psql)
    folder = f"/shared/projects/lab/{database}"
    alice = Seat(cluster, "/shared/projects/lab", umask="002")
    alice.env = {"PENSTOCK_STORE": f"postgresql+psycopg://postgres/{database}"}
    alice("init", folder)
    alice.root = folder
    bob = alice.at("login2", "bob")
    script = f"{witness(alice)}; echo loss=0.5"
    told: dict[str, Any] = {"metrics": "stdout", "params": TEN}
    for seat in (alice, bob):
        seat("daemon", "start")
    try:
        at_once(
            threading.Thread(target=alice.submit, args=("hers", script), kwargs=told),
            threading.Thread(target=bob.submit, args=("his", script), kwargs=told),
        )
        for seat, name in ((alice, "hers"), (bob, "his")):
            ran_once(seat, name, 10)
    finally:
        for seat in (alice, bob):
            seat("daemon", "stop")
    assert len(bob.json("runs", "metrics.loss = 0.5")) == 20
    assert "whole" in bob("store", "check").stderr
    assert alice.run("ls", ".penstock/penstock.db").returncode != 0


# --- a laptop


def test_laptop_submits_by_ssh(alice: Seat, cluster: Cluster) -> None:
    """It sees nothing of the cluster but its login node's sshd."""
    key = cluster.must("login1", "cat", "/shared/home/alice/.ssh/id_ed25519")
    known = cluster.must("login1", "cat", "/shared/etc/known_hosts/login1")
    laptop = Seat(cluster, "/shared/home/alice", "laptop")
    laptop.shell(
        'umask 077; printf %s "$1" > .ssh/id_ed25519; echo "$2" > .ssh/known_hosts', key, known
    )
    name = f"p{uuid4().hex[:8]}"
    laptop("init", name)
    laptop.root += f"/{name}"
    there = f"{alice.root}/there"
    laptop.shell(
        'echo "$1" >> penstock.toml', f'[clusters.big]\nhost = "login1"\nhome = "{there}"\n'
    )
    script = f"{witness(alice)}; hostname > out; echo loss=0.25"
    far: dict[str, Any] = {"outputs": ["out"], "metrics": "stdout", "params": {"n": [1, 2, 3]}}
    try:
        laptop.submit("far", script, "--cluster", "big", **far)
        assert laptop.states("far") == [GOOD] * 3
        assert sorted(alice.read("ran")) == ["far/1", "far/2", "far/3"]
        assert [run["metrics"] for run in laptop.json("runs", "far")] == [{"loss": 0.25}] * 3
        assert laptop("logs", "far/2").stdout == "loss=0.25\n"
        laptop("fetch", "far/3", "out")
        assert laptop.read("runs/far/3/out")[0] in NODES
    finally:
        laptop("clusters", "--disconnect", "big")
