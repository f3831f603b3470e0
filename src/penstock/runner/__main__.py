"""``python3 runner-<digest>.zip <array folder>``: what a batch script executes."""

import os
import sys

from penstock import failpoint
from penstock.runner import signals


def main(argv: "list[str]") -> int:
    """Run one element of the array; return the exit code, that of its command."""
    _speak_utf8()
    signals.install()  # first: until then the batch script has them ignored
    failpoint.hit("runner.begun")
    if len(argv) != 1:
        print("usage: python3 runner.zip <array folder>", file=sys.stderr)  # noqa: T201
        return 2
    from penstock.runner import element  # noqa: PLC0415  the handlers are first

    return element.run(argv[0])


def _speak_utf8() -> None:
    """Begin again in UTF-8 where Python 3.6 takes a bare locale for ASCII, as later ones do not."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("LC_CTYPE") != "C.UTF-8":
        os.environ.pop("LC_ALL", None)
        os.environ["LC_CTYPE"] = "C.UTF-8"
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
