"""A PostgreSQL server that is not there any more: nobody waits for it."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any, cast

import anyio
import pytest
from sqlalchemy import Connection, text

from poller.store.database import Call, Database
from poller.store.errors import StoreUnavailable
from poller.store.store import Store
from poller.tracking.watch import AccountScope
from tests.fakes.line import Line
from tests.store.cluster import Cluster
from tests.store.scenes import HOME, Clock, Daemon, op

pytestmark = pytest.mark.anyio


@pytest.fixture
def name(cluster: Cluster) -> Iterator[str]:
    """Make an empty database."""
    name = cluster.create()
    yield name
    cluster.drop(name)


@pytest.fixture
def line(cluster: Cluster) -> Iterator[Line]:
    """Lay a line to the server, which can fall silent."""
    with Line(cluster.socket / ".s.PGSQL.5432") as line:
        yield line


@pytest.fixture
async def daemon(line: Line, name: str, clock: Clock) -> AsyncIterator[Daemon]:
    """Open a store over the line."""
    store = await Store.open(f"postgresql://poller@127.0.0.1:{line.port}/{name}", HOME, now=clock)
    yield Daemon(store, clock, "first")
    line.restore()
    await store.aclose()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let deadlines be a tenth of what they are."""
    monkeypatch.setattr("poller.store.database._SERVER_TIMEOUT", 1.0)
    monkeypatch.setattr("poller.store.transactions._FIRST_ANSWER", 0.3)


@pytest.mark.usefixtures("hurried")
async def test_old_connections_that_fall_silent(daemon: Daemon, line: Line) -> None:
    """They are cut, and what was asked for is done on a fresh one: nobody sees an error."""
    await daemon.register(op(1))
    line.silence()
    with anyio.fail_after(5):
        assert [one.is_new for one in await daemon.register(op(1), op(2))] == [False, True]
        assert (await daemon.store.summary(since=daemon.clock())).watched == 2


@pytest.mark.usefixtures("hurried")
async def test_a_connection_that_falls_silent_in_a_transaction(daemon: Daemon, line: Line) -> None:
    """The caller learns that it may or may not be done; the thread comes back; all goes on."""

    def stall(connection: Connection, _scope: AccountScope) -> None:
        line.silence()
        connection.execute(text("SELECT 1"))

    threads = threading.active_count()
    with anyio.fail_after(5), pytest.raises(StoreUnavailable, match="may or may not be done"):
        await daemon.store._write(stall)
    assert [one.is_new for one in await daemon.register(op(1))] == [True]
    with anyio.fail_after(5):
        while threading.active_count() > threads + 1:  # noqa: ASYNC110 - of the product's threads
            await anyio.sleep(0.01)


@pytest.mark.usefixtures("hurried")
async def test_nobody_queues_behind_a_call_that_hangs(daemon: Daemon, line: Line) -> None:
    """In a black hole, all who ask have their answer within two deadlines, and after it at once."""
    line.silence(everything=True)
    refused: list[str] = []

    async def ask() -> None:
        with pytest.raises(StoreUnavailable) as error:
            await daemon.register(op(1))
        refused.append(str(error.value))

    with anyio.fail_after(4):
        async with anyio.create_task_group() as many:
            for _ in range(8):
                many.start_soon(ask)
    assert len(refused) == 8
    assert any("does not answer; nothing was done" in one for one in refused)
    line.restore()
    assert [one.is_new for one in await daemon.register(op(1))] == [True]


async def test_a_process_that_stops_keeps_its_time(daemon: Daemon, line: Line) -> None:
    """What is under way ends early, and what begins then has no longer."""
    line.silence(everything=True)
    ended: list[float] = []

    async def ask() -> None:
        with pytest.raises(StoreUnavailable):
            await daemon.register(op(1))
        ended.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        begun = anyio.current_time()
        with daemon.store.finishing(0.3):
            await ask()
    assert max(ended) - begun < 1


@pytest.mark.usefixtures("hurried")
async def test_a_start_that_is_ended_waits_for_nothing(line: Line, name: str, clock: Clock) -> None:
    """SIGTERM before the database has answered: the start is given up at once."""
    line.silence(everything=True)
    begun = anyio.current_time()
    with anyio.move_on_after(0.2):
        await Store.open(f"postgresql://poller@127.0.0.1:{line.port}/{name}", HOME, now=clock)
    assert anyio.current_time() - begun < 1
    line.restore()


