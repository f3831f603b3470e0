"""Say why PostgreSQL refuses, and what to do: by what it says, and by its codes. Pure."""

from penstock.errors import StoreBusyError, StoreError

_BUG = "this is a bug in Penstock: report it with what --debug prints"
_LATER = "nothing was changed; try again when the server is up (the daemon and `tick` do so)"

# When there is no connection yet libpq has no code: what stands in its words, what to do.
_AT_CONNECTION: tuple[tuple[str, str, str], ...] = (
    ("password authentication failed", "refuses the password", "put the right one into ~/.pgpass"),
    ("no password supplied", "asks for a password", "put it into ~/.pgpass, readable to you only"),
    ("authentication failed", "refuses you", "ask who runs the server: pg_hba.conf tells who may"),
    ("no pg_hba.conf entry", "refuses you from here", "ask who runs the server: pg_hba.conf"),
    ("role ", "does not know you", "ask who runs the server for a role, or name yours in the URL"),
    ("starting up", "is starting", _LATER),
    ("shutting down", "is being stopped", _LATER),
    ("not yet accepting connections", "is starting", _LATER),
    ("in recovery", "is starting", _LATER),
    ("too many clients", "has no connection left", "ask who runs the server for max_connections"),
    ("connection slots", "has no connection left", "ask who runs the server for max_connections"),
    ("database ", "is not there", "`createdb` it, or name another; then `penstock init`"),
    ("translate host name", "is on a host that nobody knows", "is its name in the URL right?"),
    ("Name or service not known", "is on a host that nobody knows", "is its name right?"),
    ("refused", "does not answer", "does the server run, at that host and port?"),
    ("No such file or directory", "does not answer", "does the server run, with that socket?"),
    ("timeout expired", "does not answer", "is the server up, or a firewall between?"),
    ("SSL", "cannot be spoken to safely", "see sslmode and sslrootcert in PostgreSQL's manual"),
)  # fmt: skip

# By the code, or the two digits of its class. Source: PostgreSQL's manual, appendix A.
_BY_STATE: dict[str, tuple[str, str]] = {
    "08": ("was lost", _LATER),
    "57P01": ("was stopped", _LATER),
    "57P02": ("was stopped", _LATER),
    "57P03": ("is starting or being stopped", _LATER),
    "57014": ("ended a statement that took too long", "a statement_timeout is set on the server"),
    "25P03": (
        "took back a transaction in which nothing happened for minutes",
        "was this process suspended? Nothing was changed: run it again",
    ),
    "25006": ("cannot be written", "is it a standby, or set read-only? Name the primary"),
    "42501": (
        "refuses you",
        "its tables must be yours or granted to you: see the guide about PostgreSQL",
    ),
    "42P01": ("is not a Penstock store", "`penstock init` makes its tables"),
    "53100": (
        "cannot grow: the server's disk is full",
        "tell who runs the server, then run this again: nothing was changed",
    ),
    "53": ("lacks memory, space or connections", "tell who runs the server; nothing was changed"),
    "54": ("refuses a text that is too long", "shorten it"),
    "58": ("cannot be read or written", "the server's disk fails: tell who runs it"),
    "XX001": ("is damaged", "tell who runs the server, and put a backup in its place"),
    "XX002": ("is damaged", "tell who runs the server: REINDEX may mend it"),
}
LOST = "08006"
_BUSY = ("55P03", "40001", "40P01")


def at_connection(name: str, said: str) -> StoreError:
    """Return why a store could not be reached."""
    for word, what, hint in _AT_CONNECTION:
        if word in said:
            return StoreError(f"the store {name} {what} ({said})", hint=hint)
    return StoreError(f"the store {name} cannot be reached ({said})", hint="see the server's log")


def by_state(name: str, state: str, said: str) -> StoreError:
    """Return what went wrong in a transaction."""
    if state in _BUSY:
        return StoreBusyError(
            f"the store {name} is held by another process ({said})",
            hint="nothing was changed: try again; pg_stat_activity tells who it is",
        )
    known = _BY_STATE.get(state) or _BY_STATE.get(state[:2])
    if known is None:
        return StoreError(f"the store {name}: {said} ({state})", hint=_BUG)
    what, hint = known
    return StoreError(f"the store {name} {what} ({said})", hint=hint)
