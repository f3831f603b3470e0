"""The model's sacct."""

from collections.abc import Callable, Iterator

from penstock.testing.accounting import Row
from penstock.testing.arguments import Call, Read, Stop, moment, node_list, read, span
from penstock.testing.control import target
from penstock.testing.core import SlurmError
from penstock.testing.jobs import CODES, ENDS, short_reason

VALUED = (
    "A/accounts E/endtime S/starttime j/jobs M/clusters name/jobname o/format r/partition "
    "s/state u/uid/user delimiter units q/qos N/nodelist x/associations W/wckeys"
)
FLAGS = (
    "a/allusers b/brief D/duplicates e/helpformat l/long L/allclusters n/noheader p/parsable "
    "P/parsable2 X/allocations V/version v/verbose json federation local"
)
# sacct --helpformat of 22.05, in its order.
_HELP = """
Account AdminComment AllocCPUS AllocNodes AllocTRES AssocID AveCPU AveCPUFreq AveDiskRead
AveDiskWrite AvePages AveRSS AveVMSize BlockID Cluster Comment Constraints ConsumedEnergy
ConsumedEnergyRaw Container CPUTime CPUTimeRAW DBIndex DerivedExitCode Elapsed ElapsedRaw
Eligible End ExitCode Flags GID Group JobID JobIDRaw JobName Layout MaxDiskRead MaxDiskReadNode
MaxDiskReadTask MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask MaxPages MaxPagesNode
MaxPagesTask MaxRSS MaxRSSNode MaxRSSTask MaxVMSize MaxVMSizeNode MaxVMSizeTask McsLabel MinCPU
MinCPUNode MinCPUTask NCPUS NNodes NodeList NTasks Partition Priority QOS QOSRAW Reason
ReqCPUFreq ReqCPUFreqGov ReqCPUFreqMax ReqCPUFreqMin ReqCPUS ReqMem ReqNodes ReqTRES Reservation
ReservationId Reserved ResvCPU ResvCPURAW Start State Submit SubmitLine Suspended SystemComment
SystemCPU Timelimit TimelimitRaw TotalCPU TRESUsageInAve TRESUsageInMax TRESUsageInMaxNode
TRESUsageInMaxTask TRESUsageInMin TRESUsageInMinNode TRESUsageInMinTask TRESUsageInTot
TRESUsageOutAve TRESUsageOutMax TRESUsageOutMaxNode TRESUsageOutMaxTask TRESUsageOutMin
TRESUsageOutMinNode TRESUsageOutMinTask TRESUsageOutTot UID User UserCPU WCKey WCKeyID WorkDir
"""
FIELDS = _HELP.split()
_KNOWN = {name.lower(): name for name in FIELDS}
DEFAULT = "jobid,jobname,partition,account,alloccpus,state,exitcode"
_WIDTHS = {"JobID": 12, "JobIDRaw": 12, "ExitCode": 8, "User": 9}
_WIDTHS |= dict.fromkeys(("Submit", "Eligible", "Start", "End"), 19)
_LAST = 1 << 40  # a pending rest stands after the tasks


def sacct(call: Call) -> str:
    """Tell what the accounting holds."""
    asked = read("sacct", call.argv[1:], VALUED, FLAGS)
    if "version" in asked:
        return f"slurm-wlm {call.cluster.site.version}\n"
    if "helpformat" in asked:
        return _help()
    if not call.cluster.site.has_accounting:
        raise Stop(1, "Slurm accounting storage is disabled\n")
    fields = _fields(asked)
    start, end = _window(call, asked)
    if call.cluster.accounting.is_down:
        refused = "Connection refused"
        raise Stop(
            1,
            "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent "
            f"connection to host:localhost:6819: {refused}\n"
            f"sacct: error: Sending PersistInit msg: {refused}\n"
            f"sacct: error: Problem talking to the database: {refused}\n",
        )
    rows = _select(call, asked, start, end)
    return "".join(f"{line}\n" for line in _lines(call, asked, fields, rows))


def _help() -> str:
    lines = [FIELDS[at : at + 4] for at in range(0, len(FIELDS), 4)]
    return "".join(" ".join(f"{name:<19}" for name in line) + "\n" for line in lines)


def _fields(asked: Read) -> list[tuple[str, int | None]]:
    found = []
    for word in filter(None, asked.last("format", DEFAULT).split(",")):
        name, _, width = word.partition("%")
        if name.lower() not in _KNOWN:
            raise Stop(1, f'sacct: error: Invalid field requested: "{name}"\n')
        found.append((_KNOWN[name.lower()], int(width) if width.lstrip("-").isdigit() else None))
    return found


