"""A server looked at before a daemon uses it; files are looked at in the tests of `check`."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from poller.store.database import Database
from poller.store.errors import StoreUnavailable
from poller.store.migrate import Condition, inspect_store, migrate
from poller.store.migrations import HEAD
from tests.store.cluster import Cluster


@pytest.fixture
def name(cluster: Cluster) -> Iterator[str]:
    """Make a database with our tables; its name."""
    name = cluster.create()
    database = Database(cluster.url(name))
    migrate(database)
    database.close()
    yield name
    cluster.drop(name)


def test_a_current_server(cluster: Cluster, name: str) -> None:
    """Tables of this program are recognized by their revision; nobody can hold a server."""
    condition = inspect_store(cluster.url(name))
    assert condition == Condition(is_file=False, exists=True, revision=HEAD)
    assert condition.is_current


def test_an_empty_database(cluster: Cluster) -> None:
    """An empty database is in order, and stays empty."""
    name = cluster.create()
    try:
        for _ in range(2):
            assert inspect_store(cluster.url(name)).revision == ""
    finally:
        cluster.drop(name)


def test_a_server_that_takes_no_writes(cluster: Cluster, name: str) -> None:
    """A standby, or a database that was made read-only, is refused with what to name instead."""
    database = Database(cluster.url(name))
    with database.writing() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    database.close()
    with pytest.raises(StoreUnavailable, match="takes no writes; name the primary"):
        inspect_store(cluster.url(name))


def test_a_database_that_is_not_there(cluster: Cluster) -> None:
    """What the server says comes with what to look at."""
    with pytest.raises(StoreUnavailable, match=r"does not exist; check store\.url"):
        inspect_store(cluster.url("absent"))
