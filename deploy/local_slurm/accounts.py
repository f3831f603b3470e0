"""Who may do what in the local Slurm, as slurmdbd is told."""

from __future__ import annotations

from collections.abc import Callable

CLUSTER = "penstock"
# alice and bob share lab, and have one account each. Nobody is in closed.
ACCOUNTS = ("lab", "physics", "biology", "closed")
USERS = {"alice": ("lab", "physics"), "bob": ("lab", "biology")}
# The most jobs in the queue, in each account; an array counts once for each of its tasks.
MAX_SUBMIT = {"alice": "", "bob": "20"}
# For those who ask for it: two jobs at once, ten in the queue.
FEW = ("few", "MaxJobsPerUser=2", "MaxSubmitJobsPerUser=10")


def make_accounts(run: Callable[..., str]) -> None:
    """Tell slurmdbd of the cluster, accounts, users and limits that it does not know yet.

    `run` runs a command and returns its output, or raises. Each change takes half a second or
    more: one is made for several things where sacctmgr allows it.
    """
    columns = "format=Cluster,Account,User,MaxSubmitJobs"
    listed = run("sacctmgr", "-n", "-P", "show", "assoc", columns).splitlines()
    known = dict(line.rsplit("|", 1) for line in listed)

    def change(*words: str) -> None:
        run("sacctmgr", "-i", *words)

    if f"{CLUSTER}|root|" not in known:
        change("add", "cluster", CLUSTER)
    if new := [account for account in ACCOUNTS if f"{CLUSTER}|{account}|" not in known]:
        if FEW[0] not in run("sacctmgr", "-n", "-P", "show", "qos", "format=Name").splitlines():
            change("add", "qos", *FEW)
        change("add", "account", ",".join(new), f"Cluster={CLUSTER}")
    for user, accounts in USERS.items():
        has = {account: known.get(f"{CLUSTER}|{account}|{user}") for account in accounts}
        where = (f"Account={','.join(accounts)}", f"Cluster={CLUSTER}")
        most = f"MaxSubmitJobs={MAX_SUBMIT[user] or -1}"
        if None in has.values():
            qos = (f"QOS=normal,{FEW[0]}", "DefaultQOS=normal")
            change("add", "user", user, "DefaultAccount=lab", *where, *qos, most)
        elif set(has.values()) != {MAX_SUBMIT[user]}:
            change("modify", "user", user, "where", *where, "set", most)
