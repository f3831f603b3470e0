"""Why something was believed of a run, and what becomes of one that nobody hears of. Pure."""

from datetime import datetime, timedelta

from penstock.model.state import FINAL, State
from penstock.planning import patience
from penstock.planning.pace import Pace
from penstock.settings import Settings
from penstock.store.detail import AttemptRow

_WHY = {
    "runner": "the run's own file says so",
    "queue": "the queue says so, later than the run itself",
    "accounting": "the accounting says so; the queue knew it no more, or not how it ended",
    "silence": "nobody says anything: not the queue, not the accounting, not the run",
    "scheduler": "the scheduler's answer to sbatch",
}
_RUNNER = {
    "exit, not sealed": "it ended by a signal: whether it comes back is the scheduler's to say",
    "exit; nobody else knows": "the queue knows it no more, and there is no accounting",
    "open, after the queue's word": "it began after the queue was asked",
    "note": "told by the runner, and believed of no state",
}


def why(source: str, word: str) -> str:
    """Return why a source was believed, in words."""
    if source == "runner":
        if word in _RUNNER:
            return _RUNNER[word]
        if word.startswith("exit"):
            return "its command ended by itself: that is final, whatever others say"
        if word.startswith("signal"):
            return "a signal reached it"
    return _WHY.get(source, "")


MIN_JOB_AGE_S = 300  # Slurm's own, where no look has told this cluster's


def is_unheard(attempt: AttemptRow) -> bool:
    """Return whether nobody knows how an attempt stands; a record that is awaited is no silence."""
    is_ending = attempt.state is State.ENDING and attempt.reason == patience.WAITING_FOR_RECORD
    return attempt.unknown_since is not None and attempt.state not in FINAL and not is_ending


def lost_at(settings: Settings, pace: Pace, since: datetime, heard_at: datetime | None) -> datetime:
    """Return when a run that nobody hears of is called lost, at the earliest."""
    absent_s = pace.absent_s
    if absent_s is None:
        absent_s = MIN_JOB_AGE_S + settings.accounting_lag_s
    lost_after = timedelta(seconds=settings.lost_after_s)
    return patience.lost_at(since, heard_at, lost_after, timedelta(seconds=absent_s))


def while_unanswered(unanswered: str) -> str:
    """Return what keeps a run from being called lost, in words; empty: nothing."""
    return f", and not while the {unanswered} does not answer" if unanswered else ""


def unknown_next(attempt: AttemptRow) -> str:
    """Return what a user can do about a run that nobody has heard of."""
    job = attempt.job
    if not job:
        return ""
    return f"`squeue -j {job}` and `sacct -j {job}` ask by hand; `penstock cancel` gives it up"
