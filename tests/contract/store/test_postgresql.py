"""What only a server can do to a store: be away, be lost, refuse, be shared by many at once."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from penstock.errors import Fenced, StoreBusyError, StoreError
from penstock.store import check, lease
from penstock.store.connection import Store, open_store
from penstock.store.migrations import server as migrating
from penstock.store.migrations import upgrade
from tests import postgresql
from tests.contract.store.making import ME, rows, submit
from tests.postgresql import Server

SECRET = "hunter2"
ADD = "INSERT INTO experiment (id, project, name, next_number) VALUES (?, 'p', ?, 1)"


@pytest.fixture
def store(emptied: str) -> Iterator[Store]:
    opened = open_store(emptied, busy_s=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def other() -> Iterator[Server]:
    """Run a server that may be stopped, without a trusted user."""
    if postgresql.programs() is None:
        pytest.skip(postgresql.MISSING)
    with postgresql.running() as server:
        server.sql("CREATE DATABASE penstock")
        server.sql(f"CREATE ROLE alice LOGIN PASSWORD '{SECRET}'")
        server.sql("CREATE ROLE reader LOGIN PASSWORD 'x'")
        open_store(server.url("penstock"), create=True).close()
        server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "penstock")
        yield server


def tcp(
    server: Server, user: str = "alice", password: str = "x", database: str = "penstock"
) -> str:
    secret = f":{password}" if password else ""
    return f"postgresql+psycopg://{user}{secret}@127.0.0.1:{server.port}/{database}"


# --- tables ---------------------------------------------------------------------------------------


def test_migrations_make_the_tables(server: Server) -> None:
    server.sql("DROP DATABASE IF EXISTS made WITH (FORCE)")
    server.sql("CREATE DATABASE made")
    store = open_store(server.url("made"), create=True)
    with migrating.engine(store.dialect).connect() as raw:
        context = MigrationContext.configure(raw, opts={"compare_type": False})  # see below
        assert compare_metadata(context, SQLModel.metadata) == []
    columns = server.sql(
        "SELECT DISTINCT data_type, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version'",
        "made",
    )
    assert set(columns.split()) == {"bigint|", "text|C", "bytea|", "double", "precision|"}


def test_several_make_a_store_at_once(server: Server) -> None:
    server.sql("DROP DATABASE IF EXISTS made WITH (FORCE)")
    server.sql("CREATE DATABASE made")
    make = "import sys\nfrom penstock.store.connection import open_store\n"
    argv = [sys.executable, "-c", make + "open_store(sys.argv[1], create=True)", server.url("made")]
    programs = [subprocess.Popen(argv) for _ in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    assert check.check(open_store(server.url("made"))) == []


def test_schema_of_another_program_is_left_alone(server: Server) -> None:
    server.sql("DROP DATABASE IF EXISTS made WITH (FORCE)")
    server.sql("CREATE DATABASE made")
    server.sql("CREATE TABLE run (x int)", "made")
    with pytest.raises(StoreError, match="not a Penstock store"):
        open_store(server.url("made"), create=True)
    server.sql("DROP TABLE run; CREATE TABLE alembic_version (version_num varchar(32))", "made")
    server.sql("INSERT INTO alembic_version VALUES ('1bd49d398cd23')", "made")  # MLflow's
    with pytest.raises(StoreError, match="not a Penstock store"):
        open_store(server.url("made"), create=True)
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    assert server.sql(tables, "made") == "1"


def test_database_that_cannot_hold_all_texts_is_refused(server: Server) -> None:
    server.sql("DROP DATABASE IF EXISTS latin")
    how = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    server.sql(f"CREATE DATABASE latin {how}")
    with pytest.raises(StoreError, match="LATIN1"):
        open_store(server.url("latin"), create=True)


@pytest.mark.parametrize("create", [False, True])
def test_newer_store_is_refused(server: Server, whole: str, create: bool) -> None:
    server.sql("UPDATE alembic_version SET version_num = '9999'", "whole")
    try:
        with pytest.raises(StoreError, match="newer Penstock"):
            open_store(whole, create=create)
    finally:
        server.sql(f"UPDATE alembic_version SET version_num = '{upgrade.head()}'", "whole")


def test_empty_database_is_no_store(server: Server) -> None:
    with pytest.raises(StoreError, match=r"not a Penstock store"):
        open_store(server.url("postgres"))


# --- several at once ------------------------------------------------------------------------------

MANY = """
import sys
from penstock.store import lease
from penstock.store.connection import open_store
from tests.contract.store.making import submit
store = open_store(sys.argv[1])
for n in range(int(sys.argv[3])):
    submit(store, 7, uid=f"{sys.argv[2]}.{n}")
    fence = lease.take(store, user="alice", cluster="test", holder=sys.argv[2], ttl_s=0)
    print(fence)