def _window(call: Call, asked: Read) -> tuple[float, float]:
    """Return the window; without -S it begins at midnight, or with -j at the epoch."""
    now = call.cluster.now
    if "jobs" in asked:
        start: float | None = 0.0
    elif "state" in asked:
        start = now
    else:
        offset = call.cluster.site.utc_offset_s
        start = (now + offset) // 86400 * 86400 - offset
    end: float | None = now
    if "starttime" in asked:
        start = moment(asked.last("starttime"), call)
        if start is None:
            raise Stop(1, f"Invalid time specification (pos=0): {asked.last('starttime')}\n")
    if "endtime" in asked:
        end = moment(asked.last("endtime"), call)
        if end is None:
            raise Stop(1, f"Invalid time specification (pos=0): {asked.last('endtime')}\n")
    assert start is not None
    assert end is not None
    if start > end:
        raise Stop(
            1,
            f"sacct: error: Start time ({call.time(start)}) requested is after end time "
            f"({call.time(end)}).\n",
        )
    return start, end


def _select(call: Call, asked: Read, start: float, end: float) -> list[Row]:
    wanted = _wanted_jobs(asked)
    states = _states(asked)
    is_all = "allusers" in asked or "jobs" in asked or call.is_admin
    user = asked.last("uid") or ("" if is_all else call.user)
    names = {name.lower() for name in asked.last("jobname").split(",") if name}
    clusters = [call.cluster]
    if "federation" in asked and (sibling := call.cluster.beside()):
        clusters.append(sibling)
    rows = [
        row
        for cluster in clusters
        for row in cluster.accounting.seen(call.cluster.now)
        if (wanted is None or _is_one_of(row, wanted))
        and (not user or row.user in user.split(","))
        and (not names or row.name[:255].lower() in names)
        and ("partition" not in asked or row.partition in asked.last("partition").split(","))
        and (_in_window(row, start, end, wanted is not None) if not states
             else _was(row, states, start, end))
    ]  # fmt: skip
    if "duplicates" not in asked:
        newest: dict[int, Row] = {}
        for row in rows:
            newest[row.id] = max(newest.get(row.id, row), row, key=lambda r: (r.submit_at, r.db))
        rows = list(newest.values())
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[float, int, int]:
    index = _LAST if row.index is None else row.index
    return row.submit_at, row.id if row.array is None else row.array, index


def _wanted_jobs(asked: Read) -> list[tuple[int, list[int] | None]] | None:
    if "jobs" not in asked:
        return None
    try:
        return [target(text) for text in asked.last("jobs").split(",")]
    except SlurmError:
        raise Stop(1, f"sacct: fatal: Bad job/step specified: {asked.last('jobs')}\n") from None


def _is_one_of(row: Row, wanted: list[tuple[int, list[int] | None]]) -> bool:
    for job, indices in wanted:
        if indices is None and job in (row.id, row.array, (row.het or (0,))[0]):
            return True
        if indices is not None and row.array == job and row.index in indices:
            return True
    return False


def _states(asked: Read) -> frozenset[str]:
    found = set()
    for word in filter(None, asked.last("state").upper().split(",")):
        full = next((name for name, code in CODES.items() if code == word), word)
        if full not in CODES:
            raise Stop(1, f"sacct: fatal: unrecognized job state value '{word}'\n")
        found.add(full)
    return frozenset(found)


def _in_window(row: Row, start: float, end: float, is_by_id: bool) -> bool:
    """Return whether a row is in the window, which goes by eligible time (seen on 22.05).

    What was never eligible (held, begin later, behind a throttle) is shown only by its id.
    """
    if row.end_at is not None and row.end_at < start:
        return False
    if is_by_id:
        return row.submit_at <= end
    return row.eligible_at is not None and row.eligible_at <= end


def _was(row: Row, states: frozenset[str], start: float, end: float) -> bool:
    """Return whether a row was in one of the states in the window."""
    if row.state in ENDS or row.state in ("REQUEUED", "REVOKED"):
        assert row.end_at is not None
        return row.state in states and start <= row.end_at <= end
    if row.state == "RUNNING":
        began = row.start_at if row.start_at is not None else row.submit_at
        return "RUNNING" in states and began <= end
    is_known = row.eligible_at is not None and row.eligible_at <= end
    return "PENDING" in states and is_known


