"""Stores of both kinds, empty and migrated; PostgreSQL only where a server can be had."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from poller.store.database import Database
from poller.store.migrate import migrate
from poller.store.store import Store
from poller.tracking.watch import Home
from tests.store.cluster import Cluster, NoServer, running
from tests.store.scenes import HOME, Clock, Daemon, entropy

OpenDaemon = Callable[..., Awaitable[Daemon]]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL server; without one its tests are skipped, or fail where it is required."""
    try:
        with running() as cluster:
            yield cluster
    except NoServer as missing:
        if os.environ.get("POLLER_TEST_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"POLLER_TEST_REQUIRE_POSTGRES is 1, but {missing}")
        pytest.skip(f"no PostgreSQL: {missing}")


@pytest.fixture(scope="session")
def migrated(cluster: Cluster) -> str:
    """Return the name of a migrated, empty database to make copies of."""
    name = cluster.create()
    database = Database(cluster.url(name))
    migrate(database)
    database.close()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty store of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'poller.db'}"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.create(template=request.getfixturevalue("migrated"))
    yield cluster.url(name)
    cluster.drop(name)


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

        async def open_(owner: str, home: Home = HOME, *, as_daemon: bool = True) -> Daemon:
            store = await Store.open(url, home, now=clock, random=entropy(), as_daemon=as_daemon)
            stack.push_async_callback(store.aclose)
            return Daemon(store, clock, owner)

        yield open_


@pytest.fixture
async def daemon(open_daemon: OpenDaemon) -> Daemon:
    """Open the store as the daemon that tests speak of, with the sink `app` configured."""
    daemon = await open_daemon("first")
    await daemon.store.configure_sinks(["app"])
    return daemon


@pytest.fixture
async def another(daemon: Daemon, open_daemon: OpenDaemon) -> Daemon:
    """Open a second store on the same database, beside `daemon`."""
    return await open_daemon("second", as_daemon=daemon.on_postgresql)
