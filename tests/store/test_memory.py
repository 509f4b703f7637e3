"""A store in memory: one connection for everything, and nothing kept that is no longer needed."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from poller.store.schema import deliveries, events
from poller.store.store import Store
from poller.tracking.delivery import AttemptResult
from poller.tracking.registration import register
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import HOME, NOW, POLICY, Clock, Daemon, op, registration, seen

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scratch(clock: Clock) -> AsyncIterator[Daemon]:
    """Return a daemon on a store in memory."""
    store = await Store.open("sqlite://", HOME, now=clock)
    yield Daemon(store, clock, "scratch")
    await store.aclose()


async def test_it_leaves_no_file(
    scratch: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a database nor a lock, and two are two."""
    monkeypatch.chdir(tmp_path)
    other = await Store.open("sqlite://", HOME, now=scratch.clock)
    await scratch.register(op(1))
    assert (await other.summary(since=NOW)).watched == 0
    await other.aclose()
    await scratch.store.retention.prune(retention_seconds=0)
    assert [path async for path in anyio.Path(tmp_path).iterdir()] == []


async def test_readers_and_writers_take_turns(scratch: Daemon) -> None:
    """All of them share the connection, also those that read beside the engine elsewhere."""
    await scratch.register(*(op(number) for number in range(50)))
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(scratch.observe, op(number), "PROCESSING")
            tasks.start_soon(scratch.store.foreign_operations)
            tasks.start_soon(scratch.store.sinks)
    assert await scratch.count(events) == 50
    claimed = await scratch.deliveries(limit=100)
    assert len(claimed) == 50


@SLOW_ON_POSTGRESQL
async def test_watches_go_on_where_somebody_else_left_them(daemon: Daemon) -> None:
    """The next event has the next number, and its delta begins at what was emitted before."""
    await daemon.register(op(1))
    made = await daemon.observe(op(1), "PROCESSING", total=9, delivered=4)
    assert made.watch is not None
    store = await Store.open("sqlite://", HOME, now=daemon.clock)
    scratch = Daemon(store, daemon.clock, "scratch")
    await scratch.store.add_watches([made.watch])
    (observation,) = await scratch.record(
        (op(1), seen(op(1), "COMPLETED", stats={"total": 9, "delivered": 9}))
    )
    (recorded,) = observation.events
    assert recorded.event.sequence == 2
    assert recorded.event.data["delta"] == {"delivered": 5}
    await scratch.store.aclose()


async def test_thousands_of_watches_are_added(scratch: Daemon, clock: Clock) -> None:
    """In bounded statements."""
    found = [register(None, registration(op(n)), scope=HOME, now=clock())[0] for n in range(2500)]
    await scratch.store.add_watches(found)
    assert (await scratch.store.summary(since=NOW)).watched == 2500


async def test_what_was_delivered_is_dropped_and_what_waits_stays(daemon: Daemon) -> None:
    """Of what is still watched as well; the next event goes on from the row of the watch."""
    await daemon.register(op(1), op(2))
    await daemon.observe(op(1), "PROCESSING", delivered=1)
    await daemon.observe(op(2), "PROCESSING", delivered=1)
    first, second = await daemon.deliveries(limit=2)
    await daemon.settle([first], AttemptResult.DELIVERED)
    await daemon.settle([second], AttemptResult.FAILED)
    await daemon.store.drop_delivered()
    assert await daemon.count(events) == 1
    assert await daemon.count(deliveries) == 1
    (observation,) = await daemon.record(
        (first.subject, seen(first.subject, "COMPLETED", stats={"delivered": 3})),
        policy=POLICY,
    )
    (recorded,) = observation.events
    assert (recorded.event.sequence, recorded.event.data["delta"]) == (2, {"delivered": 2})


@SLOW_ON_POSTGRESQL
async def test_events_that_no_sink_wants_are_dropped(daemon: Daemon) -> None:
    """Nobody waits for them."""
    await daemon.register(op(1))
    await daemon.record((op(1), seen(op(1))), to=())
    assert await daemon.count(events) == 1
    await daemon.store.drop_delivered()
    assert await daemon.count(events) == 0
