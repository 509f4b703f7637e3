"""Deliveries: what waits for each sink, in what order it may go, and what became of it.

Order is a query, not a state: per sink and operation an event may go only when none before it
waits. So a crash between any two steps leaves nothing to mend.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from poller.store.database import lease_clock
from poller.store.rows import delivery_of, delivery_values, difference
from poller.store.schema import deliveries, events, microseconds
from poller.store.sinks import health_for_update, write_health
from poller.store.tenancy import Tenant
from poller.store.watches import Lease
from poller.tracking.delivery import Delivery, DeliveryAttempt, DeliveryState, after_attempt
from poller.tracking.sink_health import Health, SinkState, after_result, may_probe

__all__ = [
    "ClaimRequest",
    "Claimed",
    "Exchange",
    "complete_and_claim",
    "recall",
    "release_deliveries",
    "waiting_ids",
]

_WAITING = DeliveryState.WAITING.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An event that its sink may be given now, for as long as the lease lasts."""

    position: int
    event_id: str
    operation_id: str
    type: str
    body: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a dispatcher can start now.

    `in_order` takes events in commit order, several of one operation included, for a sink that
    is given one batch at a time. Otherwise each event is of another operation. `in_flight`
    counts what it has started and not yet finished: a sink that is down is probed by one alone.
    """

    sink: str
    limit: int
    in_order: bool
    in_flight: int
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What the store made of finished attempts, and what may be started next."""

    finished: Mapping[int, Delivery]
    before: Health
    health: Health
    claimed: Sequence[Claimed]
    next_due: datetime | None


def complete_and_claim(
    connection: Connection,
    tenant: Tenant,
    attempts: Sequence[tuple[int, DeliveryAttempt]],
    demand: ClaimRequest,
    *,
    now: datetime,
    random: Random,
) -> Exchange:
    """Write what became of finished attempts and claim what may go next, in one transaction."""
    before = health_for_update(connection, tenant, demand.sink, now)
    finished = _settle(connection, demand.sink, attempts, now, random)
    health = before
    for _, attempt in attempts:
        was_down = health.state is SinkState.DOWN
        health = after_result(health, attempt, now=now, jitter=random.random())
        if was_down and health.state is SinkState.OK:
            # now, even where a failure from before follows in the same hands
            _make_due(connection, tenant, demand.sink, now)
    claimed: list[Claimed] = []
    if demand.limit > 0:
        claimed, health = _claim(connection, tenant, demand, health, now)
    if health != before:
        write_health(connection, tenant, demand.sink, health)
    return Exchange(
        finished=finished,
        before=before,
        health=health,
        claimed=claimed,
        next_due=None if claimed else _next_due(connection, tenant, demand.sink, now),
    )


