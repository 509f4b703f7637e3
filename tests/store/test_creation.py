"""A new store: made at once, as the migrations would have made it, or not at all."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from poller.store.database import Database
from poller.store.errors import StoreUnavailable
from poller.store.migrate import _LOCK, _upgrade, check_schema, create, migrate
from poller.store.migrations import HEAD
from tests.fakes.process import eventually
from tests.store.cluster import Cluster
from tests.store.described import Description, describe

# every one of them is a way to drift apart
DRIFTS = (
    "ALTER TABLE watches ADD COLUMN novelty TEXT",
    "ALTER TABLE watches ADD COLUMN novelty TEXT DEFAULT 'new'",
    "ALTER TABLE watches ADD COLUMN novelty INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE watches ADD COLUMN novelty INTEGER REFERENCES scopes (id)",
    "ALTER TABLE watches ADD COLUMN novelty INTEGER CHECK (novelty > 0)",
    "CREATE TABLE novelties (id INTEGER CONSTRAINT pk_novelties PRIMARY KEY)",
    "CREATE TABLE novelties (id INTEGER CONSTRAINT novelties_pkey PRIMARY KEY)",
    "CREATE INDEX novelty ON watches (phase)",
    "CREATE INDEX novelty ON watches (phase DESC)",
    "CREATE INDEX novelty ON watches (phase) WHERE phase <> 'ended'",
    "CREATE UNIQUE INDEX novelty ON watches (phase)",
    "DROP INDEX ix_watches_due",
    "INSERT INTO counters (name, value) VALUES ('novelty', 0)",
    "UPDATE counters SET value = 1",
    "UPDATE alembic_version SET version_num = '9999'",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Give a database of each kind with nothing in it."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'new.db'}")
        yield database
        database.close()
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.create()
    database = Database(cluster.url(name))
    yield database
    database.close()
    cluster.drop(name)


def described(database: Database) -> Description:
    """Describe what is committed."""
    with database.reading() as connection:
        return describe(connection)


def tables(database: Database) -> set[str]:
    """Name the tables that are committed."""
    with database.reading() as connection:
        return set(inspect(connection).get_table_names())


def test_created_is_what_migrated_would_be(empty: Database) -> None:
    """Tables, columns, types, defaults, constraints, indexes, first rows and the revision."""
    with empty.engine.connect() as connection:
        transaction = connection.begin()
        _upgrade(connection)
        migrated = describe(connection)
        transaction.rollback()
    assert tables(empty) == set()
    assert migrate(empty) == ""
    created = described(empty)
    # part by part, so that a failure is short
    assert created.keys() == migrated.keys()
    for part, found in created.items():
        assert found == migrated[part], part
    assert check_schema(empty) == HEAD
    assert migrate(empty) is None


def test_the_comparison_sees_every_drift(empty: Database) -> None:
    """It could not keep anything together otherwise."""
    migrate(empty)
    seen = [described(empty)]
    for drift in DRIFTS:
        with empty.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(text(drift))
            seen.append(describe(connection))
            transaction.rollback()
    for number, one in enumerate(seen):
        assert one not in seen[:number], ("", *DRIFTS)[number]


def test_what_is_in_the_way_stops_it_and_nothing_is_left(empty: Database) -> None:
    """A table of somebody else is not taken over, and what was made before it is gone."""
    with empty.writing() as connection:
        connection.execute(text("CREATE TABLE deliveries (id INTEGER)"))
    before = described(empty)
    with pytest.raises(StoreUnavailable, match="deliveries"):
        migrate(empty)
    assert described(empty) == before


def test_a_crash_at_the_last_statement_leaves_nothing(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start makes all of it."""

    def create_and_crash(connection: Connection, revision: str) -> None:
        create(connection, revision)
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr("poller.store.migrate.create", create_and_crash)
        with pytest.raises(KeyboardInterrupt):
            migrate(empty)
    assert tables(empty) == set()
    assert migrate(empty) == ""
    assert check_schema(empty) == HEAD


def test_a_revision_that_was_taken_back_is_no_store(empty: Database) -> None:
    """`alembic_version` without a row: as new as without the table."""
    with empty.writing() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
    assert migrate(empty) == ""
    assert check_schema(empty) == HEAD


def test_of_two_that_start_at_once_one_creates(cluster: Cluster) -> None:
    """On an empty PostgreSQL database; the other waits, and finds nothing to do."""
    name = cluster.create()
    daemons = [Database(cluster.url(name)) for _ in range(2)]
    onlooker = Database(cluster.url(name))
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :key AND NOT granted"
    )
    with ThreadPoolExecutor(max_workers=2) as threads, onlooker.writing() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        results = [threads.submit(migrate, daemon) for daemon in daemons]
        # by then both have seen an empty database
        eventually(lambda: connection.execute(waiting, {"key": _LOCK}).scalar_one() == 2)
    assert sorted(str(result.result(timeout=20)) for result in results) == ["", "None"]
    assert check_schema(onlooker) == HEAD
    for database in (*daemons, onlooker):
        database.close()
    cluster.drop(name)
