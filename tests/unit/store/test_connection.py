"""A transaction and what it reads."""

from pathlib import Path

import pytest

from penstock.store.connection import Store, open_store


@pytest.fixture
def two(tmp_path: Path) -> tuple[Store, Store]:
    """One store, opened twice; nobody waits for the other."""
    url = f"sqlite:///{tmp_path / 'penstock.db'}"
    open_store(url, create=True).close()
    return Store(url, busy_s=0), Store(url, busy_s=0)


_MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i"
_MANY += ", version_num FROM n, alembic_version"


@pytest.mark.parametrize("is_streamed", [True, False])
def test_what_was_not_read_to_its_end_keeps_no_lock(
    two: tuple[Store, Store], is_streamed: bool
) -> None:
    one, other = two
    with one.write() as tx:
        found = tx.stream(_MANY) if is_streamed else tx.execute(_MANY)
        assert next(found)[0] == 1
        tx.execute("UPDATE alembic_version SET version_num = version_num")
    with other.write() as tx:  # its commit needs that nobody reads
        tx.execute("UPDATE alembic_version SET version_num = version_num")
    assert len(list(found)) == (0 if is_streamed else 8)
    one.close()
    other.close()


def test_what_was_not_read_keeps_no_lock_after_an_error(two: tuple[Store, Store]) -> None:
    one, other = two
    kept = []

    def fail() -> None:
        with one.write() as tx:
            kept.append(tx.stream(_MANY))
            next(kept[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with other.write() as tx:
        tx.execute("UPDATE alembic_version SET version_num = version_num")
    one.close()
    other.close()
