"""A client that is frozen while it holds a lock: each lock that the store takes, one by one.

The holder takes the lock with the function of the store that takes it, and then its transaction
stands still. The server ends it, and those that wait for the lock go on.
"""

import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import pytest
from sqlalchemy import Connection, Table, text

from poller.comms.gate import Reason, Refusal, RequestEnd
from poller.store import sqlite
from poller.store.budgets import PermitRequest, change_pause, lease_permits
from poller.store.daemons import beat
from poller.store.database import Database
from poller.store.deliveries import release_deliveries
from poller.store.errors import StoreUnavailable
from poller.store.events import StoredEvent, prove_writable
from poller.store.groups import seal_group
from poller.store.migrate import hold_schema
from poller.store.postgres import MIGRATION, ORDINARY, Limits
from poller.store.registrations import register_all
from poller.store.retention import prune
from poller.store.schema import (
    budgets,
    counters,
    daemons,
    deliveries,
    events,
    group_breakdowns,
    groups,
    metadata,
    pauses,
    scopes,
    sinks,
    sweepers,
    watches,
)
from poller.store.scopes import find_or_create_scope
from poller.store.sinks import configure, enable
from poller.store.store import Store
from poller.store.sweeps import hold_sweep
from poller.store.watches import lock_watches
from poller.tracking.delivery import AttemptResult
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.store.scenes import HOME, NOW, POLICY, Clock, Daemon, declare, op, registration

pytestmark = pytest.mark.anyio

