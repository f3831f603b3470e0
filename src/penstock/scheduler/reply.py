"""Read what sbatch answered: an id, a refusal, or nothing that can be relied on.

Texts are Slurm's own (``slurm_errno.c`` and sbatch, 22.05 to 26.05) and its man pages'. A text
counts as a refusal only if the controller or sbatch's own reading of options says it, so that
nothing can have been submitted; all others are Unsure.
"""

import re

from penstock.errors import LimitReached, NoRoom, Refused, SchedulerError, SchedulerMissing, Unsure
from penstock.transport.protocol import Finished

# The id, and maybe the cluster.
JOB_ID = re.compile(
    r"(?:Submitted batch job )?([1-9]\d*)(?:(?:;| on cluster )([\w.-]+))?", re.ASCII
)
LAST_ID = 2**32 - 3  # 32 bits, of which slurm.h keeps the last two numbers for itself
# What a wrapper paints its lines with; within a number it would be a part of the answer.
PAINT = re.compile(r"(?<!\d)\x1b\[[\d;]*[mK]|\x1b\[[\d;]*[mK](?!\d)", re.ASCII)
FAILED = re.compile(r"(?:Batch job submission failed|allocation failure): (.*)")
SAID = re.compile(r"sbatch: (?:error: |fatal: )?")

# The way to the controller broke: it may have heard, and its answer got lost.
LOST = re.compile(
    r"timed out|(send|receive|shutdown) failure|Message (send|receive)|Unexpected message|"
    r"Zero Bytes|Header lengths|Insane message|Communication|authentication|credential|"
    r"Connection|socket|Cannot unpack|Incompatible versions|write\(\)|quiesce"
)
# It never got there: no connection, or no credential to send with.
NOT_SENT = re.compile(
    r"Unable to contact slurm controller \(connect failure\)|Munge encode failed|"
    r"Unable to process configuration|Unable to establish (configuration source|controller)"
)
# Refused for now.
LATER = re.compile(
    r"MaxJobCount|Resource temporarily unavailable|temporarily unable to accept|busy|"
    r"Required partition not available|Partition in DOWN state|[Ss]ubmissions? (are )?disabled|"
    r"presently disabled|Rate limit exceeded|Licenses currently unavailable|standby mode|"
    r"Burst Buffer resource limit|not available now|not usable now|queue is full"
)
# Limits on how many jobs may be in the queue: the only ones of a policy to which room comes.
SUBMIT_LIMIT = re.compile(r"\w*SubmitJob\w*")
POLICY = "violates accounting/QOS policy"
# Refused for good, by the controller.
NEVER = re.compile(
    r"^(Invalid|Requested|No partition|User's group|Access|More processors|Node count|Job |"
    r"Pathname|Duplicate|Only batch|Task |CPU count|Memory|Requires|Required|Unable to resolve|"
    r"Insufficient|Cannot request|Multiple|X11|RestrictedCores|Environment is missing|"
    r"Circular|Reservation|No eligible|Burst Buffer|Preemption|Immediate|Max)"
)
# Refused by sbatch itself, before it asks anybody.
BY_SBATCH = re.compile(
    r"unrecognized option|invalid option|option .*requires an argument|ambiguous|"
    r"Invalid [-\w() ]*specification|Invalid argument|Unable to open file|"
    r"does not look like a batch script|DOS line breaks|Script arguments|not allowed with|"
    r"Batch script (is empty|contains)|Bad value|not a valid"
)
HINTS = {
    "Invalid account": "name one of yours with `account:`; "
    "`sacctmgr show assoc user=$USER` lists them",
    "partition": "name another with `partition:` in the spec; `sinfo -s` lists them",
    "qos": "name one of yours with `qos:`; `sacctmgr show assoc user=$USER` lists them",
    "array": "the array is larger than MaxArraySize; set it lower as the cluster has changed",
    "node configuration": "no node has that much: ask for fewer cpus, gpus or less memory",
    "emory": "no node has that much: ask for less memory",
    "gres": "look at `gpus:` and `options:` of the request; `sinfo -o '%N %G'` lists what there is",
    "feature": "look at `options:` of the request; `sinfo -o '%N %f'` lists the features",
    "time": "ask for less time; `sinfo -o '%P %l'` lists what partitions allow",
    "option": "look at `options:` of the request, and at `man sbatch` of this cluster",
    POLICY: "the request is more than your account or qos allows: ask for less, or for another",
}


