"""Two daemons on one PostgreSQL database that write the same rows at the same moment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, event, select, text, update

from poller.store import sweeps
from poller.store.claims import ClaimRequest
from poller.store.deliveries import complete_and_claim
from poller.store.schema import deliveries, sinks, watches
from poller.store.sweeps import Listed
from poller.tracking.delivery import AttemptResult, DeliveryState
from poller.tracking.pacing import Policy
from poller.tracking.watch import AccountScope
from tests.store.scenes import Clock, Daemon, attempt, op, registration, seen, snapshot

pytestmark = pytest.mark.anyio

shared = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


def deadlocks(connection: Connection, _scope: AccountScope) -> int:
    """Count the deadlocks that the server has ended in this database."""
    query = "SELECT pg_stat_clear_snapshot(), deadlocks FROM pg_stat_database"
    row = connection.execute(text(f"{query} WHERE datname = current_database()")).one()
    return int(row.deadlocks)


@contextmanager
def statements(daemon: Daemon) -> Iterator[list[str]]:
    """Collect the statements that a store sends."""
    sent: list[str] = []

    def note(*arguments: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        sent.append(" ".join(str(arguments[2]).split()))

    engine = daemon.store._database.engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@shared
async def test_the_same_registrations_in_opposite_order(daemon: Daemon, another: Daemon) -> None:
    """Rows are locked in the order of their ids over all of a request: nobody waits in a circle."""
    # more than one statement takes
    many = [registration(op(number)) for number in range(600)]
    await daemon.store.register(many)
    before = await daemon.store._read(deadlocks)

    async def register(one: Daemon, registrations: Sequence[Any]) -> None:
        for _ in range(2):
            found = await one.store.register(registrations)
            assert len(found) == len(many)

    async with anyio.create_task_group() as both:
        both.start_soon(register, daemon, many)
        both.start_soon(register, another, many[::-1])
    assert await daemon.store._read(deadlocks) == before


async def test_rows_of_a_request_are_locked_before_any_is_inserted(daemon: Daemon) -> None:
    """What is new of the first part must not be held while the second part is waited for."""
    await daemon.register(op(1100))
    with statements(daemon) as sent:
        await daemon.store.register([registration(op(number)) for number in range(1200)])
    kinds = [one.split()[0] for one in sent if "watches" in one]
    assert kinds == ["SELECT"] * 3 + ["INSERT"] * 3


@shared
async def test_a_claim_in_order_waits_for_another_one(daemon: Daemon, another: Daemon) -> None:
    """What another daemon is about to claim comes before the later events of its operation."""
    await daemon.register(op(1))
    for step in (1, 2, 3):
        await daemon.record((op(1), seen(op(1), stats={"sent": step})))
    rows = await daemon.rows(deliveries)
    first, *_ = sorted(row["position"] for row in rows)
    claimed: list[int] = []

    async def claim() -> None:
        found = await another.deliveries(in_order=True)
        claimed.extend(one.position for one in found)

    async with anyio.create_task_group() as tasks:
        with daemon.store._database.writing() as connection:
            request = ClaimRequest(
                sink="app", limit=1, in_order=True, in_flight=0, lease=daemon.lease()
            )
            held = complete_and_claim(
                connection,
                daemon.store.scope,
                [],
                request,
                now=daemon.clock(),
                random=Random(1),  # noqa: S311 - jitter
            )
            tasks.start_soon(claim)
            await anyio.sleep(0.5)
            assert claimed == []
    assert [one.position for one in held.claimed] == [first]
    assert claimed == []


async def test_a_quiet_exchange_locks_no_row_of_a_sink(daemon: Daemon) -> None:
    """All workers of all daemons share that row: only what may change it locks it."""
    await daemon.run_through(op(1))
    [first] = await daemon.deliveries(limit=1)
    with statements(daemon) as sent:
        await daemon.settle([first], AttemptResult.DELIVERED)
        [second] = await daemon.deliveries(limit=1)
    assert [
        one for one in sent if "sinks" in one and ("UPDATE" in one or "FOR UPDATE" in one)
    ] == []
    with statements(daemon) as sent:
        await daemon.settle([second], AttemptResult.FAILED)
    assert [one for one in sent if one.startswith("UPDATE sinks")] != []


@shared
async def test_a_quiet_exchange_waits_for_nobody(daemon: Daemon, another: Daemon) -> None:
    """Another daemon holds the row of the sink: what was delivered is written all the same."""
    await daemon.run_through(op(1))
    [claimed] = await daemon.deliveries(limit=1)

    def hold(connection: Connection, _scope: AccountScope) -> None:
        connection.execute(select(sinks).with_for_update()).all()
        anyio.from_thread.run(asyncio_settle)

    async def asyncio_settle() -> None:
        with anyio.fail_after(3):
            await daemon.settle([claimed], AttemptResult.DELIVERED)

    def holding() -> None:
        database = another.store._database
        database.write(lambda connection: hold(connection, another.store.scope))

    await anyio.to_thread.run_sync(holding)
    assert await daemon.drain() != []


async def test_what_was_not_delivered_counts_only_for_who_holds_the_lease(
    daemon: Daemon, another: Daemon, clock: Clock
) -> None:
    """A late failure must not end the attempt that another daemon makes meanwhile."""
    await daemon.run_through(op(1))
    [claimed] = await daemon.deliveries(limit=1)
    begun_at = clock()
    await _take_away(daemon, another.owner)
    late = attempt(AttemptResult.REFUSED, begun_at, status=400)
    result = await daemon.exchange((claimed.position, late), limit=0)
    assert result.finished == {}
    [row] = await _leases(daemon, claimed.position)
    assert (row.lease_owner, row.attempts) == (another.owner, 0)
    await daemon.store.release_deliveries("app", [claimed.position], daemon.owner)
    assert (await _leases(daemon, claimed.position))[0].lease_owner == another.owner


async def test_a_delivery_counts_whoever_holds_the_lease(
    daemon: Daemon, another: Daemon, clock: Clock
) -> None:
    """It is a fact, and need not be repeated."""
    await daemon.run_through(op(1))
    [claimed] = await daemon.deliveries(limit=1)
    await _take_away(daemon, another.owner)
    done = attempt(AttemptResult.DELIVERED, clock())
    result = await daemon.exchange((claimed.position, done), limit=0)
    assert result.finished[claimed.position].state is DeliveryState.DELIVERED


async def _take_away(daemon: Daemon, owner: str) -> None:
    def take(connection: Connection, _scope: AccountScope) -> None:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.lease_owner.is_not(None))
            .values(lease_owner=owner)
        )

    await daemon.store._write(take)


async def _leases(daemon: Daemon, position: int) -> Sequence[Any]:
    def read(connection: Connection, _scope: AccountScope) -> Sequence[Any]:
        return connection.execute(select(deliveries).where(deliveries.c.position == position)).all()

    return await daemon.store._read(read)


@shared
async def test_a_page_does_not_postpone_what_another_daemon_has_moved(
    daemon: Daemon, another: Daemon, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was recorded after the page had read the rows sets the next poll."""
    await daemon.register(op(1), op(2))
    stats = {"total": 3, "delivered": 1}
    document: dict[str, Any] = {
        "createdAt": "2026-11-22T09:59:00Z",
        "updatedAt": "2026-11-22T09:59:30Z",
    }
    for number in (1, 2):
        answer = seen(op(number), at=clock(), stats=stats, **document)
        await daemon.record((op(number), answer))
    clock.advance(60)
    sooner = clock()

    def in_between(connection: Connection, rows: Any, original: Any = sweeps._unchanged) -> Any:  # noqa: ANN401
        another.store._database.write(
            lambda other: other.execute(
                update(watches).where(watches.c.id == op(1)).values(due_at=sooner, set_at=sooner)
            )
        )
        return original(connection, rows)

    monkeypatch.setattr(sweeps, "_unchanged", in_between)
    page = Listed(
        kind="messages",
        operations=[snapshot(op(number), stats=stats, **document) for number in (1, 2)],
        begun_at=clock(),
        arrived_at=clock(),
    )
    swept = await daemon.store.record_page(page, policy=Policy(), discover_since=None)
    assert swept.quiet == 2

    def due(connection: Connection, _scope: AccountScope) -> Sequence[Any]:
        return connection.execute(select(watches.c.due_at).order_by(watches.c.id)).scalars().all()

    first, second = await daemon.store._read(due)
    assert first == sooner
    assert second > clock()


@shared
async def test_replay_and_delivery_lock_in_the_same_order(daemon: Daemon, another: Daemon) -> None:
    """The sink first, then its deliveries: an operator's replay does not end an exchange."""
    ids = [op(number) for number in range(15)]
    for one in ids:
        await daemon.run_through(one)
    before = await daemon.store._read(deadlocks)
    events = []
    while claimed := await daemon.deliveries(limit=100):
        events += claimed
        await daemon.settle(claimed, AttemptResult.DELIVERED)

    async def replay() -> None:
        for stored in events[:15]:
            await another.store.replay_event(stored.id, ["app"])

    async def deliver() -> None:
        for _ in range(10):
            claimed = await daemon.deliveries(limit=20)
            await daemon.settle(claimed, AttemptResult.FAILED)
            daemon.clock.advance(5)

    async with anyio.create_task_group() as both:
        both.start_soon(replay)
        both.start_soon(deliver)
    assert await daemon.store._read(deadlocks) == before
