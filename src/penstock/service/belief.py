"""Why something was believed of a run, and what becomes of one that nobody hears of. Pure."""

from datetime import datetime, timedelta

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


def lost_at(settings: Settings, since: datetime, heard_at: datetime | None = None) -> datetime:
    """Return when a run that nobody hears of is called lost, at the earliest."""
    return max(since, heard_at or since) + timedelta(seconds=settings.lost_after_s)


def unknown_next(attempt: AttemptRow) -> str:
    """Return what a user can do about a run that nobody has heard of."""
    job = attempt.job
    if not job:
        return ""
    return f"`squeue -j {job}` and `sacct -j {job}` ask by hand; `penstock cancel` gives it up"
