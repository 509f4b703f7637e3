"""Claims of deliveries: what may go to a sink now, and in what order.

Per sink and operation an event may go only when none before it waits. Of different operations,
first attempts go before repeated ones, except to a sink that takes events in commit order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    TextClause,
    and_,
    exists,
    or_,
    select,
    type_coerce,
    update,
)

from poller.store.database import lease_clock
from poller.store.events import StoredEvent, stored_event_of
from poller.store.schema import TRIED, UNTRIED, deliveries, events, microseconds
from poller.store.watches import Lease
from poller.tracking.delivery import DeliveryState
from poller.tracking.sink_health import Admission, SinkHealth, admission
from poller.tracking.watch import AccountScope

_WAITING: Final = DeliveryState.WAITING.value


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


def claim(
    connection: Connection,
    scope: AccountScope,
    request: ClaimRequest,
    health: SinkHealth,
    now: datetime,
) -> tuple[list[StoredEvent], SinkHealth]:
    """Claim what may go to a sink of this health now; the health with the claim taken note of."""
    may = admission(health, now=now, in_flight=request.in_flight)
    clock = lease_clock(connection, now)
    waiting = _Waiting(scope=scope, sink=request.sink, clock=clock, now=now)
    match may:
        case Admission.NOTHING:
            return [], health
        case Admission.ALL:
            return _claim_due(connection, request, waiting, request.limit), health
        case Admission.ONE:
            claimed = _claim_due(connection, request, waiting, 1)
        case Admission.NEWCOMER:
            if request.in_order:
                return [], health
            claimed = _take_first(
                connection, request, waiting, [waiting.newcomers(health.tried_at)]
            )
            return claimed, replace(health, tried_at=now) if claimed else health
        case _:  # a probe
            claimed = _take_first(
                connection, request, waiting, waiting.probes(in_order=request.in_order)
            )
    if claimed:
        # nobody else tries while this one is under way
        busy_until = now + timedelta(seconds=request.lease.seconds)
        health = replace(health, next_at=busy_until, set_at=now, tried_at=now)
    return claimed, health


def _claim_due(
    connection: Connection, request: ClaimRequest, waiting: "_Waiting", limit: int
) -> list[StoredEvent]:
    if request.in_order:
        return _take(connection, request, waiting.in_order().limit(limit), waiting.clock)
    claimed: list[StoredEvent] = []
    for part in (UNTRIED, TRIED):
        if left := limit - len(claimed):
            claimed += _take(connection, request, waiting.due(part).limit(left), waiting.clock)
    return claimed


def _take_first(
    connection: Connection,
    request: ClaimRequest,
    waiting: "_Waiting",
    queries: Sequence[Select[tuple[int]]],
) -> list[StoredEvent]:
    """Claim one delivery, by the first of these queries that finds any."""
    for query in queries:
        if claimed := _take(connection, request, query.limit(1), waiting.clock):
            return claimed
    return []


def _take(
    connection: Connection,
    request: ClaimRequest,
    chosen: Select[tuple[int]],
    clock: ColumnElement[int],
) -> list[StoredEvent]:
    # a CTE runs once: PostgreSQL may run a subquery for each row, and each time lock other rows
    due = chosen.with_for_update(skip_locked=True).cte("due")
    statement = (
        update(deliveries)
        .where(deliveries.c.sink == request.sink, deliveries.c.position.in_(select(due.c.position)))
        .values(
            lease_owner=request.lease.owner,
            lease_until=clock + int(request.lease.seconds * 1_000_000),
        )
        .returning(deliveries.c.position)
    )
    positions = connection.execute(statement).scalars().all()
    if not positions:
        return []
    query = (
        select(events).where(events.c.position.in_(sorted(positions))).order_by(events.c.position)
    )
    return [stored_event_of(row) for row in connection.execute(query).mappings()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """The queries for what waits for one sink and may go, in the order in which it may go."""

    scope: AccountScope
    sink: str
    clock: ColumnElement[int]
    now: datetime

    def due(self, part: TextClause) -> Select[tuple[int]]:
        """Choose the first in line of each operation that are due, the longest due first."""
        return self._heads(part, deliveries.c.due_at <= self.now)

    def newcomers(self, since: datetime | None) -> Select[tuple[int]]:
        """Choose what was never tried and became due after `since`."""
        is_new = [] if since is None else [deliveries.c.due_at > since]
        return self._heads(UNTRIED, deliveries.c.due_at <= self.now, *is_new)

    def probes(self, *, in_order: bool) -> Sequence[Select[tuple[int]]]:
        """Choose the first in line that has waited longest, due or not.

        What was never tried before what was, so that one event which the receiver cannot digest
        does not stand for all others.
        """
        if in_order:
            return [self._heads(deliveries.c.state == _WAITING)]
        return [self._heads(UNTRIED), self._heads(TRIED)]

    def in_order(self) -> Select[tuple[int]]:
        """Choose what is due in commit order, several of one operation included."""
        earlier = deliveries.alias()
        # those before it are in the same batch, unless they must wait
        must_wait = or_(earlier.c.due_at > self.now, earlier.c.lease_until > self.clock)
        return (
            select(deliveries.c.position)
            .where(
                deliveries.c.state == _WAITING,
                *self._free(),
                # a sum, for which no index serves: that of `due_at` would sort all that is due
                type_coerce(deliveries.c.due_at, BigInteger) + 0 <= microseconds(self.now),
                ~exists().where(_before(earlier), must_wait),
            )
            .order_by(deliveries.c.position)
        )

    def _heads(self, *conditions: ColumnElement[bool] | TextClause) -> Select[tuple[int]]:
        earlier = deliveries.alias()
        return (
            select(deliveries.c.position)
            .where(*conditions, *self._free(), ~exists().where(_before(earlier)))
            .order_by(deliveries.c.due_at, deliveries.c.position)
        )

    def _free(self) -> tuple[ColumnElement[bool], ...]:
        return (
            deliveries.c.scope_id == self.scope.id,
            deliveries.c.sink == self.sink,
            or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= self.clock),
        )


def _before(earlier: FromClause) -> ColumnElement[bool]:
    """Match what waits for the same sink and operation and was recorded before."""
    return and_(
        earlier.c.subject == deliveries.c.subject,
        earlier.c.sink == deliveries.c.sink,
        earlier.c.state == _WAITING,
        earlier.c.position < deliveries.c.position,
    )