_MOST: Final = 10.0
_HURRIED: Final = 0.2
"""Seconds after which the server ends the holder, in place of five."""
_WEEK: Final = 7 * 86_400.0
_SOURCES: Final = Path(prune.__code__.co_filename).parent
_OTHER: Final = AccountScope(account="AC2", base_url=HOME.base_url)
_PAUSING: Final = RequestEnd(
    at=NOW, probe=False, refusal=Refusal(reason=Reason.UNAUTHORIZED, wait=60)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Two daemons, the second is `waiter`, and what the database holds.

    The history of two operations is delivered and old; `delivered` is an event of the one that
    ended first. Of another operation, the second daemon has claimed an event.
    """

    waiter: Daemon
    delivered: str
    claimed: StoredEvent

    @property
    def scope(self) -> AccountScope:
        """The account of both daemons."""
        return self.waiter.store.scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock: a daemon that takes it, and what another one cannot do meanwhile.

    `table` is the table whose rows are locked, None where the lock is not on rows.
    """

    table: Table | None
    hold: Callable[[Connection, Scene], object]
    wait: Callable[[Scene], Awaitable[object]]


def permits(owner: str) -> PermitRequest:
    """Ask for permits while nothing is under way."""
    return PermitRequest(owner=owner, in_flight=0, hurried=False, probe_seconds=1)


def member(operation: str) -> list[Registration]:
    """Register an operation as a member of a group that is not known yet."""
    return [Registration(id=operation, kind="messages", group="new")]


def migrate_beside(scene: Scene) -> None:
    """Take the lock as a daemon that starts."""
    with scene.waiter.store._database.writing(MIGRATION) as connection:
        hold_schema(connection)


def prune_one(connection: Connection, scene: Scene) -> object:
    """Remove the history of the operation that ended first."""
    return prune(connection, scene.scope, before=NOW)


LOCKS: Final = {
    "the position counter": Lock(
        table=counters,
        hold=lambda connection, scene: prove_writable(connection, scene.scope),
        wait=lambda scene: scene.waiter.observe(op(1), "PROCESSING", sent=2),
    ),
    "how far retention has come": Lock(
        table=counters,
        hold=prune_one,
        wait=lambda scene: scene.waiter.store.retention.prune(retention_seconds=_WEEK),
    ),
    "an operation": Lock(
        table=watches,
        hold=lambda connection, scene: lock_watches(connection, [op(1)], scene.scope),
        wait=lambda scene: scene.waiter.observe(op(1), "PROCESSING", sent=2),
    ),
    "the id of a new operation": Lock(
        table=watches,
        hold=lambda connection, scene: register_all(
            connection, scene.scope, [registration(op(9))], NOW, policy=POLICY
        ),
        wait=lambda scene: scene.waiter.register(op(9)),
    ),
    "a group": Lock(
        table=groups,
        hold=lambda connection, scene: seal_group(
            connection, scene.scope, "autumn", None, policy=POLICY, now=NOW
        ),
        wait=lambda scene: scene.waiter.join("autumn", op(9)),
    ),
    "the name of a new group": Lock(
        table=groups,
        hold=lambda connection, scene: register_all(
            connection, scene.scope, member(op(8)), NOW, policy=POLICY
        ),
        wait=lambda scene: scene.waiter.join("new", op(9)),
    ),
    "an event": Lock(
        table=events,
        hold=prune_one,
        wait=lambda scene: scene.waiter.store.replay_event(scene.delivered, ["late"]),
    ),
    "a delivery": Lock(
        table=deliveries,
        hold=lambda connection, scene: release_deliveries(
            connection, scene.scope, "app", [scene.claimed.position], scene.waiter.owner
        ),
        wait=lambda scene: scene.waiter.settle([scene.claimed], AttemptResult.DELIVERED),
    ),
    "the health of a sink": Lock(
        table=sinks,
        hold=lambda connection, scene: enable(connection, scene.scope, "app", NOW),
        wait=lambda scene: scene.waiter.deliveries(in_order=True),
    ),
    "the name of a new sink": Lock(
        table=sinks,
        hold=lambda connection, scene: configure(
            connection, scene.scope, declare("new", owner="third"), NOW
        ),
        wait=lambda scene: scene.waiter.store.configure_sinks(declare("new", owner="second")),
    ),
    "the pause": Lock(
        table=pauses,
        hold=lambda connection, scene: change_pause(connection, scene.scope, "first", _PAUSING),
        wait=lambda scene: scene.waiter.store.shared.change_pause("second", _PAUSING),
    ),
    "the budget": Lock(
        table=budgets,
        hold=lambda connection, scene: lease_permits(
            connection, scene.scope, permits("first"), NOW
        ),
        wait=lambda scene: scene.waiter.store.shared.lease_permits(permits("second")),
    ),
    "the sign of life of a daemon": Lock(
        table=daemons,
        hold=lambda connection, scene: beat(connection, scene.scope, "second", slots=0, now=NOW),
        wait=lambda scene: scene.waiter.store.shared.beat("second", slots=0),
    ),
    "who sweeps a kind": Lock(
        table=sweepers,
        hold=lambda connection, scene: hold_sweep(
            connection, scene.scope, "messages", "first", is_reading=True, now=NOW
        ),
        wait=lambda scene: scene.waiter.store.shared.hold_sweep(
            "messages", "second", is_reading=True
        ),
    ),
    "the name of a new account": Lock(
        table=scopes,
        hold=lambda connection, _scene: find_or_create_scope(connection, _OTHER),
        wait=lambda scene: scene.waiter.store._write(
            lambda connection, _scope: find_or_create_scope(connection, _OTHER)
        ),
    ),
    "the schema": Lock(
        table=None,
        hold=lambda connection, _scene: hold_schema(connection),
        wait=lambda scene: anyio.to_thread.run_sync(migrate_beside, scene),
    ),
}
# a writer of these has locked a row of the other table before, so nobody waits for them
_GUARDED: Final = {group_breakdowns: groups}


def test_every_lock_is_among_these() -> None:
    """One on the rows of each table; of the two that are not on rows, the one of daemons."""
    locked = {lock.table for lock in LOCKS.values() if lock.table is not None}
    assert locked | _GUARDED.keys() == set(metadata.tables.values())
    others = [
        (path.name, line.strip())
        for path in sorted(_SOURCES.rglob("*.py"))
        for line in path.read_text().splitlines()
        if "pg_advisory" in line or "LOCK TABLE" in line
    ]
    # the second one is of a copy, which refuses to begin while a daemon lives
    assert [name for name, _ in others] == ["copy.py", "migrate.py"]


@pytest.fixture
async def scene(daemon: Daemon, another: Daemon) -> Scene:
    """Make the scene, with two daemons that live."""
    await another.store.configure_sinks(declare("app", owner="second"))
    first, *_ = await daemon.run_through(op(3))
    await daemon.drain()
    daemon.clock.advance(1)
    await daemon.run_through(op(5))
    await daemon.drain()
    daemon.clock.advance(days=8)
    await daemon.register(op(1))
    await daemon.join("autumn", op(4))
    await daemon.store.shared.change_pause("first", _PAUSING)
    await daemon.store.shared.hold_sweep("messages", "first", is_reading=False)
    await daemon.observe(op(1), "PROCESSING", sent=1)
    [claimed] = await another.deliveries(limit=1)
    return Scene(waiter=another, delivered=first, claimed=claimed)


@asynccontextmanager
async def frozen(
    lock: Lock, scene: Scene, limits: Limits, idle: float | None
) -> AsyncIterator[None]:
    """Run the block while a client that has the lock stands still; it finds that it has lost."""
    holds, goes_on = threading.Event(), threading.Event()
    lost: list[StoreUnavailable] = []

    def stand_still() -> None:
        database = Database(scene.waiter.store._database.url.render_as_string())
        try:
            with database.writing(limits) as connection:
                if idle is not None:
                    setting = f"idle_in_transaction_session_timeout = '{idle * 1000:.0f}ms'"
                    connection.execute(text(f"SET LOCAL {setting}"))
                lock.hold(connection, scene)
                holds.set()
                goes_on.wait()
                connection.execute(text("SELECT 1"))
        except StoreUnavailable as error:
            lost.append(error)
        database.close()

    holder = threading.Thread(target=stand_still)
    holder.start()
    try:
        await anyio.to_thread.run_sync(holds.wait, 5)
        assert holds.is_set()
        yield
    finally:
        goes_on.set()
        await anyio.to_thread.run_sync(holder.join)
    assert "suspended or starved of CPU" in str(lost[0])


async def seconds_of_wait(lock: Lock, scene: Scene, limits: Limits, idle: float | None) -> float:
    """Return for how long the other daemon waits for the lock."""
    async with frozen(lock, scene, limits, idle):
        begun = anyio.current_time()
        await lock.wait(scene)
        return anyio.current_time() - begun


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
async def test_a_holder_is_frozen(scene: Scene, lock: Lock) -> None:
    """Another daemon waits until the server ends the holder, and no longer; nothing fails."""
    waited = await seconds_of_wait(lock, scene, ORDINARY, _HURRIED)
    assert _HURRIED * 0.8 < waited < _HURRIED + 2


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("name", "limits"), [("the position counter", ORDINARY), ("the schema", MIGRATION)]
)
async def test_a_holder_is_frozen_with_the_limits_as_they_are(
    scene: Scene, name: str, limits: Limits
) -> None:
    """Those of each transaction, and those of a migration."""
    assert 1 < await seconds_of_wait(LOCKS[name], scene, limits, None) < _MOST


def test_the_limits_end_a_frozen_holder_before_a_waiter_gives_up() -> None:
    """So the waiter finds the lock free in place of an error."""
    assert ORDINARY.idle < ORDINARY.lock < ORDINARY.statement < _MOST
    assert MIGRATION.idle < _MOST


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_the_holder_of_the_write_turn_of_a_file_is_frozen(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can end it from outside: writers are refused after ten seconds, reads go on."""
    assert sqlite._BUSY <= _MOST
    monkeypatch.setattr("poller.store.sqlite._BUSY", 0.05)
    store = await Store.open(url, HOME, now=clock)
    daemon = Daemon(store, clock, "first")
    await daemon.register(op(1))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process holds it"):
            await daemon.register(op(2))
        assert (await store.summary(since=clock())).watched == 1
    assert [one.is_new for one in await daemon.register(op(2))] == [True]
    await store.aclose()
