"""Claims of deliveries: what may be sent to a sink now, and in what order.

Per sink and operation an event may be sent only when no earlier one waits. Among operations, first
attempts come before repeated ones, except for a sink that takes events in commit order.

A dispatcher claims after each delivery, so each statement is built once: building one takes longer
than running it. `_parameters` returns the values for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    TextClause,
    Update,
    and_,
    bindparam,
    exists,
    or_,
    select,
    type_coerce,
    update,
)

from poller.store.clock import server_clock
from poller.store.columns import microseconds
from poller.store.database import is_shared
from poller.store.events import StoredEvent, stored_event_of
from poller.store.schema import TRIED, UNTRIED, deliveries, events
from poller.store.watches import Lease
from poller.tracking.delivery import DeliveryState
from poller.tracking.sink_health import Admission, SinkHealth, admission
from poller.tracking.watch import AccountScope

Parameters = dict[str, Any]

_WAITING: Final = DeliveryState.WAITING.value
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

_NOW: Final = bindparam("now", type_=deliveries.c.due_at.type)
_NOW_COUNT: Final = bindparam("now_count", type_=BigInteger)
_EARLIER: Final = deliveries.alias("earlier")
# the earlier events of the same operation that wait for the same sink
_IS_EARLIER: Final = and_(
    _EARLIER.c.subject == deliveries.c.subject,
    _EARLIER.c.sink == deliveries.c.sink,
    _EARLIER.c.state == _WAITING,
    _EARLIER.c.position < deliveries.c.position,
)
_IS_DUE: Final = deliveries.c.due_at <= _NOW
_IS_NEW: Final = deliveries.c.due_at > bindparam("since", type_=deliveries.c.due_at.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """How many deliveries a dispatcher can start now, and how.

    `in_order` takes events in commit order, several of one operation included, for a sink that
    is given one batch at a time. Otherwise each event is of another operation. `in_flight`
    counts the attempts under way: a sink that is down gets one probe at a time.
    """

    sink: str
    limit: int
    in_order: bool
    in_flight: int
    lease: Lease


class Queue(Enum):
    """A choice among the waiting deliveries of a sink.

    All but `IN_ORDER` hold at most the first waiting delivery of each operation, the longest
    overdue first.
    """

    UNTRIED = auto()
    """Those that are due and were never tried."""
    TRIED = auto()
    """Those that were tried and are due again."""
    NEWCOMERS = auto()
    """Those that were never tried and became due after the sink's last attempt."""
    ANY_UNTRIED = auto()
    """Those that were never tried, due or not."""
    ANY_TRIED = auto()
    """Those that were tried, due or not."""
    ANY = auto()
    """All of them, due or not."""
    IN_ORDER = auto()
    """All that are due, in commit order, several of one operation included."""


_CONDITIONS: Final[Mapping[Queue, tuple[ColumnElement[bool] | TextClause, ...]]] = {
    Queue.UNTRIED: (UNTRIED, _IS_DUE),
    Queue.TRIED: (TRIED, _IS_DUE),
    Queue.NEWCOMERS: (UNTRIED, _IS_DUE, _IS_NEW),
    Queue.ANY_UNTRIED: (UNTRIED,),
    Queue.ANY_TRIED: (TRIED,),
    Queue.ANY: (deliveries.c.state == _WAITING,),
}
# First attempts come before repeated ones, so that one event that the receiver cannot process does
# not hold up all others.
_DUE: Final = (Queue.UNTRIED, Queue.TRIED)
_PROBES: Final = (Queue.ANY_UNTRIED, Queue.ANY_TRIED)


def claim(
    connection: Connection,
    scope: AccountScope,
    request: ClaimRequest,
    health: SinkHealth,
    now: datetime,
) -> tuple[list[StoredEvent], SinkHealth]:
    """Claim what a sink of this health may get now. Returns also its health after the claim."""
    parameters = _parameters(scope, request, health, now)
    match admission(health, now=now, in_flight=request.in_flight):
        case Admission.NOTHING:
            return [], health
        case Admission.ALL:
            return _take(connection, parameters, _due(request), request.limit), health
        case Admission.ONE:
            claimed = _take(connection, parameters, _due(request), 1)
        case Admission.NEWCOMER:
            if request.in_order:
                return [], health
            claimed = _take(connection, parameters, [Queue.NEWCOMERS], 1)
            return claimed, replace(health, tried_at=now) if claimed else health
        case _:  # a probe
            queues = [Queue.ANY] if request.in_order else _PROBES
            claimed = _take(connection, parameters, queues, 1)
    if claimed:
        # no other attempt is made while this one is under way
        busy_until = now + timedelta(seconds=request.lease.seconds)
        health = replace(health, next_at=busy_until, set_at=now, tried_at=now)
    return claimed, health


