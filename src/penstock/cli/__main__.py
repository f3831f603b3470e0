"""The door of the command: it loads the rest, and Ctrl-C meanwhile is no traceback."""

import sys


def main() -> None:
    """Run the command."""
    try:
        from penstock.cli import app  # noqa: PLC0415  what takes time to load
    except KeyboardInterrupt:
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()
