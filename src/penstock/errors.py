"""Say what went wrong, where, and what to do next: the one tree of errors.

    PenstockError
    ├── UsageError            the command line asks for what cannot be
    ├── SpecError             a spec, with file, line, column and key
    ├── SettingsError         a settings file or variable, or no project here
    ├── NotFoundError         no such run, experiment, file
    ├── StoreError            the store cannot be read or written
    │   ├── StoreBusyError    … now: another process holds it
    │   └── Fenced            another reconciler has taken over
    ├── SchedulerError        the scheduler could not be asked: nothing is known
    │   ├── SchedulerMissing  its programs are not there
    │   ├── Refused           it said no, for good
    │   ├── LimitReached      it said no, for now
    │   │   └── NoRoom        … for so many; fewer may fit
    │   └── Unsure            it may or may not have said yes
    ├── TransportError        a command or a file did not get through
    │   ├── Unreachable       … to a machine that cannot be reached: nothing was done
    │   │   ├── Denied        … as it refuses the login
    │   │   │   ├── Dropped     … or it was lost while that was asked
    │   │   │   └── Unattended  … and nobody is there to type what it asks for
    │   │   └── Untrusted     … as its host key is not the one that is known
    │   └── Lost              … or nobody knows whether it did: the connection was lost
    └── StagingError          code or results could not be moved

Layers below map foreign exceptions to these (``raise … from``). ``EXIT_CODES`` maps them to the
exit codes of the command; a test walks the tree.
"""


class PenstockError(Exception):
    """Something a user can act on; ``hint`` says how."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


class UsageError(PenstockError):
    """The command line asks for what cannot be."""


class SpecError(PenstockError):
    """A spec is wrong; ``file``, ``line``, ``column`` (both from 1) and ``key`` say where."""

    def __init__(
        self,
        what: str,
        *,
        hint: str = "",
        file: str = "",
        line: int = 0,
        column: int = 0,
        key: str = "",
    ) -> None:
        super().__init__(what, hint=hint)
        self.file, self.line, self.column, self.key = file, line, column, key

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        key = f"{self.key}: " if self.key else ""
        return (place if self.file else "") + key + super().__str__()


class SettingsError(PenstockError):
    """A settings file or variable is wrong, or there is no project here."""


class NotFoundError(PenstockError):
    """There is no such run, experiment or file."""


class StoreError(PenstockError):
    """The store cannot be read or written."""


class StoreBusyError(StoreError):
    """Another process holds the store for longer than we wait."""


class Fenced(StoreError):
    """Another reconciler has taken over: this one's writes do not count."""


class SchedulerError(PenstockError):
    """The scheduler could not be asked, so nothing is known."""


class SchedulerMissing(SchedulerError):
    """The scheduler's programs are not on this machine."""


class Refused(SchedulerError):
    """The scheduler refused for good: trying again without a change is useless."""


class LimitReached(SchedulerError):
    """The scheduler refused for now: a limit is reached, and room will come."""


class NoRoom(LimitReached):
    """A limit on how many may be submitted is reached: fewer may fit."""


class Unsure(SchedulerError):
    """The scheduler may have accepted: look before sending again."""


class TransportError(PenstockError):
    """A command could not be run or a file not be moved."""


class Unreachable(TransportError):
    """A machine could not be reached: surely nothing was done there."""


class Denied(Unreachable):
    """A machine refuses the login."""


class Dropped(Denied):
    """A connection ended during the login: lost, or refused by who does not say so."""


class Unattended(Denied):
    """A machine asks for something that is to be typed, and nobody is there to do it."""


class Untrusted(Unreachable):
    """A machine shows a host key that is not known, or another than the known one."""


class Lost(TransportError):
    """A connection was lost before the answer came: it may or may not have been done."""


class StagingError(PenstockError):
    """Code could not be archived or results could not be moved."""


# Exit codes of the command. 2 is also what the argument parser uses; 130 is Ctrl-C.
EXIT_CODES: dict[type[PenstockError], int] = {
    PenstockError: 1,
    UsageError: 2,
    SpecError: 3,
    SettingsError: 4,
    NotFoundError: 5,
    StoreError: 6,
    SchedulerError: 7,
    TransportError: 8,
    StagingError: 9,
}


def exit_code(error: PenstockError) -> int:
    """Return the exit code of the nearest class in the table."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
