"""What keeps a command from being run or its outputs from being kept: a sentence for the user."""


class Trouble(Exception):
    """It could not be done. The message says what to do about it; ``code`` is the runner's then."""

    def __init__(self, what: str, code: int = 125) -> None:
        super().__init__(what)
        self.code = code  # as shells have it: 126 not executable, 127 not found; else 125


def words(error: OSError) -> str:
    """Return an error as ``No space left on device: '/scratch/x'``."""
    where = ": %r" % error.filename if error.filename is not None else ""
    return "%s%s" % (error.strerror or error, where)
