"""Why a run waits: the scheduler's word in plain words, and who has to do something.

Source: job_reason_codes of Slurm 22.05 to 26.05; the three bins are ours.
"""

from dataclasses import dataclass
from enum import StrEnum

from penstock.model.state import NEVER_REASONS, same


class Who(StrEnum):
    """What a waiting run needs."""

    NOBODY = "starts by itself"
    CHANGE = "starts when something changes"
    NEVER = "never starts as it is"


@dataclass(frozen=True)
class Reason:
    """A reason in words."""

    words: str
    who: Who


# Our own words, beside the scheduler's, for runs that are planned and not known to be there.
LIMIT = "penstock:limit"
UNSENT = "penstock:unsent"
SENDING = "penstock:sending"

_BY_ITSELF = {
    "": "was just sent",
    "None": "was just sent",
    "Priority": "others are before it in the queue",
    "Resources": "waits for free cpus, memory or gpus",
    "JobArrayTaskLimit": "waits for others of its sweep (max_parallel)",
    "BeginTime": "waits for its begin: as set, or a moment after a preemption",
    "Cleaning": "is being cleaned up after a requeue",
    "Prolog": "its node is being prepared",
    "Licenses": "waits for a licence",
    "Dependency": "waits for another job",
    "NodeDown": "waits for a node that is down",
    "FrontEndDown": "waits for a front end that is down",
    "WaitingForScheduling": "has not been looked at yet",
    "SchedDefer": "has not been looked at yet",
    "LaunchFailure": "its node could not start it; it is tried again",
}
_BY_A_CHANGE = {
    "PartitionDown": "its partition is closed",
    "PartitionInactive": "its partition is closed",
    "ReqNodeNotAvail": "its nodes are reserved or down",
    # It goes on: ", DRAINED or reserved for jobs in higher priority partitions".
    "Nodes required for job are DOWN": "its nodes are down, drained, or kept for jobs of a "
    "partition of higher priority",
    "Reservation": "waits for its reservation",
    "ReservationDeleted": "its reservation is gone",
    "QOSUsageThreshold": "its qos has used up its share",
    "AssociationJobLimit": "its account is at its limit of jobs",
    LIMIT: "the scheduler takes no more for now; they are sent as room comes",
    UNSENT: "not sent yet: `penstock tick` or the daemon does that",
    SENDING: "perhaps sent: that is looked up, and in some minutes they are sent again if not",
}
# Who is held, by reasons as ``model.state.same`` has them.
_NOT_STARTED = "could not be started: `scontrol release JOB` tries again"
_HELD = {
    "jobhelduser": "by its user: `scontrol release JOB` lets it go",
    "jobheldadmin": "by an administrator: ask them",
    "jobholdmaxrequeue": "was requeued too often: `scontrol release JOB` tries again",
    "job requeued in held state": "was requeued to be held: `scontrol release JOB` lets it go",
    "job requeued in special exit state": "ended with a code that the site, or whoever requeued "
    "it, calls special: look at it; `scontrol release JOB` lets it go",
    "launch failed requeued held": _NOT_STARTED,
    "launch failure limit exceeded requeued held": _NOT_STARTED,
    "user env retrieval failed requeued held": _NOT_STARTED,
}
# Sentences that Slurm writes in place of a word; they go on with names.
_NEVER_SENTENCES = (
    "Job's account not permitted to use this partition",
    "Job's QOS not permitted to use this partition",
    "User's group not permitted to use this partition",
)
# Prefixes of the many limits: whose, and of what.
_LIMITS = (
    ("AssocGrp", "your account is at a limit"),
    ("AssocMax", "you are at a limit of your account"),
    ("QOSGrp", "your qos is at a limit"),
    ("QOSMax", "you are at a limit of your qos"),
    ("QOSMin", "asks for less than its qos wants"),
    ("MaxCpuPerAccount", "your account is at its limit of cpus"),
    ("MaxMemPerLimit", "asks for more memory than its partition allows"),
)


def explain(word: str) -> Reason:
    """Return what a pending reason means; one that is not known is shown as it is."""
    if word in _BY_ITSELF:
        return Reason(_BY_ITSELF[word], Who.NOBODY)
    if change := _BY_A_CHANGE.get(word) or _HELD.get(same(word)):
        return Reason(change, Who.CHANGE)
    if word in NEVER_REASONS or word.startswith(_NEVER_SENTENCES):
        return Reason(NEVER_REASONS.get(word, word), Who.NEVER)
    first, _, rest = word.partition(",")
    if rest:
        return _joined(explain(first), rest)
    for prefix, words in _LIMITS:
        if word.startswith(prefix):
            return Reason(f"{words} ({word})", Who.CHANGE)
    return Reason(word, Who.NOBODY)


def _joined(first: Reason, rest: str) -> Reason:
    """Return what several reasons mean: squeue joins those of the pending tasks of an array.

    One may also go on with names (``ReqNodeNotAvail, UnavailableNodes:n1``): those say nothing.
    """
    known = _BY_ITSELF.keys() | _BY_A_CHANGE.keys() | NEVER_REASONS.keys()
    told = (one for one in rest.split(",") if one in known or same(one) in _HELD)
    words = [explain(one).words for one in told if one != "None"]
    return Reason("; or ".join(dict.fromkeys([first.words, *words])), first.who)
