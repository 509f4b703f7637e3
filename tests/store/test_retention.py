"""Retention: what is done and old goes, what waits stays, and a stub remembers."""

import itertools
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import from_thread, to_thread
from sqlalchemy import Connection, update

from poller.store import retention, retention_store, time_slice
from poller.store.dead_letters import UnknownEvent
from poller.store.errors import StoreUnavailable
from poller.store.registrations import register_all
from poller.store.retention import Pruned
from poller.store.schema import deliveries, events, watches
from poller.store.store import Store
from poller.tracking.delivery import AttemptResult
from poller.tracking.watch import AccountScope, Outcome
from tests.store.conftest import SLOW_ON_POSTGRESQL
from tests.store.scenes import HOME, POLICY, Clock, Daemon, declare, op, registration, seen

pytestmark = pytest.mark.anyio

DAY = 86_400.0


async def tidy(daemon: Daemon) -> Pruned:
    """Run one step of retention for a day."""
    return await daemon.store.retention.prune(retention_seconds=DAY)


def fix_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every step read `number` operations, however fast it is."""
    monkeypatch.setattr(retention, "_CHUNK", number)
    monkeypatch.setattr(time_slice, "_SECONDS", 0.0)


async def finish(daemon: Daemon, *numbers: int) -> None:
    """See three changes of each operation, its end the last, and deliver everything."""
    ids = [op(number) for number in numbers]
    await daemon.register(*ids)
    for status, delivered in (("PROCESSING", 0), ("PROCESSING", 2), ("COMPLETED", 3)):
        stats = {"total": 3, "delivered": delivered}
        await daemon.record(*((one, seen(one, status, stats=stats)) for one in ids))
    await daemon.drain()


@SLOW_ON_POSTGRESQL
async def test_what_has_ended_and_was_delivered_goes(daemon: Daemon) -> None:
    """Not before its time: counted from its end and from the last of its deliveries."""
    await daemon.run_through(op(1))
    daemon.clock.advance(days=0.5)
    await daemon.drain()
    daemon.clock.advance(days=0.6)
    assert await tidy(daemon) == Pruned()
    daemon.clock.advance(days=0.5)
    assert await tidy(daemon) == Pruned(operations=1, events=3)
    assert await daemon.count(events) == 0
    assert await daemon.count(deliveries) == 0
    assert await daemon.count(watches) == 1


@SLOW_ON_POSTGRESQL
async def test_what_still_waits_is_kept(daemon: Daemon) -> None:
    """However old: a delivery that is due, one that backs off, an operation without an end."""
    await daemon.run_through(op(1))
    await daemon.run_through(op(2))
    await daemon.register(op(3))
    await daemon.observe(op(3), "PROCESSING")
    claimed = await daemon.deliveries(limit=1)
    await daemon.settle(claimed, AttemptResult.FAILED)
    daemon.clock.advance(days=2)
    assert await tidy(daemon) == Pruned()
    assert len(await daemon.drain()) == 7
    daemon.clock.advance(days=2)
    assert await tidy(daemon) == Pruned(operations=2, events=6)
    assert await daemon.count(events) == 1


@SLOW_ON_POSTGRESQL
async def test_what_is_still_needed_does_not_hold_up_the_rest(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink that is down keeps the oldest: steps pass them, each reads a few, and come round."""
    fix_step(monkeypatch, 3)
    for number in range(7):
        await daemon.run_through(op(number))
        daemon.clock.advance(1)
    await finish(daemon, 7)
    await daemon.store._write(wait_again, [op(number) for number in range(7)])
    daemon.clock.advance(days=2)
    steps = [await tidy(daemon) for _ in range(4)]
    assert [step.operations for step in steps] == [0, 0, 1, 0]
    assert [step.more for step in steps] == [True, True, False, True]


def wait_again(connection: Connection, _scope: AccountScope, ids: Sequence[str]) -> None:
    """Let deliveries that were made wait, as those of a sink that is down."""
    connection.execute(
        update(deliveries).where(deliveries.c.subject.in_(ids)).values(state="waiting")
    )


