"""The texts of Slurm's programs, answered from the model: argv in, code and texts out."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from penstock.testing.arguments import Call, Stop, node_list, read, read_file
from penstock.testing.model import Cluster
from penstock.testing.sacct import sacct
from penstock.testing.sbatch import sbatch, scancel
from penstock.testing.scontrol import scontrol
from penstock.testing.squeue import squeue
from penstock.transport.protocol import Finished

_NUMBERS = {
    "REQUEST_BUILD_INFO": 2001, "REQUEST_JOB_INFO": 2003, "REQUEST_NODE_INFO": 2007,
    "REQUEST_PARTITION_INFO": 2009, "REQUEST_JOB_INFO_SINGLE": 2021, "REQUEST_STATS_INFO": 2035,
    "REQUEST_JOB_USER_INFO": 2039, "REQUEST_ASSOC_MGR_INFO": 2043, "REQUEST_FED_INFO": 2049,
    "REQUEST_UPDATE_JOB": 3001, "REQUEST_SUBMIT_BATCH_JOB": 4003, "REQUEST_JOB_WILL_RUN": 4012,
    "REQUEST_SUBMIT_BATCH_HET_JOB": 4028, "REQUEST_JOB_REQUEUE": 5023, "REQUEST_KILL_JOB": 5032,
    "REQUEST_PING": 1008,
}  # fmt: skip


def sdiag(call: Call) -> str:
    """Tell what the controller was asked."""
    asked = read("sdiag", call.argv[1:], "M/cluster", "r/reset a/all V/version i/sort-by-id")
    cluster = call.cluster
    if "reset" in asked:
        if not call.is_admin:
            raise Stop(255, "slurm_reset_statistics: Access/permission denied\n")
        cluster.rpcs.clear()
        cluster.rpcs_of.clear()
        return "Reset scheduling statistics\n"
    call.rpc("REQUEST_STATS_INFO")
    now = datetime.fromtimestamp(cluster.now, UTC).strftime("%a %b %d %H:%M:%S %Y")
    stars = "*" * 55
    states = [job.state for job in cluster.jobs.values()]
    lines = [
        stars,
        f"sdiag output at {now} ({int(cluster.now)})",
        f"Data since      {now} ({int(cluster.boot_at)})",
        stars,
        "Server thread count:  3",
        "Agent queue size:     0",
        "",
        f"Jobs submitted: {cluster.counts['submitted']}",
        f"Jobs started:   {cluster.counts['started']}",
        f"Jobs completed: {cluster.counts['completed']}",
        f"Jobs canceled:  {cluster.counts['canceled']}",
        f"Jobs failed:    {cluster.counts['failed']}",
        "",
        f"Jobs pending:   {sum(job.count for job in cluster.pending.values())}",
        f"Jobs running:   {states.count('RUNNING')}",
        "",
        "Remote Procedure Call statistics by message type",
        *(_rpc(f"{name:<39} ({_NUMBERS.get(name, 0):5})", n) for name, n in _most(cluster.rpcs)),
        "",
        "Remote Procedure Call statistics by user",
        *(_rpc(f"{name:<16}({_uid(cluster, name):8})", n) for name, n in _most(cluster.rpcs_of)),
        "",
        "Pending RPC statistics",
        "\tNo pending RPCs",
    ]
    return "\n".join(lines) + "\n"


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])


def _rpc(name: str, count: int) -> str:
    return f"\t{name} count:{count:<6} ave_time:200    total_time:{200 * count}"


def _uid(cluster: Cluster, name: str) -> int:
    user = cluster.users.get(name)
    return user.uid if user else 0


def sinfo(call: Call) -> str:
    """Tell of partitions and nodes: -h, and %P %a %l %D %t %N of -o."""
    asked = read(
        "sinfo", call.argv[1:], "o/format p/partition n/nodes", "h/noheader N/Node V/version"
    )
    if "version" in asked:
        return f"slurm-wlm {call.cluster.site.version}\n"
    call.rpc("REQUEST_PARTITION_INFO", "REQUEST_NODE_INFO")
    lines = [] if "noheader" in asked else ["PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST"]
    for part in call.cluster.partitions.values():
        names = part.nodes or tuple(call.cluster.kinds)
        mark = "*" if part.is_default else ""
        by_state: dict[str, list[str]] = {}
        for name in names:
            by_state.setdefault(_node_state(call.cluster, name), []).append(name)
        lines += [
            f"{part.name + mark:<9} {'up' if part.is_up else 'down':>5} "
            f"{'infinite' if part.max_time_s is None else part.max_time_s:>10} "
            f"{len(found):>6} {state:>6} {node_list(found)}"
            for state, found in by_state.items()
        ]
    return "".join(f"{line}\n" for line in lines)


def _node_state(cluster: Cluster, name: str) -> str:
    node = cluster.nodes[name]
    if node.state != "UP":
        return node.state.lower()
    if node.free_cpus == node.kind.cpus:
        return "idle"
    return "mix" if node.free_cpus else "alloc"


def sacctmgr(call: Call) -> str:
    """Tell associations and qos: ``show assoc|qos|cluster [user=…] [format=…]``."""
    asked = read(
        "sacctmgr", call.argv[1:], "M/clusters",
        "n/noheader P/parsable2 p/parsable i/immediate r/readonly V/version s/associations",
    )  # fmt: skip
    if "version" in asked:
        return f"slurm-wlm {call.cluster.site.version}\n"
    if not call.cluster.site.has_accounting:
        raise Stop(1, "You are not running a supported accounting_storage plugin\n")
    _, entity, *words = [*asked.rest, "", ""]
    wanted = dict(word.split("=", 1) for word in words if "=" in word)
    rows = _qos(call) if entity.startswith("qos") else _assocs(call, wanted.get("user", ""))
    if "cluster" in wanted:
        rows = [row for row in rows if row.get("cluster") == wanted["cluster"]]
    fields = [name.partition("%")[0] for name in wanted.get("format", "Account,User").split(",")]
    for name in fields:
        if not any(known.startswith(name.lower()) for known in _FIELDS):
            raise Stop(1, f"Unknown field '{name.lower()}'\n")
    lines = [] if "noheader" in asked else ["|".join(fields)]
    lines += [
        "|".join(next((v for k, v in row.items() if k.startswith(f.lower())), "") for f in fields)
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines)


_FIELDS = (
    "cluster", "account", "user", "name", "qos", "defaultqos",
    "maxsubmitjobs", "maxsubmitpu", "maxsubmitpa", "grpsubmit",
)  # fmt: skip


def _assocs(call: Call, user: str) -> list[dict[str, str]]:
    return [
        {
            "cluster": call.cluster.site.name,
            "account": account,
            "user": who.name,
            "maxsubmitjobs": "" if who.max_submit is None else str(who.max_submit),
            "qos": ",".join(who.qos),
            "defaultqos": "normal",
        }
        for who in call.cluster.users.values()
        for account in who.accounts
        if not user or who.name == user
    ]


def _qos(call: Call) -> list[dict[str, str]]:
    return [
        {"name": name, "maxsubmitpu": "" if most is None else str(most)}
        for name, most in call.cluster.site.qos.items()
    ]


PROGRAMS: dict[str, Callable[[Call], str]] = {
    "sbatch": sbatch,
    "squeue": squeue,
    "sacct": sacct,
    "scancel": scancel,
    "scontrol": scontrol,
    "sacctmgr": sacctmgr,
    "sdiag": sdiag,
    "sinfo": sinfo,
}


def answer(  # noqa: PLR0913  what a process is given
    cluster: Cluster,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    user: str = "alice",
    folder: str = "/",
    open_file: Callable[[str], bytes] = read_file,
) -> Finished:
    """Answer a call as the program would. Raises FileNotFoundError for one that is not Slurm's."""
    call = Call(cluster, argv, stdin, env or {}, user, folder, open_file)
    if call.program == "id":
        return Finished(0, f"{user}\n", "")
    if call.program not in PROGRAMS:
        raise FileNotFoundError(call.program)
    try:
        return Finished(0, PROGRAMS[call.program](call), "")
    except Stop as stop:
        return Finished(stop.code, stop.out, stop.err)
