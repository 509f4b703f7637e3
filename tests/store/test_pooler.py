"""A store behind PgBouncer, which gives a connection to another client after each transaction."""

import os
from collections.abc import Iterator

import anyio
import pytest
from sqlalchemy import Connection, text

from poller.store.store import Store
from poller.tracking.delivery import AttemptResult
from poller.tracking.watch import AccountScope
from tests.store.cluster import Cluster, NoServer
from tests.store.pooler import pooling
from tests.store.scenes import HOME, Clock, Daemon, declare, op

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """Return the URL of an empty database behind a pooler with two connections."""
    try:
        with pooling(cluster, connections=2) as port:
            name = cluster.create()
            yield f"postgresql://poller@127.0.0.1:{port}/{name}"
    except NoServer as missing:
        if os.environ.get("POLLER_TEST_REQUIRE_POSTGRES") == "1":
            pytest.fail(f"POLLER_TEST_REQUIRE_POSTGRES is 1, but {missing}")
        pytest.skip(f"no PgBouncer: {missing}")
    cluster.drop(name)


async def test_three_daemons_behind_a_pooler(url: str, clock: Clock) -> None:
    """They share two connections: no statement is taken for prepared where it is not."""
    daemons = []
    for owner in ("first", "second", "third"):
        store = await Store.open(url, HOME, now=clock)
        daemons.append(Daemon(store, clock, owner))
        await store.configure_sinks(declare("app", owner=owner))

    async def work(daemon: Daemon, first: int) -> None:
        for number in range(first, first + 5):
            await daemon.run_through(op(number))
            claimed = await daemon.deliveries(limit=5)
            await daemon.settle(claimed, AttemptResult.DELIVERED)

    async with anyio.create_task_group() as workers:
        for place, daemon in enumerate(daemons):
            workers.start_soon(work, daemon, 100 * place)
    await daemons[0].drain()
    assert await daemons[0].store.waiting_ids("app", 10) == []
    for daemon in daemons:
        await daemon.store.aclose()


async def test_the_limits_of_transactions_hold_behind_a_pooler(url: str, clock: Clock) -> None:
    """They are set in each, on whatever connection it runs, and leave nothing behind."""
    stores = [await Store.open(url, HOME, now=clock) for _ in range(3)]

    def limits(connection: Connection, _scope: AccountScope) -> list[str]:
        return [
            str(connection.execute(text(f"SHOW {name}")).scalar_one())
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]

    for store in stores * 3:
        assert await store._read(limits) == ["8s", "6s", "5s"]
    for store in stores:
        await store.aclose()
