"""The health of each sink, and which sinks are configured."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Update,
    case,
    exists,
    func,
    insert,
    select,
    type_coerce,
    update,
)

from poller.store.daemons import (
    Member,
    declared_by,
    declared_by_living,
    join,
    living_others,
    names_of,
)
from poller.store.database import count_written, in_order, is_shared
from poller.store.rows import health_of, health_values
from poller.store.schema import deliveries, sinks
from poller.store.time_slice import TimeSlice
from poller.tracking.delivery import GIVE_UP_AFTER, DeliveryState
from poller.tracking.sink_health import SinkHealth, SinkState, next_attempt
from poller.tracking.watch import AccountScope

_WAITING = DeliveryState.WAITING.value
_ABSENT_AFTER: Final = timedelta(minutes=1)
# deliveries that one statement gives up
_CHUNK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkReport:
    """A sink as an operator sees it. `oldest` is when the longest waiting event was recorded.

    Since the sink was last ok, it has refused `refused` of `answered` events. `next_attempt` is
    when the next one is tried, at the earliest; None if nothing is.
    """

    name: str
    health: SinkHealth
    is_configured: bool
    waiting: int
    refused: int
    answered: int
    next_attempt: datetime | None
    dead: int
    oldest: datetime | None


def configure(connection: Connection, scope: AccountScope, member: Member, now: datetime) -> None:
    """Store the sinks that are configured at a daemon now, and its request limits.

    Each of these sinks is enabled, and one that was down is probed at once. A sink that this
    daemon had before and no living one has is absent from now on; where no other daemon is alive,
    so are all other sinks.
    """
    rows = _rows(connection, scope)
    others = living_others(connection, scope, member.owner, now)
    names, elsewhere = names_of([member]), names_of(others)
    for name in sorted(names - set(rows)):
        values = health_values(SinkHealth(state=SinkState.OK, since=now))
        connection.execute(insert(sinks).values(**values, scope_id=scope.id, name=name))
    for name in sorted(names & set(rows)):
        enable(connection, scope, name, now)
        connection.execute(_update(scope, name, absent_since=None))
    former = declared_by(connection, scope, member.owner) if others else frozenset(rows)
    for name in sorted((former & set(rows)) - names - elsewhere):
        if rows[name]["absent_since"] is None:
            connection.execute(_update(scope, name, absent_since=now))
    join(connection, scope, member, now)


def _note_absent(connection: Connection, scope: AccountScope, now: datetime) -> None:
    """Mark the sinks that no living daemon has as absent, and those that have returned as present.

    Only where daemons share the store: one alone does it when it starts. A sink stays present
    during the restart of its daemon.
    """
    if not is_shared(connection):
        return
    present = declared_by_living(connection, scope, now, grace=_ABSENT_AFTER)
    for name, row in _rows(connection, scope).items():
        if name in present and row["absent_since"] is not None:
            connection.execute(_update(scope, name, absent_since=None))
        elif name not in present and row["absent_since"] is None:
            connection.execute(_update(scope, name, absent_since=now))


def enable(connection: Connection, scope: AccountScope, name: str, now: datetime) -> None:
    """Make a sink in trouble due for an attempt at once; a pause that its receiver set stays."""
    health = read_health(connection, scope, name, now, lock=True)
    if health.state is SinkState.DISABLED:
        write_health(connection, scope, name, SinkHealth(state=SinkState.OK, since=now))
        # the operator who enables it expects attempts now, not after the old waits
        later = [
            deliveries.c.scope_id == scope.id,
            deliveries.c.state == _WAITING,
            deliveries.c.sink == name,
            deliveries.c.due_at > now,
        ]
        connection.execute(
            update(deliveries)
            .where(deliveries.c.sink == name, in_order(deliveries.c.position, where=later))
            .values(due_at=now, set_at=now)
        )
    elif health.state in {SinkState.FAILING, SinkState.DOWN}:
        connection.execute(_update(scope, name, next_at=now, set_at=now, probes=0))


def read_health(
    connection: Connection, scope: AccountScope, name: str, now: datetime, *, lock: bool = False
) -> SinkHealth:
    """Read the health of a sink, with `lock` under a row lock; an unknown sink is ok since now."""
    query = select(sinks).where(_is(scope, name))
    if lock:
        query = query.with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return SinkHealth(state=SinkState.OK, since=now) if row is None else health_of(row)


def write_health(
    connection: Connection, scope: AccountScope, name: str, health: SinkHealth
) -> None:
    """Write the health of a configured sink."""
    connection.execute(_update(scope, name, **health_values(health)))


def bury_absent(connection: Connection, scope: AccountScope, now: datetime) -> bool:
    """Give up deliveries to sinks that no daemon has had configured for three days.

    It takes one time slice; True where some may be left.
    """
    time_slice = TimeSlice()
    _note_absent(connection, scope, now)
    gone = select(sinks.c.name).where(
        sinks.c.scope_id == scope.id, sinks.c.absent_since <= now - GIVE_UP_AFTER
    )
    for name in connection.execute(gone.order_by(sinks.c.name)).scalars().all():
        while _bury_chunk(connection, scope, name, now):
            if time_slice.is_over:
                return True
    return False


def _bury_chunk(connection: Connection, scope: AccountScope, name: str, now: datetime) -> bool:
    waiting = [
        deliveries.c.scope_id == scope.id,
        deliveries.c.state == _WAITING,
        deliveries.c.sink == name,
    ]
    chunk = in_order(deliveries.c.position, where=waiting, limit=_CHUNK)
    statement = (
        update(deliveries)
        .where(deliveries.c.sink == name, chunk)
        .values(
            state=DeliveryState.DEAD.value,
            done_at=now,
            error="no settings have named this sink for three days",
        )
    )
    return count_written(connection, statement, deliveries.c.position) == _CHUNK


def report(connection: Connection, scope: AccountScope) -> list[SinkReport]:
    """List every sink that is configured, or has waiting or dead deliveries, by name."""
    counts = _counts(connection, scope)
    due = _first_due(connection, scope)
    reports = []
    for name, row in sorted(_rows(connection, scope).items()):
        found = counts.get(name, _NOTHING)
        configured = row["absent_since"] is None
        if not (configured or found.waiting or found.dead):
            continue
        health = health_of(row)
        refused = found.tried + health.given_up
        reports.append(
            SinkReport(
                name=name,
                health=health,
                is_configured=configured,
                waiting=found.waiting,
                refused=refused,
                answered=refused + health.delivered,
                next_attempt=next_attempt(health, due.get(name)) if configured else None,
                dead=found.dead,
                oldest=found.oldest,
            )
        )
    return reports


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """How many deliveries of a sink wait, were tried and wait, and are dead."""

    waiting: int
    tried: int
    dead: int
    oldest: datetime | None


_NOTHING: Final = _Counts(waiting=0, tried=0, dead=0, oldest=None)


def _counts(connection: Connection, scope: AccountScope) -> dict[str, _Counts]:
    is_waiting = deliveries.c.state == _WAITING
    is_tried = is_waiting & (deliveries.c.attempts > 0)
    recorded = case((is_waiting, deliveries.c.fresh_at))
    query = (
        select(
            deliveries.c.sink,
            func.sum(case((is_waiting, 1), else_=0)).label("waiting"),
            func.sum(case((is_tried, 1), else_=0)).label("tried"),
            func.sum(case((is_waiting, 0), else_=1)).label("dead"),
            func.min(type_coerce(recorded, deliveries.c.fresh_at.type)).label("oldest"),
        )
        .where(
            deliveries.c.scope_id == scope.id,
            deliveries.c.state.in_((_WAITING, DeliveryState.DEAD.value)),
        )
        .group_by(deliveries.c.sink)
    )
    return {
        row.sink: _Counts(waiting=row.waiting, tried=row.tried, dead=row.dead, oldest=row.oldest)
        for row in connection.execute(query)
    }


def _first_due(connection: Connection, scope: AccountScope) -> dict[str, datetime]:
    """Find, for each sink, when the first delivery that is not blocked is due."""
    earlier = deliveries.alias()
    blocked = exists().where(
        earlier.c.subject == deliveries.c.subject,
        earlier.c.sink == deliveries.c.sink,
        earlier.c.state == _WAITING,
        earlier.c.position < deliveries.c.position,
    )
    query = (
        select(deliveries.c.sink, func.min(deliveries.c.due_at).label("due_at"))
        .where(deliveries.c.scope_id == scope.id, deliveries.c.state == _WAITING, ~blocked)
        .group_by(deliveries.c.sink)
    )
    return {row.sink: row.due_at for row in connection.execute(query)}


def _rows(connection: Connection, scope: AccountScope) -> Mapping[str, RowMapping]:
    query = select(sinks).where(sinks.c.scope_id == scope.id)
    return {row["name"]: row for row in connection.execute(query).mappings()}


def _is(scope: AccountScope, name: str) -> ColumnElement[bool]:
    return (sinks.c.scope_id == scope.id) & (sinks.c.name == name)


def _update(scope: AccountScope, name: str, **values: object) -> Update:
    return update(sinks).where(_is(scope, name)).values(**values)