"""


def test_several_processes_lose_nothing_and_share_no_fence(store: Store) -> None:
    argv = [sys.executable, "-c", MANY]
    programs = [
        subprocess.Popen([*argv, store.url, str(n), "15"], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    told = [program.communicate()[0].split() for program in programs]
    assert [program.returncode for program in programs] == [0] * 4
    fences = [int(fence) for one in told for fence in one]
    assert sorted(fences) == list(range(1, 61))
    numbers = rows(store, "SELECT number FROM run ORDER BY number")
    assert numbers == [(number,) for number in range(1, 4 * 15 * 7 + 1)]
    assert check.check(store) == []


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Hold a transaction that writes, in another thread."""
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.write():
            inside.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_writer_that_waits_too_long_is_told_who_holds_the_store(store: Store) -> None:
    with writing(store):
        with pytest.raises(StoreBusyError, match=r"penstock \(penstock \d+ on .*server process"):
            submit(store, 1)
        assert rows(store, "SELECT count(*) FROM run") == [(0,)]  # readers go on
    submit(store, 1)


def test_reader_sees_one_state(store: Store) -> None:
    with store.read() as view:
        assert view.one("SELECT count(*) FROM run") == (0,)
        thread = threading.Thread(target=submit, args=(store, 3))
        thread.start()
        thread.join()
        assert view.one("SELECT count(*) FROM run") == (0,)
    assert rows(store, "SELECT count(*) FROM run") == [(3,)]


def test_fence_holds_against_one_that_commits_meanwhile(store: Store) -> None:
    """Between the look at the lease and the write nobody can take it."""
    first = lease.take(store, **ME, holder="a:1", ttl_s=60)
    assert first is not None
    got: list[int | None] = []
    other = Store(store.url, busy_s=20)

    def steal() -> None:
        got.append(lease.take(other, **ME, holder="b:2", ttl_s=60, is_gone=lambda _: True))

    with store.write() as tx:
        lease.check_fence(tx, **ME, fence=first)
        thread = threading.Thread(target=steal)
        thread.start()
        thread.join(0.5)
        assert got == []
        lease.check_fence(tx, **ME, fence=first)
    thread.join()
    assert got == [first + 1]
    with store.write() as tx, pytest.raises(Fenced):
        lease.check_fence(tx, **ME, fence=first)


# --- the connection is lost -----------------------------------------------------------------------


def stopped_and_started(server: Server) -> None:
    server.stop()
    server.start()


def test_server_that_was_restarted_is_found_again(other: Server) -> None:
    store = open_store(other.url("penstock"))
    submit(store, 1, uid="a")
    stopped_and_started(other)
    submit(store, 1, uid="b")
    assert rows(store, "SELECT uid FROM submission ORDER BY uid") == [("a",), ("b",)]


def test_transaction_that_loses_its_server_leaves_nothing(other: Server) -> None:
    store = open_store(other.url("penstock"))
    before = rows(store, "SELECT count(*) FROM experiment")

    def insert() -> None:
        with store.write() as tx:
            tx.change(ADD, (9, "lost"))
            stopped_and_started(other)
            tx.one("SELECT 1")

    with pytest.raises(StoreError, match=r"was (lost|stopped)(.|\n)*nothing was changed"):
        insert()
    assert rows(store, "SELECT count(*) FROM experiment") == before


def test_commit_that_loses_its_server_says_that_nobody_knows(other: Server) -> None:
    store = open_store(other.url("penstock"))

    def change() -> None:
        with store.write() as tx:
            tx.change("UPDATE experiment SET next_number = next_number")
            stopped_and_started(other)

    with pytest.raises(StoreError, match=r"moment of a commit(.|\n)*look whether it counts"):
        change()
    assert rows(store, "SELECT 1") == [(1,)]


def test_server_that_is_stopped_does_not_answer(other: Server) -> None:
    store = open_store(other.url("penstock"))
    other.stop()
    try:
        with pytest.raises(StoreError, match="does not answer"):
            rows(store, "SELECT 1")
    finally:
        other.start()
    assert rows(store, "SELECT 1") == [(1,)]


# --- refusals -------------------------------------------------------------------------------------


def refused(url: str) -> str:
    with pytest.raises(StoreError) as raised:
        open_store(url, busy_s=1)
    assert raised.value.hint
    chain: BaseException | None = raised.value
    while chain is not None:  # what --debug prints
        assert SECRET not in f"{chain}{chain!r}"
        chain = chain.__cause__
    return str(raised.value)


def test_refusals_say_why_and_never_the_password(other: Server) -> None:
    assert "refuses the password" in refused(tcp(other, password=f"{SECRET}x"))
    assert "asks for a password" in refused(tcp(other, password=""))
    assert "is not there" in refused(tcp(other, password=SECRET, database="none"))
    wrong = tcp(other, password=SECRET).replace(str(other.port), "1")
    assert "does not answer" in refused(wrong)
    assert "nobody knows" in refused(wrong.replace("127.0.0.1", "no.such.host.invalid"))
    assert "refuses you" in refused(tcp(other, password=SECRET))


def test_store_that_may_only_be_read_can_be_read(other: Server) -> None:
    store = open_store(tcp(other, user="reader"))
    rows(store, "SELECT count(*) FROM run")
    with pytest.raises(StoreError, match=r"refuses you(.|\n)*granted"):
        submit(store, 1)
    store.close()


