"""Stores of both kinds, empty and migrated; PostgreSQL only where a server can be had."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, text

from poller.store.database import Database
from poller.store.errors import StoreUnavailable
from poller.store.migrate import migrate
from poller.store.schema import POSITION, counters, metadata
from poller.store.store import Store
from poller.tracking.watch import AccountScope
from tests.store.cluster import Cluster
from tests.store.scenes import APP, HOME, Clock, Daemon, configure, entropy
from tests.store.template import new_store

OpenDaemon = Callable[..., Awaitable[Daemon]]
SLOW_ON_POSTGRESQL = pytest.mark.parametrize(
    "url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
"""For a test whose every statement another test runs on PostgreSQL, and that needs neither its
locks nor its clock: `make test` runs it on SQLite, `make slow` on both."""


@pytest.fixture(scope="session")
def migrated(cluster: Cluster) -> Iterator[Database]:
    """Return a migrated PostgreSQL database."""
    database = Database(cluster.url(cluster.create()))
    migrate(database)
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty SQLite file of the current schema to make copies of."""
    path = tmp_path_factory.mktemp("migrated") / "poller.db"
    new_store(path)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store of each kind."""
    if request.param == "sqlite":
        return new_store(tmp_path / "poller.db")
    database: Database = request.getfixturevalue("migrated")
    try:
        _empty(database)
    except StoreUnavailable:
        # a test before has spoiled the tables
        with database.writing() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        migrate(database)
    return database.url.set(drivername="postgresql").render_as_string()


def _empty(database: Database) -> None:
    with database.writing() as connection:
        # TRUNCATE makes new files for every table and index: forty times the work
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
        connection.execute(insert(counters).values(name=POSITION, value=0))


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the test."""
    return Clock()


@pytest.fixture
async def open_daemon(url: str, clock: Clock) -> AsyncIterator[OpenDaemon]:
    """Open stores on the database of the test; they are closed afterwards.

    The second one on a SQLite file is opened as a command beside the daemon.
    """
    async with AsyncExitStack() as stack:

        async def open_(
            owner: str, scope: AccountScope = HOME, *, as_daemon: bool = True
        ) -> Daemon:
            store = await Store.open(url, scope, now=clock, random=entropy(), as_daemon=as_daemon)
            stack.push_async_callback(store.aclose)
            return Daemon(store, clock, owner)

        yield open_


@pytest.fixture
async def daemon(open_daemon: OpenDaemon) -> Daemon:
    """Open the store as the daemon that tests speak of, with the sink `app` configured."""
    daemon = await open_daemon("first")
    await configure(daemon.store, "app")
    daemon.wanting = (APP,)
    return daemon


@pytest.fixture
async def another(daemon: Daemon, open_daemon: OpenDaemon) -> Daemon:
    """Open a second store on the same database, beside `daemon`."""
    return await open_daemon("second", as_daemon=daemon.on_postgresql)
