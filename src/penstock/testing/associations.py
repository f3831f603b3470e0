"""What the model's ``scontrol show assoc_mgr`` prints: limits on submission, and their use."""

from penstock.testing.arguments import Call
from penstock.testing.site import User

_NAMES = ("cpu", "mem", "energy", "node", "billing", "fs/disk", "vmem", "pages")
TRES = ",".join(f"{name}=N(0)" for name in _NAMES)


def associations(call: Call, words: list[str], is_short: bool) -> str:
    """Return the records of all accounts, of the users that are named, and of every qos."""
    call.rpc("REQUEST_ASSOC_MGR_INFO")
    named = dict(word.lower().split("=", 1) for word in words if "=" in word)
    users = named.get("users", named.get("user", "")).split(",")
    flags = named.get("flags", "assoc,qos").split(",")
    text = "Current Association Manager state\n\n"
    if "assoc" in flags:
        text += "Association Records\n\n" + _joined(_records(call, users), is_short)
    if "qos" in flags:
        text += "\nQOS Records\n\n" + _joined(_qos(call), is_short)
    return text


def _joined(records: list[list[str]], is_short: bool) -> str:
    joint = " " if is_short else "\n    "
    return "".join(joint.join(record) + "\n" for record in records)


def _records(call: Call, wanted: list[str]) -> list[list[str]]:
    used = call.cluster.submitted
    known = [user for user in call.cluster.users.values() if not user.is_admin]
    accounts = dict.fromkeys(account for user in known for account in user.accounts)
    records = [_record(call, 1, "root", None, sum(used.values()))]
    for account in accounts:
        count = sum(n for (_, name), n in used.items() if name == account)
        records.append(_record(call, len(records) + 1, account, None, count))
        for user in known:
            if user.name in wanted and account in user.accounts:
                count = used.get((user.name, account), 0)
                records.append(_record(call, len(records) + 1, account, user, count))
    return records


def _record(call: Call, number: int, account: str, user: User | None, used: int) -> list[str]:
    who = most = ""
    parent = "" if user or account == "root" else "root(1)"
    is_default = bool(user and user.accounts[0] == account)
    if user is not None:
        who = f"{user.name}({user.uid})"
        most = "" if user.max_submit is None else f"{user.max_submit}({used})"
    head = f"ClusterName={call.cluster.site.name} Account={account} UserName={who} Partition="
    return [
        f"{head} Priority=0 ID={number}",
        "SharesRaw/Norm/Level/Factor=1/18446744073709551616.00/1/0.00",
        "UsageRaw/Norm/Efctv=0.00/1.00/0.00",
        f"ParentAccount={parent} Lft={number} DefAssoc={'Yes' if is_default else 'No'}",
        "GrpJobs=N(0) GrpJobsAccrue=N(0)",
        f"GrpSubmitJobs=N({used}) GrpWall=N(0.00)",
        f"GrpTRES={TRES}",
        f"GrpTRESMins={TRES}",
        f"GrpTRESRunMins={TRES}",
        f"MaxJobs= MaxJobsAccrue= MaxSubmitJobs={most} MaxWallPJ=",
        "MaxTRESPJ=",
        "MaxTRESPN=",
        "MaxTRESMinsPJ=",
        "MinPrioThresh=",
    ]


def _qos(call: Call) -> list[list[str]]:
    """Return the records of every qos. Use is shown only of those who ever used it."""
    cluster = call.cluster
    records = []
    for number, (name, most) in enumerate(cluster.site.qos.items(), 1):
        used = {user: n for (user, qos), n in cluster.in_qos.items() if qos == name}
        total = sum(used.values())
        lines = [
            f"QOS={name}({number})",
            "UsageRaw=0.000000",
            f"GrpJobs=N(0) GrpJobsAccrue=N(0) GrpSubmitJobs=N({total}) GrpWall=N(0.00)",
            f"GrpTRES={TRES}",
            f"GrpTRESMins={TRES}",
            f"GrpTRESRunMins={TRES}",
            "MaxWallPJ=",
            "MaxTRESPJ=",
            "MaxTRESPN=",
            "MaxTRESMinsPJ=",
            "MinPrioThresh= ",
            "MinTRESPJ=",
            "PreemptMode=OFF",
            "Priority=0",
            "Account Limits",
            "    No Accounts",
            "User Limits",
        ]
        limit = "N" if most is None else str(most)
        for user, count in used.items():
            lines.append(f"  {cluster.users[user].uid}")
            lines.append(
                f"    MaxJobsPU=N(0) MaxJobsAccruePU=N(0) MaxSubmitJobsPU={limit}({count})"
            )
            lines.append(f"    MaxTRESPU={TRES}")
        records.append(lines if used else [*lines, "    No Users"])
    return records
