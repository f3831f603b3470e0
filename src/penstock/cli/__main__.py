"""The door of the command: it loads the rest, and Ctrl-C meanwhile is no traceback."""

import gc
import sys

# Of what a command loads nothing is garbage, and to look for some takes a tenth of its time.
SELDOM = (100_000, 20, 20)


def main() -> None:
    """Run the command."""
    gc.set_threshold(*SELDOM)
    try:
        from penstock.cli import app  # noqa: PLC0415  what takes time to load
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()