def _due(request: ClaimRequest) -> Sequence[Queue]:
    return [Queue.IN_ORDER] if request.in_order else _DUE


def _parameters(
    scope: AccountScope, request: ClaimRequest, health: SinkHealth, now: datetime
) -> Parameters:
    """Return the parameters of all statements; each uses those that it names."""
    return {
        "of_scope": scope.id,
        "to_sink": request.sink,
        "now": now,
        "since": health.tried_at or _LONG_AGO,
        "now_count": microseconds(now),
        "claimer": request.lease.owner,
        "lease": int(request.lease.seconds * 1_000_000),
    }


def _take(
    connection: Connection, parameters: Parameters, queues: Sequence[Queue], limit: int
) -> list[StoredEvent]:
    """Claim up to `limit` deliveries from these queues, one queue after the other."""
    is_server = is_shared(connection)
    positions: list[int] = []
    for queue in queues:
        if left := limit - len(positions):
            statement = _claiming(queue, is_server=is_server)
            found = connection.execute(statement, {**parameters, "at_most": left})
            positions += sorted(found.scalars())
    if not positions:
        return []
    query = select(events).where(events.c.position.in_(positions))
    found_events = {
        row["position"]: stored_event_of(row) for row in connection.execute(query).mappings()
    }
    return [found_events[position] for position in positions]


@cache
def _claiming(queue: Queue, *, is_server: bool) -> Update:
    """Build the statement that claims from a queue, and returns the positions."""
    clock = server_clock() if is_server else _NOW_COUNT
    chosen = _choose(queue, clock).limit(bindparam("at_most", type_=Integer))
    # a CTE runs once: PostgreSQL may run a subquery for each row, and each time lock other rows
    due = chosen.with_for_update(skip_locked=True).cte("due")
    return (
        update(deliveries)
        .where(
            deliveries.c.sink == bindparam("to_sink"),
            deliveries.c.position.in_(select(due.c.position)),
        )
        .values(
            lease_owner=bindparam("claimer"),
            lease_until=clock + bindparam("lease", type_=BigInteger),
        )
        .returning(deliveries.c.position)
    )


def _choose(queue: Queue, clock: ColumnElement[int]) -> Select[tuple[int]]:
    return _in_order(clock) if queue is Queue.IN_ORDER else _heads(clock, *_CONDITIONS[queue])


def _heads(
    clock: ColumnElement[int], *conditions: ColumnElement[bool] | TextClause
) -> Select[tuple[int]]:
    """Choose the first waiting delivery of each operation, the longest overdue first."""
    return (
        select(deliveries.c.position)
        .where(*conditions, *_free(clock), ~exists().where(_IS_EARLIER))
        .order_by(deliveries.c.due_at, deliveries.c.position)
    )


def _in_order(clock: ColumnElement[int]) -> Select[tuple[int]]:
    # earlier events of the operation are in the same batch, unless they must wait
    must_wait = or_(_EARLIER.c.due_at > _NOW, _EARLIER.c.lease_until > clock)
    return (
        select(deliveries.c.position)
        .where(
            deliveries.c.state == _WAITING,
            *_free(clock),
            # + 0 keeps the planner from the index of `due_at`, which would sort all that is due
            type_coerce(deliveries.c.due_at, BigInteger) + 0 <= _NOW_COUNT,
            ~exists().where(_IS_EARLIER, must_wait),
        )
        .order_by(deliveries.c.position)
    )


def _free(clock: ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    """Match the deliveries to the sink that nobody has claimed."""
    return (
        deliveries.c.scope_id == bindparam("of_scope"),
        deliveries.c.sink == bindparam("to_sink"),
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= clock),
    )
