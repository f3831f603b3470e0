"""Back a store in PostgreSQL up by the programs of its own, pg_dump and pg_restore.

The password goes to them by the environment, which only their user can read.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import StoreError
from penstock.store.connection import Store

SUFFIX = ".dump"
_PLAIN = ("--no-owner", "--no-privileges")  # whoever restores it may be another


def why_not(store: Store) -> str:
    """Return why pg_dump cannot be used here; empty: it can."""
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        return "pg_dump is not on PATH"
    done = subprocess.run(["pg_dump", "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    mine = next((word.split(".")[0] for word in words if word[:1].isdigit()), "0")
    with store.read() as view:
        row = view.one("SHOW server_version_num")
    server = int(row[0]) // 10000 if row else 0
    return "" if int(mine) >= server else f"pg_dump is of {mine}, and the server of {server}"


def dump(store: Store, target: Path) -> int:
    """Write one state of a store into a new file, whole or not at all; return its size."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with store.read() as view:
        row = view.one("SELECT current_schema()")
    schema = f"--schema={row[0]}" if row else ""
    try:
        aside.touch(mode=0o600)
        _run(store, "pg_dump", "--format=custom", schema, *_PLAIN, f"--file={aside}")
        _run(store, "pg_restore", "--list", str(aside), is_asked=False)
        os.link(aside, target)
        return target.stat().st_size
    except FileExistsError as error:
        raise StoreError(f"{target} is there already", hint="name another file") from error
    finally:
        aside.unlink(missing_ok=True)


def restore(store: Store, source: Path) -> None:
    """Put a dump in the place of all that is in a store, in one transaction."""
    _run(
        store, "pg_restore", "--clean", "--if-exists", "--single-transaction", *_PLAIN, str(source)
    )  # fmt: skip


def _run(store: Store, *argv: str, is_asked: bool = True) -> None:
    from penstock.store.postgresql import PostgreSQL  # noqa: PLC0415  an extra

    dialect = store.dialect
    assert isinstance(dialect, PostgreSQL)
    where, secret = dialect.libpq()
    words = [word for word in (*argv, f"--dbname={where}" if is_asked else "") if word]
    env: Mapping[str, str] = os.environ | secret
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        said = " ".join(dialect.clean(done.stderr).split())[-500:]
        raise StoreError(f"{argv[0]} failed for the store {store.name}: {said}")