async def test_an_event_that_is_replayed_meanwhile_is_kept(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delivery waits once the step has chosen the operation: what was promised is not lost."""
    await finish(daemon, 1)
    daemon.clock.advance(days=2)
    original = retention._remove_history
    replays = [1, 1, 1]

    def in_between(
        connection: Connection, scope: AccountScope, ids: Sequence[str]
    ) -> tuple[int, int]:
        if replays:
            replays.pop()
            wait_again(connection, scope, ids)
        return original(connection, scope, ids)

    monkeypatch.setattr(retention, "_remove_history", in_between)
    with suppress(StoreUnavailable):
        await tidy(daemon)
    assert await daemon.count(events) == 3


@SLOW_ON_POSTGRESQL
async def test_dead_letters_are_kept_as_long_as_the_rest_and_counted(daemon: Daemon) -> None:
    """From the moment they died; who prunes them can say how many were lost for good."""
    await daemon.run_through(op(1))
    daemon.clock.advance(days=3)
    for _ in range(3):
        await daemon.settle(await daemon.deliveries(), AttemptResult.FAILED)
        # a sink that fails gets one attempt at a time, with a wait between them
        daemon.clock.advance(5)
    daemon.clock.advance(days=0.9)
    assert await tidy(daemon) == Pruned()
    daemon.clock.advance(days=0.2)
    assert await tidy(daemon) == Pruned(operations=1, events=3, dead_letters=3)


async def test_pruning_goes_in_small_steps(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write between them; the last step says that there is no more."""
    fix_step(monkeypatch, 20)
    await finish(daemon, *range(30))
    daemon.clock.advance(days=2)
    steps = [await tidy(daemon) for _ in range(3)]
    assert [step.operations for step in steps] == [20, 10, 0]
    assert [step.more for step in steps] == [True, False, False]
    assert await daemon.count(events) == 0


@SLOW_ON_POSTGRESQL
async def test_a_stub_answers_an_end(daemon: Daemon) -> None:
    """A late registration neither watches again nor repeats the end."""
    await finish(daemon, 1)
    daemon.clock.advance(days=2)
    await tidy(daemon)
    [known] = await daemon.register(op(1))
    assert not known.is_new
    assert known.watch is not None
    assert (known.watch.is_final, known.watch.snapshot) == (True, None)
    assert known.watch.emitted.status == "COMPLETED"
    assert known.watch.emitted.counters == {"total": 3, "delivered": 3}
    assert await daemon.claim() == []
    daemon.clock.advance(days=2)
    await tidy(daemon)
    assert await daemon.count(watches) == 1


async def test_a_stub_goes_on_where_the_operation_was(daemon: Daemon) -> None:
    """Forgotten, pruned, registered again: sequence and deltas continue."""
    await daemon.register(op(1))
    await daemon.observe(op(1), "PROCESSING", total=5, queued=5)
    await daemon.observe(op(1), "PROCESSING", total=5, sent=5)
    await daemon.store.forget(op(1))
    await daemon.drain()
    daemon.clock.advance(days=2)
    assert await tidy(daemon) == Pruned(operations=1, events=2)
    [resumed] = await daemon.register(op(1))
    assert resumed.is_new
    same = await daemon.observe(op(1), "PROCESSING", total=5, sent=5)
    assert list(same.events) == []
    end = await daemon.observe(op(1), "COMPLETED", total=5, delivered=5)
    [recorded] = end.events
    assert recorded.event.sequence == 3
    assert recorded.event.data["delta"] == {"sent": -5, "delivered": 5}
    assert recorded.event.data["previousStatus"] == "PROCESSING"
    assert len(await daemon.drain()) == 1
    daemon.clock.advance(days=2)
    assert await tidy(daemon) == Pruned(operations=1, events=1)


@SLOW_ON_POSTGRESQL
async def test_a_stub_is_removed_after_fourteen_days(daemon: Daemon) -> None:
    """Then the operation is as unknown as it ever was."""
    await finish(daemon, 1)
    daemon.clock.advance(days=13)
    assert await tidy(daemon) == Pruned(operations=1, events=3)
    assert await tidy(daemon) == Pruned()
    daemon.clock.advance(days=1.9)
    assert await tidy(daemon) == Pruned()
    daemon.clock.advance(days=0.2)
    assert await tidy(daemon) == Pruned(stubs=1)
    assert await daemon.count(watches) == 0
    [again] = await daemon.register(op(1))
    assert again.is_new


async def test_a_stub_that_comes_to_life_is_not_removed(daemon: Daemon, another: Daemon) -> None:
    """It is being registered again when its removal comes: what was acknowledged stays."""
    await daemon.register(op(1))
    await daemon.store.forget(op(1))
    daemon.clock.advance(days=2)
    assert await tidy(daemon) == Pruned(operations=1)
    daemon.clock.advance(days=13)
    registered, tidied = anyio.Event(), threading.Event()

    def register() -> None:
        with daemon.store._database.writing() as connection:
            register_all(
                connection,
                daemon.store.scope,
                [registration(op(1))],
                daemon.clock(),
                policy=POLICY,
            )
            from_thread.run_sync(registered.set)
            # a SQLite file has one writer, for which the removal waits
            assert daemon.store._database.is_sqlite or tidied.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, register)
        await registered.wait()
        assert await tidy(another) == Pruned()
        tidied.set()
    assert await daemon.claim() == [op(1)]


