"""Reports on operations for people and programs: lists, one in detail, and counts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    TextClause,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
)

from poller.store.columns import Instant, instant, microseconds
from poller.store.events import StoredEvent, stored_event_of
from poller.store.rows import delivery_of, health_of, watch_of
from poller.store.schema import FAILURES, HAS_FAILURES, deliveries, events, groups, sinks, watches
from poller.store.watches import count_watched
from poller.text import dump_json
from poller.tracking.delivery import Delivery, DeliveryState
from poller.tracking.sink_health import SinkHealth, SinkState, next_attempt
from poller.tracking.watch import AccountScope, Outcome, SortOrder, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFilter:
    """A filter of operations: one value of each field that is not empty, and all of `labels`.

    With `group`, its members only; with `has_failures`, those with a recipient that failed.
    `search` is a part of an id, or of the name or value of a label; case does not matter.
    """

    ids: Collection[str] = ()
    statuses: Collection[str] = ()
    kinds: Collection[str] = ()
    phases: Collection[str] = ()
    outcomes: Collection[str] = ()
    has_failures: bool = False
    labels: Collection[tuple[str, str]] = ()
    group: str | None = None
    search: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page, which may have fewer items than `limit`; `next_before` begins the next, if any."""

    watches: Sequence[Watch]
    next_before: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """The delivery of one event to one sink.

    `blocked_by` is the event that must be delivered before it. `sink_state` is None where no
    settings name the sink, `next_attempt` where no attempt is scheduled.
    """

    sink: str
    delivery: Delivery
    blocked_by: str | None
    sink_state: SinkState | None
    sink_error: str | None
    next_attempt: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTimeline:
    """The latest events of a subject, the oldest first; `omitted` counts those before them.

    `deliveries` has, by an event's position, its delivery to each sink.
    """

    events: Sequence[StoredEvent]
    deliveries: Mapping[int, Sequence[DeliveryStatus]]
    omitted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDetail:
    """An operation with its latest events. `is_stub`: retention has deleted all but the end."""

    watch: Watch
    is_stub: bool
    timeline: EventTimeline


def list_operations(
    connection: Connection,
    scope: AccountScope,
    wanted: OperationFilter,
    *,
    limit: int,
    before: str | None = None,
    order: SortOrder = SortOrder.REGISTERED,
) -> Listing:
    """List the operations without stubs; `before` is a cursor of a page in the same order.

    :raises ValueError: where the cursor is of another order.
    """
    columns = _SORTED[order]
    query = (
        select(watches)
        .where(*chosen(connection, scope, wanted))
        .order_by(*(column.desc() for column in columns))
        .limit(limit + 1)
    )
    if order is SortOrder.FAILED:
        query = query.where(FAILURES)
    if before is not None:
        place = tuple_(*_read_cursor(before, order))
        query = query.where(tuple_(*columns) < place)
    rows = connection.execute(query).mappings().all()
    found = [watch_of(row, scope) for row in rows[:limit]]
    return Listing(
        watches=[watch for watch in found if set(wanted.labels) <= watch.labels.items()],
        next_before=_cursor(found[-1], order) if len(rows) > limit else None,
    )


_SORTED: Final[Mapping[SortOrder, tuple[ColumnElement[Any], ...]]] = {
    SortOrder.REGISTERED: (watches.c.registered_at, watches.c.id),
    SortOrder.FAILED: (watches.c.recipients_failed, watches.c.registered_at, watches.c.id),
}


def _cursor(watch: Watch, order: SortOrder) -> str:
    failed = f"{watch.recipients.failed}." if order is SortOrder.FAILED else ""
    return f"{failed}{microseconds(watch.registered_at)}.{watch.id}"


def _read_cursor(cursor: str, order: SortOrder) -> list[ColumnElement[Any]]:
    *numbers, operation_id = cursor.split(".")
    if len(numbers) != len(_SORTED[order]) - 1:
        raise ValueError(f"{cursor} is a cursor of another order")
    at = literal(instant(int(numbers[-1])), Instant)
    return [*(literal(int(number)) for number in numbers[:-1]), at, literal(operation_id)]


