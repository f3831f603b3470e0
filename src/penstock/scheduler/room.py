"""How many more tasks a user may submit, from what Slurm shows of associations and qos.

Source: ``scontrol show assoc_mgr``, where ``MaxSubmitJobs=20(3)`` is a limit and its use, and ``N``
no limit. Each task of an array counts. The limits are those of the user's default account, of the
accounts above it, and of its default qos; others are met when they are asked for.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

PAIR = re.compile(r"(\w+)=(\S*)")
USE = re.compile(r"(N|\d*)\((\d+)\)")


@dataclass(frozen=True)
class Qos:
    """The submit limits of a qos: in all, of each user, of each account."""

    group: int | None = None
    user: int | None = None
    account: int | None = None


def pairs(text: str) -> dict[str, str]:
    """Return the ``key=value`` of a record of scontrol."""
    return dict(PAIR.findall(text))


def qos_table(text: str) -> dict[str, Qos]:
    """Return the limits of every qos from ``sacctmgr -nP show qos`` (name and three limits)."""
    rows = [line.split("|") for line in text.splitlines()]
    return {
        row[0]: Qos(*(int(limit) if limit.isdecimal() else None for limit in row[1:4]))
        for row in rows
        if len(row) >= 4
    }


def room(
    text: str, user: str, default_qos: Mapping[str, str], qos: Mapping[str, Qos]
) -> int | None:
    """Return the room of a user; None where nothing limits it."""
    associations, _, used = text.partition("QOS Records")
    records = [pairs(record) for record in re.split(r"\n(?=ClusterName=)", associations)]
    own = next(
        (
            record
            for record in records
            if record.get("UserName", "").startswith(f"{user}(") and record.get("DefAssoc") == "Yes"
        ),
        None,
    )
    if own is None:
        return None
    name = default_qos.get(own.get("Account", ""), "")
    left = [*_of_associations(own, records), *_of_qos(name, own, qos.get(name, Qos()), used)]
    return max(min(left), 0) if left else None


def _of_associations(own: dict[str, str], records: list[dict[str, str]]) -> Iterator[int]:
    yield from _left(own, "MaxSubmitJobs")
    yield from _left(own, "GrpSubmitJobs")
    accounts = {
        record["Account"]: record
        for record in records
        if "Account" in record and not record.get("UserName")
    }
    name = own.get("Account", "")
    while record := accounts.pop(name, None):
        yield from _left(record, "GrpSubmitJobs")
        name = record.get("ParentAccount", "").partition("(")[0]


def _left(record: dict[str, str], key: str) -> Iterator[int]:
    match = USE.fullmatch(record.get(key, ""))
    if match and match[1].isdecimal():
        yield int(match[1]) - int(match[2])


def _of_qos(name: str, own: dict[str, str], limits: Qos, text: str) -> Iterator[int]:
    """Yield what a qos leaves. Use is shown only once there was some."""
    record = re.search(rf"^QOS={re.escape(name)}\(.*?(?=^QOS=|\Z)", text, re.MULTILINE | re.DOTALL)
    shown = record[0] if record and name else ""
    uid = own["UserName"].partition("(")[2].rstrip(")")
    account = own.get("Account", "")
    if limits.group is not None:
        yield limits.group - _used(shown, r"^ +", "GrpSubmitJobs")
    if limits.user is not None:
        yield limits.user - _used(shown, rf"^ +{uid}\n +", "MaxSubmitJobsPU")
    if limits.account is not None:
        yield limits.account - _used(shown, rf"^ +{re.escape(account)}\n +", "MaxSubmitJobsPA")


def _used(text: str, before: str, key: str) -> int:
    match = re.search(rf"{before}.*?\b{key}=(?:N|\d*)\((\d+)\)", text, re.MULTILINE)
    return int(match[1]) if match else 0