@SLOW_ON_POSTGRESQL
async def test_a_long_retention_keeps_for_its_time(daemon: Daemon) -> None:
    """The fourteen days of the stub begin when retention ends: a late registration finds it."""
    await finish(daemon, 1)
    daemon.clock.advance(days=20)
    assert await daemon.store.retention.prune(retention_seconds=30 * DAY) == Pruned()
    assert await daemon.count(events) == 3
    daemon.clock.advance(days=11)
    pruned = await daemon.store.retention.prune(retention_seconds=30 * DAY)
    assert pruned == Pruned(operations=1, events=3)
    [again] = await daemon.register(op(1))
    assert (again.is_new, again.watch and again.watch.outcome) == (False, Outcome.COMPLETED)


@SLOW_ON_POSTGRESQL
async def test_a_pruned_event_cannot_be_replayed(daemon: Daemon) -> None:
    """It is reported as unknown, never replayed in part."""
    [first, *_] = await daemon.run_through(op(1))
    await daemon.drain()
    daemon.clock.advance(days=2)
    await tidy(daemon)
    with pytest.raises(UnknownEvent):
        await daemon.store.replay_event(first, None)


@SLOW_ON_POSTGRESQL
async def test_a_replayed_event_keeps_its_operation(daemon: Daemon) -> None:
    """From its new delivery on, time starts again."""
    [first, *_] = await daemon.run_through(op(1))
    await daemon.drain()
    daemon.clock.advance(days=2)
    await daemon.store.replay_event(first, None)
    assert await tidy(daemon) == Pruned()
    await daemon.drain()
    assert await tidy(daemon) == Pruned()
    daemon.clock.advance(days=1.1)
    assert (await tidy(daemon)).operations == 1


async def test_positions_go_on_after_everything_was_pruned(daemon: Daemon) -> None:
    """No position is given out twice: readers of the event stream rely on it."""
    await finish(daemon, 1)
    daemon.clock.advance(days=2)
    await tidy(daemon)
    await daemon.register(op(2))
    observation = await daemon.observe(op(2), "PROCESSING")
    assert [recorded.position for recorded in observation.events] == [4]