def job(answer: Finished, cluster: str = "") -> int:
    """Return the job id. Raises Refused, LimitReached, SchedulerMissing, Unsure.

    One id on stdout is believed whatever the exit code: a site's wrapper may fail after sbatch. It
    has to be a whole line, in one of sbatch's two forms: of an answer that was cut, ``29`` may be
    the half of ``294``, and a number in a table or a sentence may be anything. With a name beside
    it, it is a job of that cluster: another's may have the same id here.
    """
    whole, _, cut = answer.out.rpartition("\n")
    matches = [match for line in whole.split("\n") if (match := _id(line))]
    found = {int(match[1]) for match in matches}
    named = {match[2].casefold() for match in matches if match[2]}
    if cluster and named - {cluster.casefold()}:
        raise unsure(f"sbatch answered {answer.out.strip()!r}, and this cluster is {cluster}")
    if len(found) == 1 and len(named) < 2:
        return found.pop()
    if answer.code == 0 or found or _id(cut):
        raise unsure(f"sbatch answered {answer.out.strip()!r}, which is no single job id")
    raise refusal(answer)


def _id(line: str) -> re.Match[str] | None:
    """Return an id with its cluster, where a line is one and nothing else."""
    match = JOB_ID.fullmatch(PAINT.sub("", line).strip())
    return match if match and int(match[1]) <= LAST_ID else None


def refusal(answer: Finished) -> SchedulerError:
    """Return what an sbatch means that failed."""
    lines = [SAID.sub("", line.strip(), count=1) for line in answer.err.splitlines()]
    lines = [line for line in lines if line]
    said = "; ".join(lines) or f"exit code {answer.code}, and no word"
    if answer.code < 0 or 128 < answer.code < 255:
        return unsure(f"sbatch was killed: {said}")
    if NOT_SENT.search(said):
        return away(said)
    if answer.code == 127:
        return SchedulerMissing(f"sbatch cannot be run: {said}", hint="is Slurm's folder on PATH?")
    whys = [match[1] for line in lines if (match := FAILED.search(line))]
    if not whys:
        return _by_sbatch(said)
    return _by_controller(whys[-1], said, lines)


def _by_sbatch(said: str) -> SchedulerError:
    return (
        Refused(f"sbatch refused: {said}", hint=_hint(said))
        if BY_SBATCH.search(said)
        else unsure(f"sbatch failed: {said}")
    )


def _by_controller(why: str, said: str, lines: list[str]) -> SchedulerError:
    if LOST.search(why):
        return unsure(f"sbatch lost its way to the controller: {why}")
    if SUBMIT_LIMIT.search(said) or LATER.search(why):
        kind = NoRoom if SUBMIT_LIMIT.search(said) else LimitReached
        return kind(
            f"Slurm takes no more for now: {said}", hint="the runs wait, and are sent as room comes"
        )
    # The text of a site's own rules comes in the controller's answer, before "Unspecified error".
    is_site_rule = why.startswith("Unspecified error") and len(lines) > 1
    if POLICY in why or NEVER.search(why) or is_site_rule:
        return Refused(f"Slurm refused: {said}", hint=_hint(said))
    return unsure(f"sbatch failed: {said}")


def away(said: str) -> LimitReached:
    """Return the error of a controller that was surely not reached."""
    return LimitReached(f"Slurm's controller cannot be reached: {said}", hint="it is tried again")


def unsure(what: str) -> Unsure:
    """Return the error of a submission that may have got through."""
    return Unsure(
        what, hint="the queue and the accounting are searched for it before it is sent again"
    )


def _hint(said: str) -> str:
    return next((hint for key, hint in HINTS.items() if key in said), "")