async def test_a_connection_that_refuses_writes_is_dropped(
    cluster: Cluster, name: str, clock: Clock
) -> None:
    """The primary has become a standby: what the pool holds is of no use any more."""
    store = await Store.open(cluster.url(name) + "&target_session_attrs=any", HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await daemon.register(op(1))
    cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    cluster.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )
    with pytest.raises(StoreUnavailable, match="takes no writes; name the primary"):
        await daemon.register(op(2))
    cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    # the very next one: a connection of the standby was not kept
    assert [one.is_new for one in await daemon.register(op(2))] == [True]
    await store.aclose()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("connect_timeout=soon", None),
        ("prepare_threshold=often", "prepare_threshold is 'often'; set a whole number or \"none\""),
        ("sslmod=require", "unknown option 'sslmod'"),
        ("keepalives_idle=3&keepalives_idle=4", None),
    ],
)
async def test_bad_options_of_a_url(options: str, said: str | None, clock: Clock) -> None:
    """They are refused in a sentence that names them, as something to change."""
    with pytest.raises(StoreUnavailable) as error:
        await Store.open(f"postgresql://poller@127.0.0.1:1/poller?{options}", HOME, now=clock)
    assert error.value.needs_change
    assert (said or options.partition("=")[0]) in str(error.value)


@pytest.mark.parametrize("threshold", ["5", "0", "none"])
async def test_the_prepare_threshold_is_taken_from_the_url(
    cluster: Cluster, name: str, clock: Clock, threshold: str
) -> None:
    """A number or none; what libpq does not know is not handed to it."""
    url = f"{cluster.url(name)}&prepare_threshold={threshold}"
    store = await Store.open(url, HOME, now=clock)
    with closing(store._database.engine.raw_connection()) as connection:
        found = cast("Any", connection.driver_connection).prepare_threshold
    assert found == (None if threshold == "none" else int(threshold))
    await store.aclose()


def test_the_limits_of_a_transaction_are_its_own(cluster: Cluster, name: str) -> None:
    """They are set in each transaction, and nothing of them is left in the session."""
    database = Database(cluster.url(name))
    with database.reading() as connection:
        shown = [
            connection.execute(text(f"SHOW {one}")).scalar_one()
            for one in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
    assert shown == ["8s", "6s", "5s"]
    with closing(database.engine.raw_connection()) as raw:
        cursor = raw.cursor()
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)
    database.close()


def test_a_commit_that_is_not_answered_is_not_repeated(cluster: Cluster, name: str) -> None:
    """It may be done: only what failed before it runs again by itself."""
    database = Database(cluster.url(name))
    runs = []

    def kill(connection: Connection) -> None:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        runs.append(pid)
        cluster.execute(f"SELECT pg_terminate_backend({pid})")

    with pytest.raises(StoreUnavailable, match="may or may not be done"):
        database.write(kill)
    assert len(runs) == 1

    def kill_once(connection: Connection) -> None:
        if len(runs) == 1:
            kill(connection)
        connection.execute(text("SELECT 1"))

    database.write(kill_once)
    assert len(runs) == 2
    database.close()


def test_a_connection_that_is_lost_before_its_rollback_changes_no_outcome(
    cluster: Cluster, name: str
) -> None:
    """What was read stands, and so does what a write failed with."""
    database = Database(cluster.url(name))

    def cut(connection: Connection) -> int:
        pid = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        cluster.execute(f"SELECT pg_terminate_backend({pid})")
        return pid

    assert database.read(cut)

    def cut_and_fail(connection: Connection) -> None:
        cut(connection)
        raise StoreUnavailable("the reason of the work itself")

    with pytest.raises(StoreUnavailable, match="the reason of the work itself"):
        database.write(cut_and_fail)
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # of a queue
    database.close()


def test_a_call_that_nobody_waits_for_writes_nothing(cluster: Cluster, name: str) -> None:
    """Its thread may come back late: it must not commit then."""
    database, call = Database(cluster.url(name)), Call()
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE kept (value int)"))

    def late(connection: Connection) -> None:
        connection.execute(text("INSERT INTO kept VALUES (1)"))
        call.is_abandoned = True

    with database.calling(call), pytest.raises(StoreUnavailable, match="no longer waits"):
        database.write(late)
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar_one() == 0
    database.close()