# --- statements -----------------------------------------------------------------------------------


def test_nan_is_null_and_nul_is_replaced(store: Store) -> None:
    with store.read() as view:
        assert view.one("SELECT ?::float8 IS NULL, ?::text", (float("nan"), "a\0b")) == (
            True,
            "a\ufffdb",
        )


@pytest.mark.parametrize("many", [3, 500])
def test_many_rows_are_counted_and_exact(store: Store, many: int) -> None:
    texts = ["\\N", "tab\there", "line\nfeed", "", "\\", "é\u2028", "'"]
    told = [(n + 1, "p", f"{n}{texts[n % 7]}", 1 << 40) for n in range(many)]
    sql = "INSERT INTO experiment (id, project, name, next_number) VALUES (?, ?, ?, ?)"
    with store.write() as tx:
        assert tx.executemany(sql, told) == many
        assert tx.executemany(sql, []) == 0
        assert (
            tx.executemany("UPDATE experiment SET project = ? WHERE id = ?", [("q", 1), ("q", -1)])
            == 1
        )
        assert list(tx.stream("SELECT id, name FROM experiment ORDER BY id")) == [
            (made, text) for made, _, text, _ in told
        ]


def test_error_that_is_swallowed_takes_the_transaction_with_it(store: Store) -> None:
    def swallow() -> None:
        with store.write() as tx:
            tx.change(
                "INSERT INTO experiment (id, project, name, next_number) VALUES (1,'p','x',1)"
            )
            with pytest.raises(psycopg.Error):
                tx.one("SELECT nothing FROM nowhere")

    with pytest.raises(StoreError, match="took back"):
        swallow()
    assert rows(store, "SELECT count(*) FROM experiment") == [(0,)]


def test_check_finds_a_sequence_that_would_give_an_id_again(store: Store, server: Server) -> None:
    submit(store, 1)
    server.sql(
        "INSERT INTO directive (id, owner, verb, run_id, at) VALUES (9999, 'a', 'cancel', 1, 0)",
        "whole",
    )
    assert check.check(store) == ["the next row of directive would have the id of another"]


def test_users_act_under_a_role_that_owns_the_tables(server: Server) -> None:
    """As the guide tells: whoever makes the tables, all of them may use and migrate them."""
    server.sql("DROP DATABASE IF EXISTS shared WITH (FORCE)")
    for name_ in ("sue", "tom", "digits"):
        server.sql(f"DROP ROLE IF EXISTS {name_}")
    server.sql("CREATE DATABASE shared")
    server.sql(
        "CREATE ROLE sue LOGIN; CREATE ROLE tom LOGIN; CREATE ROLE digits NOLOGIN;"
        " GRANT digits TO sue, tom; ALTER DATABASE shared OWNER TO digits;"
        " ALTER ROLE sue IN DATABASE shared SET role = digits;"
        " ALTER ROLE tom IN DATABASE shared SET role = digits"
    )
    first = open_store(server.url("shared", "sue"), create=True)
    second = open_store(server.url("shared", "tom"), create=True)
    submit(first, 2, user="sue")
    submit(second, 3, user="tom")
    assert rows(second, "SELECT count(*) FROM run") == [(5,)]
    assert server.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'",
                      "shared") == "digits"  # fmt: skip
    first.close()
    second.close()


@pytest.mark.parametrize("many", [3, 250])
def test_many_rows_are_inserted_or_changed(store: Store, many: int) -> None:
    submit(store, many)
    runs = [run for (run,) in rows(store, "SELECT id FROM run ORDER BY id")]
    sql = (
        "INSERT INTO tag (run_id, key, number, text) VALUES (?, coalesce(?, 'none'), ?, ?)"
        " ON CONFLICT (run_id, key) DO UPDATE SET number = excluded.number, text = excluded.text"
    )
    with store.write() as tx:
        assert tx.executemany(sql, [(run, "k", None, "old") for run in runs]) == many
        changed = [(run, None if run % 2 else "k", 2.5, "new ? %") for run in runs]
        assert tx.executemany(sql, changed) == many
        twice = [
            (runs[0], "twice", n, "x") for n in range(many)
        ]  # each changes what one before did
        tx.executemany(sql, twice)
    told = rows(store, "SELECT key, number, text, count(*) FROM tag GROUP BY 1, 2, 3 ORDER BY 1, 2")
    odd = sum(run % 2 for run in runs)
    assert told == [
        ("k", 2.5, "new ? %", many - odd),
        ("k", None, "old", odd),
        ("none", 2.5, "new ? %", odd),
        ("twice", many - 1.0, "x", 1),
    ]


KEEPER = """
import time
from tests import postgresql
with postgresql.running() as server:
    pid = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    print(server.folder, pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_server_of_the_tests_ends_with_them(server: Server, how: signal.Signals) -> None:
    root = Path(__file__).parents[3]
    argv = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        folder, pid = keeper.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        keeper.send_signal(how)
    end = time.monotonic() + 30
    while Path(folder).exists() or Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