def seen_statuses(
    connection: Connection, scope: AccountScope, wanted: Collection[str]
) -> frozenset[str]:
    """Return those of `wanted` that are the last seen status of any operation, without stubs."""
    query = (
        select(watches.c.emitted_status)
        .where(
            watches.c.scope_id == scope.id,
            watches.c.is_stub.is_(False),
            watches.c.emitted_status.in_(sorted(wanted)),
        )
        .distinct()
    )
    return frozenset(connection.execute(query).scalars())


def find_operation(
    connection: Connection, scope: AccountScope, operation_id: str, *, latest: int
) -> OperationDetail | None:
    """Find one operation and the `latest` of its events; None where it is not known."""
    query = select(watches).where(watches.c.scope_id == scope.id, watches.c.id == operation_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return OperationDetail(
        watch=watch_of(row, scope),
        is_stub=row["is_stub"],
        timeline=read_timeline(connection, scope, operation_id, latest=latest),
    )


def read_timeline(
    connection: Connection, scope: AccountScope, subject: str, *, latest: int
) -> EventTimeline:
    """Read the `latest` events of a subject, given as in its column, and their deliveries."""
    of_it = events.c.subject == subject
    number = connection.execute(select(func.count()).where(of_it)).scalar_one()
    newest = select(events).where(of_it).order_by(events.c.sequence.desc()).limit(latest)
    shown = [stored_event_of(row) for row in reversed(connection.execute(newest).mappings().all())]
    positions = [one.position for one in shown]
    return EventTimeline(
        events=shown,
        deliveries=_delivery_statuses(connection, scope, subject, positions),
        omitted=number - len(shown),
    )


def _delivery_statuses(
    connection: Connection, scope: AccountScope, operation_id: str, positions: Sequence[int]
) -> dict[int, list[DeliveryStatus]]:
    if not positions:
        return {}
    heads = _heads(connection, operation_id)
    health = _health(connection, scope)
    query = (
        select(deliveries)
        .where(
            deliveries.c.subject == operation_id,
            deliveries.c.position.between(min(positions), max(positions)),
        )
        .order_by(deliveries.c.position, deliveries.c.sink)
    )
    found: dict[int, list[DeliveryStatus]] = {}
    for row in connection.execute(query).mappings():
        delivery, sink = delivery_of(row), row["sink"]
        head, head_id = heads.get(sink, (row["position"], None))
        waits = delivery.state is DeliveryState.WAITING
        blocked_by = head_id if waits and head < row["position"] else None
        own = health.get(sink)
        can_go = waits and not blocked_by
        status = DeliveryStatus(
            sink=sink,
            delivery=delivery,
            blocked_by=blocked_by,
            sink_state=None if own is None else own.state,
            sink_error=None if own is None else own.error,
            next_attempt=next_attempt(own, delivery.due_at) if can_go and own else None,
        )
        found.setdefault(row["position"], []).append(status)
    return found


def _heads(connection: Connection, operation_id: str) -> dict[str, tuple[int, str]]:
    """Find, for each sink, the first event of the operation that waits for it."""
    first = (
        select(deliveries.c.sink, func.min(deliveries.c.position).label("position"))
        .where(
            deliveries.c.subject == operation_id,
            deliveries.c.state == DeliveryState.WAITING.value,
        )
        .group_by(deliveries.c.sink)
        .subquery()
    )
    query = select(first.c.sink, first.c.position, events.c.id).join(
        events, events.c.position == first.c.position
    )
    return {row.sink: (row.position, row.id) for row in connection.execute(query)}


def _health(connection: Connection, scope: AccountScope) -> dict[str, SinkHealth]:
    query = select(sinks).where(sinks.c.scope_id == scope.id, sinks.c.absent_since.is_(None))
    return {row["name"]: health_of(row) for row in connection.execute(query).mappings()}


def chosen(
    connection: Connection, scope: AccountScope, wanted: OperationFilter
) -> list[ColumnElement[bool] | TextClause]:
    """Return the conditions of a filter; that of a label may match too many rows."""
    # the last emitted status is the observed one: a change of status is never held back
    columns: list[tuple[ColumnElement[Any], Collection[str]]] = [
        (watches.c.id, wanted.ids),
        (watches.c.emitted_status, wanted.statuses),
        (watches.c.kind, wanted.kinds),
        (watches.c.phase, wanted.phases),
        (watches.c.outcome, wanted.outcomes),
    ]
    return [
        watches.c.scope_id == scope.id,
        watches.c.is_stub.is_(False),
        *(column.in_(sorted(values)) for column, values in columns if values),
        *([HAS_FAILURES] if wanted.has_failures else []),
        *([] if wanted.group is None else [watches.c.group_name == wanted.group]),
        *(_has_label(connection, name, value) for name, value in wanted.labels),
        *([contains(wanted.search, watches.c.id, watches.c.labels)] if wanted.search else []),
    ]


def contains(
    search: str, name: ColumnElement[str], labels: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Match rows whose name or labels contain a text; labels are searched as JSON."""
    in_json = dump_json(search)[1:-1]
    return or_(
        name.icontains(search, autoescape=True),
        type_coerce(labels, Text).icontains(in_json, autoescape=True),
    )


def _has_label(connection: Connection, name: str, value: str) -> ColumnElement[bool]:
    """Match by the JSON text of the label, which is always written the same way.

    It may match too many rows (names and values that contain JSON themselves), never too few.
    """
    member = dump_json({name: value})[1:-1]
    find = func.strpos if connection.dialect.name == "postgresql" else func.instr
    return find(type_coerce(watches.c.labels, Text), member) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts for one scope. `lost` and `dead` count since a given moment.

    `waiting` counts deliveries that can be sent, `stuck` those that cannot: their sink is disabled
    or no longer configured. `held_back` counts groups whose progress is still to be emitted.
    """

    watched: int
    waiting: int
    stuck: int
    lost: int
    dead: int
    held_back: int

    @property
    def is_idle(self) -> bool:
        """True where nothing more will happen by itself."""
        return self.watched == 0 and self.waiting == 0 and self.held_back == 0

    @property
    def is_clean(self) -> bool:
        """True where everything ended and everything was delivered."""
        return self.is_idle and not (self.stuck or self.lost or self.dead)


def summary(
    connection: Connection, scope: AccountScope, *, since: datetime, closed: Collection[str]
) -> Summary:
    """Count for one scope. `closed` names sinks that are closed in this process only."""
    off = set(closed) | _off(connection, scope)
    waiting = _waiting(connection, scope)
    stuck = sum(number for sink, number in waiting.items() if sink in off)
    return Summary(
        watched=count_watched(connection, scope),
        waiting=sum(waiting.values()) - stuck,
        stuck=stuck,
        lost=_lost(connection, scope, since),
        held_back=_held_back(connection, scope),
        dead=_dead(connection, scope, since),
    )


def _off(connection: Connection, scope: AccountScope) -> set[str]:
    query = select(sinks.c.name).where(
        sinks.c.scope_id == scope.id,
        (sinks.c.state == SinkState.DISABLED.value) | sinks.c.absent_since.is_not(None),
    )
    return set(connection.execute(query).scalars())


def _waiting(connection: Connection, scope: AccountScope) -> dict[str, int]:
    query = (
        select(deliveries.c.sink, func.count().label("number"))
        .where(
            deliveries.c.scope_id == scope.id,
            deliveries.c.state == DeliveryState.WAITING.value,
        )
        .group_by(deliveries.c.sink)
    )
    return {row.sink: row.number for row in connection.execute(query)}


def _held_back(connection: Connection, scope: AccountScope) -> int:
    query = select(func.count()).where(groups.c.scope_id == scope.id, groups.c.due_at.is_not(None))
    return connection.execute(query).scalar_one()


def _lost(connection: Connection, scope: AccountScope, since: datetime) -> int:
    query = select(func.count()).where(
        watches.c.scope_id == scope.id,
        watches.c.outcome == Outcome.LOST.value,
        watches.c.ended_at >= since,
    )
    return connection.execute(query).scalar_one()


def _dead(connection: Connection, scope: AccountScope, since: datetime) -> int:
    query = select(func.count()).where(
        deliveries.c.scope_id == scope.id,
        deliveries.c.state == DeliveryState.DEAD.value,
        deliveries.c.done_at >= since,
    )
    return connection.execute(query).scalar_one()
