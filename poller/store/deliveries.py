"""Deliveries: what waits for each sink, and the results of attempts. The order is in `claims`.

Everywhere, the row of the sink is locked first, if at all, then deliveries by position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    TextClause,
    bindparam,
    exists,
    func,
    select,
    update,
)

from poller.store.claims import ClaimRequest, claim
from poller.store.database import count_written, in_order
from poller.store.events import StoredEvent
from poller.store.rows import delivery_of, delivery_values, difference
from poller.store.schema import TRIED, deliveries, events
from poller.store.sinks import read_health, write_health
from poller.tracking.delivery import (
    AttemptResult,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    after_attempt,
)
from poller.tracking.sink_health import SinkHealth, SinkState, after_result
from poller.tracking.watch import AccountScope

_WAITING = DeliveryState.WAITING.value
_KEY = (deliveries.c.position, deliveries.c.sink)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """The deliveries after finished attempts, and the events that may be started next.

    `is_all` means that nothing else may be sent now; `next_due` is then when the next delivery is
    due, if that is known.
    """

    finished: Mapping[int, Delivery]
    before: SinkHealth
    health: SinkHealth
    claimed: Sequence[StoredEvent]
    is_all: bool
    next_due: datetime | None


def complete_and_claim(
    connection: Connection,
    scope: AccountScope,
    attempts: Sequence[tuple[int, DeliveryAttempt]],
    request: ClaimRequest,
    *,
    now: datetime,
    random: Random,
) -> ClaimResult:
    """Write the results of finished attempts and claim the next deliveries, in one transaction."""
    before = read_health(connection, scope, request.sink, now)
    if request.in_order or not _is_quiet(before, attempts):
        # Locked until the commit where the health may change, and for claims in order, which must
        # not overtake each other. Otherwise daemons whose deliveries succeed do not wait for each
        # other.
        before = read_health(connection, scope, request.sink, now, lock=True)
    finished = _complete(connection, request, attempts, now, random)
    health = _health_after(
        connection, scope, request.sink, before, attempts, finished=finished, now=now, random=random
    )
    claimed: list[StoredEvent] = []
    if request.limit > 0:
        claimed, health = claim(connection, scope, request, health, now)
    if health != before:
        write_health(connection, scope, request.sink, health)
    # a sink in trouble gets one event at a time, so a small number does not mean that it is all
    is_in_trouble = health.state in {SinkState.FAILING, SinkState.DOWN}
    is_all = not claimed or (len(claimed) < request.limit and not is_in_trouble)
    return ClaimResult(
        finished=finished,
        before=before,
        health=health,
        claimed=claimed,
        is_all=is_all,
        next_due=_next_due(connection, scope, request.sink, now) if is_all else None,
    )


def release_deliveries(
    connection: Connection,
    scope: AccountScope,  # noqa: ARG001 - with this condition a planner would read a whole scope
    sink: str,
    positions: Sequence[int],
    owner: str,
) -> None:
    """Release claims of `owner` without an attempt; the due times stay."""
    held = [
        deliveries.c.sink == sink,
        deliveries.c.position.in_(positions),
        deliveries.c.lease_owner == owner,
    ]
    connection.execute(
        update(deliveries)
        .where(deliveries.c.sink == sink, in_order(deliveries.c.position, where=held))
        .values(lease_owner=None, lease_until=None)
    )


def void_leases(connection: Connection, scope: AccountScope, owner: str | None = None) -> None:
    """Void the leases of `owner`, or all: the process that held them has ended."""
    holder = deliveries.c.lease_owner
    held = [
        deliveries.c.scope_id == scope.id,
        deliveries.c.state == _WAITING,
        holder.is_not(None) if owner is None else holder == owner,
    ]
    connection.execute(
        update(deliveries)
        .where(in_order(*_KEY, where=held))
        .values(lease_owner=None, lease_until=None)
    )


def void_future_waits(connection: Connection, scope: AccountScope, now: datetime) -> int:
    """Make due what was set to wait in the future: the clock went back. Returns how many."""
    ahead = [
        deliveries.c.scope_id == scope.id,
        deliveries.c.state == _WAITING,
        deliveries.c.set_at > now,
    ]
    statement = (
        update(deliveries).where(in_order(*_KEY, where=ahead)).values(due_at=now, set_at=now)
    )
    return count_written(connection, statement, deliveries.c.position)


def recall(
    connection: Connection, scope: AccountScope, sink: str, delivered: Sequence[str], now: datetime
) -> int:
    """Record as delivered the waiting events that the sink already holds. Returns how many."""
    positions = select(events.c.position).where(events.c.id.in_(delivered))
    held = [
        deliveries.c.scope_id == scope.id,
        deliveries.c.sink == sink,
        deliveries.c.state == _WAITING,
        deliveries.c.position.in_(positions.scalar_subquery()),
    ]
    statement = (
        update(deliveries)
        .where(deliveries.c.sink == sink, in_order(deliveries.c.position, where=held))
        .values(
            state=DeliveryState.DELIVERED.value, done_at=now, attempts=deliveries.c.attempts + 1
        )
    )
    return count_written(connection, statement, deliveries.c.position)


def waiting_ids(
    connection: Connection, scope: AccountScope, sink: str, limit: int, skip: int = 0
) -> list[str]:
    """List the ids of events that wait for a sink, the oldest first, from `skip` on."""
    query = (
        select(events.c.id)
        .join(deliveries, deliveries.c.position == events.c.position)
        .where(
            deliveries.c.scope_id == scope.id,
            deliveries.c.state == _WAITING,
            deliveries.c.sink == sink,
        )
        .order_by(events.c.position)
        .limit(limit)
        .offset(skip)
    )
    return list(connection.execute(query).scalars())


def _complete(
    connection: Connection,
    request: ClaimRequest,
    attempts: Sequence[tuple[int, DeliveryAttempt]],
    now: datetime,
    random: Random,
) -> dict[int, Delivery]:
    """Write the results of attempts.

    Where the lease was lost meanwhile, only a success counts, since the event was delivered. A
    failure is ignored: the attempt of the daemon that has the lease now decides.
    """
    sink = request.sink
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
        is_lost = row["lease_owner"] != request.lease.owner
        if is_lost and by_position[position].result is not AttemptResult.DELIVERED:
            continue
        after = after_attempt(before, by_position[position], now=now, jitter=random.random())
        finished[position] = after
        changes = difference(delivery_values(before), delivery_values(after))
        alike.setdefault(frozenset(changes), []).append({"own_position": position, **changes})
    own = deliveries.c.position == bindparam("own_position")
    free = update(deliveries).where(deliveries.c.sink == sink, own)
    for rows in alike.values():
        # one compiled statement for all rows that changed in the same columns, as most do
        connection.execute(free.values(lease_owner=None, lease_until=None), rows)
    return finished


def _health_after(
    connection: Connection,
    scope: AccountScope,
    sink: str,
    health: SinkHealth,
    attempts: Sequence[tuple[int, DeliveryAttempt]],
    *,
    finished: Mapping[int, Delivery],
    now: datetime,
    random: Random,
) -> SinkHealth:
    """Return the health of a sink as these attempts leave it."""
    if not attempts or _is_quiet(health, attempts):
        return health
    refused_wait = _refused_wait(connection, scope, sink)
    for position, attempt in attempts:
        before, delivery = health, finished.get(position)
        health = after_result(
            health,
            attempt,
            now=now,
            jitter=random.random(),
            refused_wait=refused_wait,
            gave_up=delivery is not None and delivery.state is DeliveryState.DEAD,
        )
        if before.is_outage and health.state in {SinkState.OK, SinkState.REJECTING}:
            # at once, even where an older failure follows among these attempts
            _make_due(connection, scope, sink, now)
    return health


def _is_quiet(health: SinkHealth, attempts: Sequence[tuple[int, DeliveryAttempt]]) -> bool:
    """Whether neither these attempts nor a claim can change the health of a sink."""
    return health.state is SinkState.OK and all(
        attempt.result is AttemptResult.DELIVERED for _, attempt in attempts
    )


def _refused_wait(connection: Connection, scope: AccountScope, sink: str) -> bool:
    """Return whether any event that was tried still waits."""
    query = select(
        exists().where(deliveries.c.scope_id == scope.id, deliveries.c.sink == sink, TRIED)
    )
    return bool(connection.execute(query).scalar_one())


def _make_due(connection: Connection, scope: AccountScope, sink: str, now: datetime) -> None:
    """Make the events that wait for a repeated attempt due now."""
    later: list[ColumnElement[bool] | TextClause] = [
        deliveries.c.scope_id == scope.id,
        deliveries.c.sink == sink,
        deliveries.c.due_at > now,
        TRIED,
    ]
    connection.execute(
        update(deliveries)
        .where(deliveries.c.sink == sink, in_order(deliveries.c.position, where=later))
        .values(due_at=now, set_at=now)
    )


def _next_due(
    connection: Connection, scope: AccountScope, sink: str, now: datetime
) -> datetime | None:
    # events that were never tried have been due since they were recorded
    query = select(func.min(deliveries.c.due_at)).where(
        deliveries.c.scope_id == scope.id,
        deliveries.c.sink == sink,
        deliveries.c.due_at > now,
        TRIED,
    )
    found: datetime | None = connection.execute(query).scalar_one()
    return found