async def test_a_step_ends_when_its_time_is_over(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All writers wait for it, so it does what fits: on a slow machine less."""
    monkeypatch.setattr(retention, "_CHUNK", 2)
    monkeypatch.setattr(time_slice, "_SECONDS", 0.012)
    moments = itertools.count(0.0, 0.005)
    monkeypatch.setattr(time_slice, "monotonic", lambda: next(moments))
    await finish(daemon, *range(10))
    daemon.clock.advance(days=2)
    assert [(await tidy(daemon)).operations for _ in range(3)] == [6, 4, 0]


async def test_operations_with_many_events_are_deleted_one_by_one(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is checked after each of them."""
    fix_step(monkeypatch, 5)
    monkeypatch.setattr(retention, "_CHUNK_EVENTS", 6)
    await finish(daemon, *range(5))
    daemon.clock.advance(days=2)
    assert [(await tidy(daemon)).operations for _ in range(4)] == [2, 2, 1, 0]
    monkeypatch.setattr(retention, "_CHUNK_EVENTS", 1)
    await finish(daemon, 5, 6)
    daemon.clock.advance(days=2)
    assert [(await tidy(daemon)).operations for _ in range(3)] == [1, 1, 0]


async def test_many_stubs_are_deleted_in_several_steps(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one says that there are no more."""
    monkeypatch.setattr(retention, "_STUBS", 3)
    await finish(daemon, *range(5))
    daemon.clock.advance(days=2)
    await tidy(daemon)
    daemon.clock.advance(days=15)
    monkeypatch.setattr(time_slice, "_SECONDS", 0.0)
    steps = [await tidy(daemon) for _ in range(3)]
    assert [(step.stubs, step.more) for step in steps] == [(3, True), (2, False), (0, False)]


async def test_a_step_waits_for_a_checkpoint(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log begins again where nobody writes; else it grows, and then a commit copies it."""
    store = await Store.open(f"sqlite:///{tmp_path / 'poller.db'}", HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    checkpoints = store._database._checkpoints
    assert checkpoints is not None
    done: list[object] = []

    async def run(step: Callable[[], Awaitable[object]]) -> None:
        done.append(await step())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            with checkpoints._running:
                tasks.start_soon(run, partial(tidy, daemon))
                tasks.start_soon(run, store.retention.shrink)
                # others do not wait
                await daemon.register(op(1))
                assert done == []
    assert len(done) == 2
    # an old reader can hold one up for long
    monkeypatch.setattr(retention_store, "_CHECKPOINT_SECONDS", 0.01)
    with checkpoints._running:
        await tidy(daemon)
    await store.aclose()


async def test_the_file_stays_bounded(tmp_path: Path, clock: Clock) -> None:
    """Generations come and go; the file does not grow with them, and shrinks when it is quiet."""
    store = await Store.open(f"sqlite:///{tmp_path / 'poller.db'}", HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await store.configure_sinks(declare("app"))
    empty = await to_thread.run_sync(_pages, daemon)
    pages = []
    numbers = itertools.count()
    for _ in range(12):
        await finish(daemon, *itertools.islice(numbers, 20))
        clock.advance(days=2)
        # on a loaded machine a step takes fewer than one generation
        while (await tidy(daemon)).more:
            pass
        pages.append(await to_thread.run_sync(_pages, daemon))
    # the stubs of fourteen days are seven generations
    assert max(pages[8:]) <= 1.1 * max(pages[:8])
    clock.advance(days=15)
    while (await tidy(daemon)).stubs:
        pass
    while await store.retention.shrink():
        pass
    assert await to_thread.run_sync(_pages, daemon) <= (empty + 4) / 0.9
    await store.aclose()


async def test_some_of_the_file_stays_unused(tmp_path: Path, clock: Clock) -> None:
    """What comes next takes it; a file that another program has made never shrinks."""
    for name, vacuum in (("ours", "INCREMENTAL"), ("other", "NONE")):
        path = tmp_path / f"{name}.db"
        store = await Store.open(f"sqlite:///{path}", HOME, now=clock)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA auto_vacuum = {vacuum}")
            connection.execute("VACUUM")
            connection.execute("CREATE TABLE filling AS SELECT zeroblob(4000000) AS content")
            connection.execute("DROP TABLE filling")
        daemon, portions = Daemon(store, clock, name), 0
        full = await to_thread.run_sync(_pages, daemon)
        while await store.retention.shrink():
            portions += 1
        left = await to_thread.run_sync(_pages, daemon)
        if name == "ours":
            assert portions > 1
            assert 0 < await to_thread.run_sync(_unused, daemon) <= left / 10
        else:
            assert (portions, left) == (0, full)
        await store.aclose()


def _pages(daemon: Daemon) -> int:
    with daemon.store._database.reading() as connection:
        return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())


def _unused(daemon: Daemon) -> int:
    with daemon.store._database.reading() as connection:
        return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())
