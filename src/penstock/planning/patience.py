"""How long to wait for whom before a silence, or a missing record, means something. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from penstock.model.evidence import Known

# What another process noted is by its clock, which may be minutes behind: then waits are longer.
UNSURE_TIMES: Final = 10
UNSURE_AT_MOST: Final = timedelta(minutes=10)  # … by so much
WAITING_FOR_RECORD: Final = "waiting for the record"  # why an attempt is ENDING


def nameless(uid: int) -> str:  # noqa: ARG001  of a machine that is not asked
    """Return no name."""
    return ""


@dataclass(frozen=True)
class Policy:
    """How long to wait for whom."""

    record_grace: timedelta  # how long a record may come after the scheduler's word
    absent_after: timedelta  # MinJobAge and the accounting's lag: when a silence means something
    lost_after: timedelta  # how long nobody may have heard of a run
    has_accounting: bool
    uid: int  # the user's own
    name: Callable[[int], str] = nameless  # of a user, by uid; empty: the machine knows none


def lost_at(
    since: datetime, heard_at: datetime | None, lost_after: timedelta, absent_after: timedelta
) -> datetime:
    """Return when an attempt that nobody hears of is called lost, at the earliest.

    ``since``: when it was first missed. ``heard_at``: when its runner was heard of last.
    """
    return max(since, heard_at or since) + max(lost_after, absent_after)


def waited(known: Known, now: datetime, patience: timedelta) -> bool:
    """Return whether it has surely been so long that nobody knows how an attempt stands.

    A process that saw it all the time waits as long as it must, whatever the clocks are set to.
    """
    noted = now - (known.unknown_since or now)
    longer = min(patience * UNSURE_TIMES, patience + UNSURE_AT_MOST)
    return known.missed >= patience or noted >= longer
