"""Fill a store with runs, arrays and spools: factories."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from penstock.model.evidence import Transition
from penstock.model.run import Array, PlannedArray, ReadyRun
from penstock.model.spec import Params, Request, Stage
from penstock.model.state import State
from penstock.store import attempts, ingest, submissions
from penstock.store.connection import Connection, Store
from penstock.store.submissions import NewSubmission, Submitted
from penstock.transport.protocol import Tail
from penstock.wire import spool

NOW = datetime(2024, 11, 20, 14, 0, tzinfo=UTC)
ME: dict[str, Any] = {"user": "alice", "cluster": "test"}
_serial = count(1)


def make_stage(**changed: Any) -> Stage:
    return Stage(**{"name": "main", "command": ("train", "{params}"), **changed})


def make_submission(**changed: Any) -> NewSubmission:
    number = next(_serial)
    return NewSubmission(
        **{
            "uid": f"{number:016x}",
            "project": "demo",
            "experiment": "sweep",
            **ME,
            "spec_text": "command: train",
            "folder": "/home/alice/demo",
            "file": "sweep.yaml",
            "code": "abc123",
            "stages": (make_stage(),),
            **changed,
        }
    )


def submit(store: Store, runs: int | Sequence[Params] = 3, **changed: Any) -> Submitted:
    listed = grid(runs) if isinstance(runs, int) else runs
    with store.write() as tx:
        return submissions.insert(
            tx, make_submission(**changed), ((0, submissions.params(one)) for one in listed), NOW
        )


def grid(runs: int) -> Iterator[Params]:
    return ({"lr": n / 10, "size": n} for n in range(runs))


def ready(store: Store, **who: Any) -> list[ReadyRun]:
    with store.read() as view:
        return list(attempts.ready(view, **{**ME, **who}))


def plan(store: Store, *, token: str = "", size: int | None = None, **who: Any) -> Array:
    """Plan one array of the runs that are ready."""
    of = {**ME, **who}
    with store.write() as tx:
        runs = tuple(attempts.ready(tx, **of))[:size]
        planned = PlannedArray(runs[0].stage, Request(cpus=2), runs, throttle=4)
        token = token or f"ps-{next(_serial)}"
        return attempts.insert_array(tx, planned, token=token, now=NOW, **of)


def written(store: Store, write: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Call a function in a transaction that writes."""
    with store.write() as tx:
        return write(tx, *args, **named)


def seen(store: Store, read: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Call a function in a transaction that reads."""
    with store.read() as view:
        return read(view, *args, **named)


def rows(store: Store, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    with store.read() as view:
        return list(view.execute(sql, params))


def move(store: Store, array: Array, state: State, *indices: int, **told: Any) -> None:
    """Move elements of an array; all that are left, where none is named."""

    def moved(tx: Connection) -> None:
        known = attempts.known(tx, array.id)
        chosen = [known[index] for index in indices or known]
        transitions = [Transition(one.attempt, state, **told) for one in chosen]
        attempts.apply(tx, transitions, NOW + timedelta(seconds=1))

    written(store, moved)


# --- spools ---------------------------------------------------------------------------------------


AT = NOW.timestamp() - 100


def opened(array: Array, index: int = 0, restart: int = 0, **changed: Any) -> bytes:
    record = {"k": "open", "at": AT, "token": array.token, "index": index, "restart": restart}
    return line(**{**record, "job": f"7_{index}", "node": "n1", "pid": 12, **changed})


def line(k: str, at: float = AT, **fields: Any) -> bytes:
    return spool.encode({"k": k, "at": at, **fields})


def points(key: str, values: Sequence[float], first: int = 0, **changed: Any) -> bytes:
    steps = list(range(first, first + len(values)))
    times = [round(AT + step / 10, 3) for step in steps]
    return line("m", **{"key": key, "steps": steps, "times": times, "values": values, **changed})


def ended(code: int | None = 0, **changed: Any) -> bytes:
    told = {"code": code, "signal": None, "cause": None, "detail": "", "peak": 1 << 30, "cpu": 2.5}
    return line("exit", **{**told, "wall": 3.5, "log": [0, 10], "sealed": True, **changed})


def take(
    store: Store,
    array: Array,
    data: bytes,
    *,
    at: tuple[int, int, int] = (0, 0, 0),
    is_done: bool = False,
) -> ingest.Ingested:
    """Ingest bytes of a spool; ``at`` is index, restart, offset."""
    with store.write() as tx:
        return ingest.ingest(tx, array.id, [Tail(*at, data, is_done)], NOW)
