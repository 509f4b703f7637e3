"""Claims of deliveries: what may go to a sink now, and in what order.

Per sink and operation an event may go only when none before it waits. Of different operations,
first attempts go before repeated ones, except to a sink that takes events in commit order.

A dispatcher claims after each delivery, so each statement is built once: building one takes longer
than running it. What it is run with are the parameters of `_parameters`.
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

from poller.store.columns import microseconds
from poller.store.database import is_shared, server_clock
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
# what waits for the same sink and operation and was recorded before
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


class Line(Enum):
    """Which deliveries to a sink may go, and in what order."""

    UNTRIED = auto()
    """The first of each operation that is due and was never tried, the longest due first."""
    TRIED = auto()
    """The first of each operation that is due again, the longest due first."""
    NEWCOMERS = auto()
    """What was never tried and became due after a moment."""
    ANY_UNTRIED = auto()
    """What was never tried, due or not."""
    ANY_TRIED = auto()
    """What was tried, due or not."""
    ANY = auto()
    """The first of each operation, due or not."""
    IN_ORDER = auto()
    """What is due in commit order, several of one operation included."""


_CONDITIONS: Final[Mapping[Line, tuple[ColumnElement[bool] | TextClause, ...]]] = {
    Line.UNTRIED: (UNTRIED, _IS_DUE),
    Line.TRIED: (TRIED, _IS_DUE),
    Line.NEWCOMERS: (UNTRIED, _IS_DUE, _IS_NEW),
    Line.ANY_UNTRIED: (UNTRIED,),
    Line.ANY_TRIED: (TRIED,),
    Line.ANY: (deliveries.c.state == _WAITING,),
}
# What was never tried goes before what was, so that one event which the receiver cannot digest
# does not stand for all others.
_DUE: Final = (Line.UNTRIED, Line.TRIED)
_PROBES: Final = (Line.ANY_UNTRIED, Line.ANY_TRIED)


def claim(
    connection: Connection,
    scope: AccountScope,
    request: ClaimRequest,
    health: SinkHealth,
    now: datetime,
) -> tuple[list[StoredEvent], SinkHealth]:
    """Claim what may go to a sink of this health now; the health with the claim taken note of."""
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
            claimed = _take(connection, parameters, [Line.NEWCOMERS], 1)
            return claimed, replace(health, tried_at=now) if claimed else health
        case _:  # a probe
            lines = [Line.ANY] if request.in_order else _PROBES
            claimed = _take(connection, parameters, lines, 1)
    if claimed:
        # nobody else tries while this one is under way
        busy_until = now + timedelta(seconds=request.lease.seconds)
        health = replace(health, next_at=busy_until, set_at=now, tried_at=now)
    return claimed, health


def _due(request: ClaimRequest) -> Sequence[Line]:
    return [Line.IN_ORDER] if request.in_order else _DUE


def _parameters(
    scope: AccountScope, request: ClaimRequest, health: SinkHealth, now: datetime
) -> Parameters:
    """Give every parameter of every statement; each takes what it names."""
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
    connection: Connection, parameters: Parameters, lines: Sequence[Line], limit: int
) -> list[StoredEvent]:
    """Claim up to `limit` deliveries from these lines, one line after the other."""
    is_server = is_shared(connection)
    positions: list[int] = []
    for line in lines:
        if left := limit - len(positions):
            statement = _claiming(line, is_server=is_server)
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
def _claiming(line: Line, *, is_server: bool) -> Update:
    """Build the statement that claims from a line, and returns the positions."""
    clock = server_clock() if is_server else _NOW_COUNT
    chosen = _choose(line, clock).limit(bindparam("at_most", type_=Integer))
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


def _choose(line: Line, clock: ColumnElement[int]) -> Select[tuple[int]]:
    return _in_order(clock) if line is Line.IN_ORDER else _heads(clock, *_CONDITIONS[line])


def _heads(
    clock: ColumnElement[int], *conditions: ColumnElement[bool] | TextClause
) -> Select[tuple[int]]:
    """Choose the first in line of each operation, the longest due first."""
    return (
        select(deliveries.c.position)
        .where(*conditions, *_free(clock), ~exists().where(_IS_EARLIER))
        .order_by(deliveries.c.due_at, deliveries.c.position)
    )


def _in_order(clock: ColumnElement[int]) -> Select[tuple[int]]:
    # those before it are in the same batch, unless they must wait
    must_wait = or_(_EARLIER.c.due_at > _NOW, _EARLIER.c.lease_until > clock)
    return (
        select(deliveries.c.position)
        .where(
            deliveries.c.state == _WAITING,
            *_free(clock),
            # a sum, for which no index serves: that of `due_at` would sort all that is due
            type_coerce(deliveries.c.due_at, BigInteger) + 0 <= _NOW_COUNT,
            ~exists().where(_IS_EARLIER, must_wait),
        )
        .order_by(deliveries.c.position)
    )


def _free(clock: ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    """Match what waits for the sink and that nobody has claimed."""
    return (
        deliveries.c.scope_id == bindparam("of_scope"),
        deliveries.c.sink == bindparam("to_sink"),
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= clock),
    )