def _lines(
    call: Call, asked: Read, fields: list[tuple[str, int | None]], rows: list[Row]
) -> Iterator[str]:
    join = _joiner(asked, fields)
    if "noheader" not in asked:
        yield join([name for name, _ in fields])
        if "parsable" not in asked and "parsable2" not in asked:
            yield " ".join("-" * abs(_width(field)) for field in fields) + " "
    for row in rows:
        yield join([_cell(call, row, name) for name, _ in fields])
        if ("allocations" not in asked and row.step is not None) or (
            "allocations" not in asked and row.state == "RUNNING"
        ):
            yield join([_step_cell(call, row, name) for name, _ in fields])


def _width(field: tuple[str, int | None]) -> int:
    name, width = field
    return width if width is not None else _WIDTHS.get(name, 10)


def _joiner(asked: Read, fields: list[tuple[str, int | None]]) -> Callable[[list[str]], str]:
    if "parsable" in asked or "parsable2" in asked:
        mark = asked.last("delimiter", "|")
        tail = "" if "parsable2" in asked else mark
        return lambda cells: mark.join(cells) + tail
    widths = [_width(field) for field in fields]

    def fixed(cells: list[str]) -> str:
        out = []
        for (name, _), cell, width in zip(fields, cells, widths, strict=True):
            size = abs(width)
            text = cell if len(cell) <= size else cell[: size - 1] + "+"
            is_left = width < 0 or name in ("JobID", "JobIDRaw")
            out.append(text.ljust(size) if is_left else text.rjust(size))
        return " ".join(out) + " "

    return fixed


def _cell(call: Call, row: Row, name: str) -> str:
    if name in ("Submit", "Eligible", "Start", "End"):
        return _time_cell(call, row, name)
    elapsed = 0.0
    if row.start_at is not None:
        elapsed = (row.end_at if row.end_at is not None else call.cluster.now) - row.start_at
    nodes = node_list(row.nodes) or "None assigned"
    is_guess = row.name == "allocation"
    cells = {
        "JobID": row.job_id,
        "JobIDRaw": str(row.id),
        "JobName": row.name[:255],
        "State": row.word,
        "ExitCode": f"{row.code}:{row.signal}",
        "DerivedExitCode": "0:0",
        "NodeList": nodes,
        "Partition": row.partition,
        "User": row.user,
        "UID": str(row.uid),
        "Account": row.account,
        "QOS": row.qos,
        "Cluster": call.cluster.site.name,
        "Reason": short_reason(row.reason),
        "Elapsed": span(max(0.0, elapsed)),
        "ElapsedRaw": str(int(max(0.0, elapsed))),
        "Timelimit": "" if is_guess else span(row.time_s),
        "TimelimitRaw": str(int(row.time_s // 60)) if row.time_s != float("inf") else "UNLIMITED",
        "ReqMem": "16?" if is_guess else f"{row.mem_mb}M",
        "ReqCPUS": str(row.cpus),
        "AllocCPUS": str(row.cpus if row.nodes else 0),
        "NCPUS": str(row.cpus),
        "NNodes": str(max(1, len(row.nodes))),
        "DBIndex": str(row.db),
        "Comment": row.comment,
    }
    return cells.get(name, "")


def _time_cell(call: Call, row: Row, name: str) -> str:
    at = {
        "Submit": row.submit_at,
        "Eligible": row.eligible_at,
        "Start": row.start_at,
        "End": row.end_at,
    }[name]
    is_over = row.state in ENDS or row.state == "REVOKED"
    is_never = name == "Start" and row.start_at is None and is_over
    return call.time(at, "None" if is_never else "Unknown")


def _step_cell(call: Call, row: Row, name: str) -> str:
    state, code, signal = row.step or ("RUNNING", 0, 0)
    cells = {
        "JobID": f"{row.job_id}.batch",
        "JobIDRaw": f"{row.id}.batch",
        "JobName": "batch",
        "State": state,
        "ExitCode": f"{code}:{signal}" if code >= 0 else "",
        "Submit": call.time(row.start_at, "Unknown"),
        "Eligible": call.time(row.start_at, "Unknown"),
        "MaxRSS": f"{row.peak_mb * 1024}K" if row.step and row.peak_mb else "",
    }
    if name in cells:
        return cells[name]
    is_own = name in ("Account", "Cluster", "Elapsed", "ElapsedRaw", "NodeList", "Start", "End")
    return _cell(call, row, name) if is_own or name in ("AllocCPUS", "NCPUS", "NNodes") else ""