def release_deliveries(
    connection: Connection,
    tenant: Tenant,  # noqa: ARG001 - no condition: a planner would read all of a scope by it
    sink: str,
    positions: Sequence[int],
) -> None:
    """Give up claims without an attempt: the deliveries are as due as they were."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.sink == sink, deliveries.c.position.in_(positions))
        .values(lease_owner=None, lease_until=None)
    )


def void_leases(connection: Connection, tenant: Tenant, owner: str | None = None) -> None:
    """Void every claim of `owner`, or of anybody: who held them is gone."""
    holder = deliveries.c.lease_owner
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state == _WAITING,
            holder.is_not(None) if owner is None else holder == owner,
        )
        .values(lease_owner=None, lease_until=None)
    )


def void_future_waits(connection: Connection, tenant: Tenant, now: datetime) -> int:
    """Make due what waits since a moment in the future: the clock went back. Returns how many."""
    statement = (
        update(deliveries)
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state == _WAITING,
            deliveries.c.set_at > now,
        )
        .values(due_at=now, set_at=now)
    )
    return connection.execute(statement).rowcount


def recall(
    connection: Connection, tenant: Tenant, sink: str, delivered: Sequence[str], now: datetime
) -> int:
    """Count as delivered what the sink says it already holds. Returns how many."""
    positions = select(events.c.position).where(events.c.id.in_(delivered))
    statement = (
        update(deliveries)
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.sink == sink,
            deliveries.c.state == _WAITING,
            deliveries.c.position.in_(positions.scalar_subquery()),
        )
        .values(
            state=DeliveryState.DELIVERED.value, done_at=now, attempts=deliveries.c.attempts + 1
        )
    )
    return connection.execute(statement).rowcount


def waiting_ids(
    connection: Connection, tenant: Tenant, sink: str, limit: int, skip: int = 0
) -> list[str]:
    """List the ids of events that wait for a sink, the oldest first, from `skip` on."""
    query = (
        select(events.c.id)
        .join(deliveries, deliveries.c.position == events.c.position)
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state == _WAITING,
            deliveries.c.sink == sink,
        )
        .order_by(events.c.position)
        .limit(limit)
        .offset(skip)
    )
    return list(connection.execute(query).scalars())


def _settle(
    connection: Connection,
    sink: str,
    attempts: Sequence[tuple[int, DeliveryAttempt]],
    now: datetime,
    random: Random,
) -> dict[int, Delivery]:
    by_position = dict(attempts)
    if not by_position:
        return {}
    query = (
        select(deliveries)
        .where(deliveries.c.sink == sink, deliveries.c.position.in_(sorted(by_position)))
        .order_by(deliveries.c.position)
        .with_for_update()
    )
    finished: dict[int, Delivery] = {}
    alike: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in connection.execute(query).mappings().all():
        before = delivery_of(row)
        if before.state is not DeliveryState.WAITING:
            continue
        position = row["position"]
        after = after_attempt(before, by_position[position], now=now, jitter=random.random())
        finished[position] = after
        changes = difference(delivery_values(before), delivery_values(after))
        alike.setdefault(frozenset(changes), []).append({"own_position": position, **changes})
    own = deliveries.c.position == bindparam("own_position")
    free = update(deliveries).where(deliveries.c.sink == sink, own)
    for rows in alike.values():
        # compiled once for all that changed in the same columns, as most do
        connection.execute(free.values(lease_owner=None, lease_until=None), rows)
    return finished


def _make_due(connection: Connection, tenant: Tenant, sink: str, now: datetime) -> None:
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.scope_id == tenant.id,
            deliveries.c.state == _WAITING,
            deliveries.c.sink == sink,
            deliveries.c.due_at > now,
        )
        .values(due_at=now, set_at=now)
    )


def _claim(
    connection: Connection, tenant: Tenant, demand: ClaimRequest, health: Health, now: datetime
) -> tuple[list[Claimed], Health]:
    if health.state is SinkState.DISABLED:
        return [], health
    clock = lease_clock(connection, now)
    if health.state is SinkState.DOWN:
        if demand.in_flight or not may_probe(health, now):
            return [], health
        claimed = _take(connection, demand, _probe(tenant, demand.sink, clock), clock)
        if claimed:
            # nobody else probes while this one is under way
            busy_until = now + timedelta(seconds=demand.lease.seconds)
            health = replace(health, probe_at=busy_until, set_at=now)
        return claimed, health
    return _take(connection, demand, _due(tenant, demand, clock, now), clock), health


def _due(
    tenant: Tenant, demand: ClaimRequest, clock: ColumnElement[int], now: datetime
) -> Select[tuple[int]]:
    earlier = deliveries.alias()
    if demand.in_order:
        # those before it are in the same batch, unless they must wait
        must_wait = or_(earlier.c.due_at > now, earlier.c.lease_until > clock)
        blocked = exists().where(_before(earlier), must_wait)
        # a sum, for which no index serves: that of `due_at` would have all that is due be sorted
        due = type_coerce(deliveries.c.due_at, BigInteger) + 0 <= microseconds(now)
        order: tuple[ColumnElement[Any], ...] = (deliveries.c.position,)
    else:
        blocked = exists().where(_before(earlier))
        due = deliveries.c.due_at <= now
        order = (deliveries.c.due_at, deliveries.c.position)
    return (
        select(deliveries.c.position)
        .where(*_waiting(tenant, demand.sink, clock), due, ~blocked)
        .order_by(*order)
        .limit(demand.limit)
    )


def _probe(tenant: Tenant, sink: str, clock: ColumnElement[int]) -> Select[tuple[int]]:
    """Choose the first in line that has waited longest, due or not.

    By due time, so that one event which the place cannot digest does not stand for all others.
    """
    earlier = deliveries.alias()
    return (
        select(deliveries.c.position)
        .where(*_waiting(tenant, sink, clock), ~exists().where(_before(earlier)))
        .order_by(deliveries.c.due_at, deliveries.c.position)
        .limit(1)
    )


def _take(
    connection: Connection,
    demand: ClaimRequest,
    chosen: Select[tuple[int]],
    clock: ColumnElement[int],
) -> list[Claimed]:
    # a CTE runs once: PostgreSQL may run a subquery for each row, and each time lock other rows
    due = chosen.with_for_update(skip_locked=True).cte("due")
    statement = (
        update(deliveries)
        .where(deliveries.c.sink == demand.sink, deliveries.c.position.in_(select(due.c.position)))
        .values(
            lease_owner=demand.lease.owner,
            lease_until=clock + int(demand.lease.seconds * 1_000_000),
        )
        .returning(deliveries.c.position, deliveries.c.attempts)
    )
    attempts = {row.position: row.attempts for row in connection.execute(statement)}
    if not attempts:
        return []
    query = (
        select(events).where(events.c.position.in_(sorted(attempts))).order_by(events.c.position)
    )
    return [
        Claimed(
            position=row["position"],
            event_id=row["id"],
            operation_id=row["watch_id"],
            type=row["type"],
            body=row["body"],
            attempts=attempts[row["position"]],
        )
        for row in connection.execute(query).mappings()
    ]


def _next_due(connection: Connection, tenant: Tenant, sink: str, now: datetime) -> datetime | None:
    query = select(func.min(deliveries.c.due_at)).where(
        deliveries.c.scope_id == tenant.id,
        deliveries.c.state == _WAITING,
        deliveries.c.sink == sink,
        deliveries.c.due_at > now,
    )
    found: datetime | None = connection.execute(query).scalar_one()
    return found


def _waiting(
    tenant: Tenant, sink: str, clock: ColumnElement[int]
) -> tuple[ColumnElement[bool], ...]:
    return (
        deliveries.c.scope_id == tenant.id,
        deliveries.c.state == _WAITING,
        deliveries.c.sink == sink,
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= clock),
    )


def _before(earlier: FromClause) -> ColumnElement[bool]:
    """Match what waits for the same sink and operation and was recorded before."""
    return and_(
        earlier.c.watch_id == deliveries.c.watch_id,
        earlier.c.sink == deliveries.c.sink,
        earlier.c.state == _WAITING,
        earlier.c.position < deliveries.c.position,
    )
