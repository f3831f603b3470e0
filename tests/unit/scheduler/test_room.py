import re

import pytest

from penstock.scheduler.room import Qos, pairs, qos_table, room
from tests.unit.scheduler import recorded

NORMAL = {"lab": "normal"}
FREE = {"normal": Qos()}


def bob(used: int = 0) -> str:
    text = recorded.out("scontrol.assoc-bob")
    return re.sub(r"MaxSubmitJobs=20\(\d+\)", f"MaxSubmitJobs=20({used})", text)


def test_room_of_a_user_without_limits_is_not_known() -> None:
    assert room(recorded.out("scontrol.assoc-alice"), "alice", NORMAL, FREE) is None


@pytest.mark.parametrize("used, left", [(0, 20), (7, 13), (20, 0), (25, 0)])
def test_room_is_what_the_association_leaves(used: int, left: int) -> None:
    assert room(bob(used), "bob", NORMAL, FREE) == left


def test_room_of_a_stranger_is_not_known() -> None:
    assert room(bob(), "eve", NORMAL, FREE) is None


def test_room_counts_the_limits_of_accounts_above() -> None:
    head, mark, tail = bob().partition("Account=lab UserName= ")
    assert mark
    limited = head + mark + tail.replace("GrpSubmitJobs=N(", "GrpSubmitJobs=9(", 1)
    used = int(limited.partition("GrpSubmitJobs=9(")[2].partition(")")[0])
    assert room(limited, "bob", NORMAL, FREE) == max(9 - used, 0)


QOS = """
QOS Records

QOS=normal(1)
    GrpJobs=N(1) GrpJobsAccrue=N(2) GrpSubmitJobs=50(43) GrpWall=N(0.00)
    Account Limits
      lab
        MaxJobsPA=N(1) MaxJobsAccruePA=N(2) MaxSubmitJobsPA=30(25)
    User Limits
      1001
        MaxJobsPU=N(1) MaxJobsAccruePU=N(2) MaxSubmitJobsPU=10(9)
      1002
        MaxJobsPU=N(1) MaxJobsAccruePU=N(2) MaxSubmitJobsPU=10(4)
QOS=few(2)
    GrpJobs=N(0) GrpJobsAccrue=N(0) GrpSubmitJobs=N(0) GrpWall=N(0.00)
    User Limits
        No Users
"""
ALICE = (
    "ClusterName=c Account=lab UserName=alice(1001) Partition= ID=4\n"
    "    ParentAccount= Lft=15 DefAssoc=Yes\n    GrpSubmitJobs=N(9)\n    MaxSubmitJobs=\n"
)


@pytest.mark.parametrize(
    "name, limits, left",
    [
        ("normal", Qos(), None),
        ("normal", Qos(group=50), 7),
        ("normal", Qos(user=10), 1),
        ("normal", Qos(account=30), 5),
        ("normal", Qos(50, 10, 30), 1),
        ("few", Qos(user=10), 10),  # its use is shown only once there was some
        ("unseen", Qos(user=10), 10),
    ],
)
def test_room_is_what_the_default_qos_leaves(name: str, limits: Qos, left: int | None) -> None:
    assert room(ALICE + QOS, "alice", {"lab": name}, {name: limits}) == left


def test_room_reads_the_qos_in_the_recording() -> None:
    table = qos_table("normal|||\nfew||10|\n")
    assert table == {"normal": Qos(), "few": Qos(user=10)}


def test_qos_table_takes_no_other_line() -> None:
    assert qos_table("warning: something\n") == {}


def test_pairs_reads_a_record() -> None:
    assert pairs("A=1 B= C=x=y\n  D=20(3)") == {"A": "1", "B": "", "C": "x=y", "D": "20(3)"}
