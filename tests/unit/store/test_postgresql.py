"""What is known of PostgreSQL without one: URLs, and what its refusals mean."""

import subprocess
import sys

import pytest

from penstock.errors import StoreBusyError, StoreError
from penstock.store.connection import Store, open_store
from penstock.store.postgresql import conninfo, name, placed
from penstock.store.refusal import at_connection, by_state

SECRET = "hunter2"


def test_full_disk_and_read_only_server_are_told() -> None:
    assert "disk is full" in str(by_state("s", "53100", "could not extend file"))
    assert "standby" in str(by_state("s", "25006", "cannot execute INSERT"))
    assert "is damaged" in str(by_state("s", "XX001", "invalid page"))
    assert isinstance(by_state("s", "40P01", "deadlock"), StoreBusyError)
    assert "bug" in str(by_state("s", "42601", "syntax error"))
    assert "starting" in str(at_connection("s", "FATAL: the database system is starting up"))
    assert "see the server's log" in str(at_connection("s", "something new"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://",
        "postgresql://me:hun/ter2@host/db",
        "postgresql://me:hunter2@x@host/db",
        "postgresql://me:hunter2@host:hunter2/db",
        "postgresql://me:hunter2#@host/db",
        "postgresql://me@host/db?passwrd=hunter2",
    ],
)
def test_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(StoreError, match=r"cannot be read(.|\n)*%40") as raised:
        open_store(url)
    assert "ter2" not in f"{raised.value}"
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "url, shown",
    [
        (
            "postgresql+psycopg://me:p%40ss@host:5433/db?sslmode=require",
            "postgresql://me@host:5433/db",
        ),
        ("postgresql://host/db?password=hunter2&user=me", "postgresql://me@host/db"),
        ("postgresql://a,b/db", "postgresql://a,b/db"),
        ("postgresql+psycopg:///db?host=/tmp/sock", "postgresql:///tmp/sock/db"),
    ],
)
def test_store_is_named_without_its_password(url: str, shown: str) -> None:
    assert name(conninfo(url)) == shown
    assert Store(url).name == shown


def test_parameters_are_placed() -> None:
    assert (
        placed("a LIKE '% ' || b AND c = ? AND d = ?") == "a LIKE '% ' || b AND c = $1 AND d = $2"
    )


WITHOUT = """
import sys
sys.modules["psycopg"] = None
from penstock.errors import StoreError
from penstock.store.connection import Store
try:
    Store("postgresql://me:hunter2@host/db")
except StoreError as error:
    print(error)
"""


def test_without_psycopg_the_extra_is_named() -> None:
    argv = [sys.executable, "-c", WITHOUT]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "penstock[postgres]" in said
    assert SECRET not in said
