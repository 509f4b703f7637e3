"""Retention: deletes old ended operations in small steps, but nothing that still waits.

An ended operation is kept for `retention` after its end and the last of its deliveries. Then its
events and deliveries are deleted, and a stub stays: id, sequence, and the last emitted status and
counters, so that a late registration repeats neither an end nor a sequence number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    delete,
    exists,
    false,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate

from poller.store.database import among, is_shared, listed
from poller.store.events import remove_events
from poller.store.group_retention import is_needed_by_group
from poller.store.schema import OVER, deliveries, events, watches
from poller.tracking.delivery import DeliveryState
from poller.tracking.group import STUB_FOR
from poller.tracking.watch import AccountScope

_BEFORE: Final = bindparam("before", type_=watches.c.ended_at.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlace:
    """The place of an operation in the order of retention: by its end, then by its id."""

    ended_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What one step deleted. The next step continues after `place`; None for from the start.

    `more` is true where another step may find something.
    """

    operations: int = 0
    events: int = 0
    dead_letters: int = 0
    stubs: int = 0
    place: PrunePlace | None = field(default=None, compare=False)
    more: bool = field(default=False, compare=False)


def prune(
    connection: Connection,
    scope: AccountScope,
    *,
    retention: float,
    now: datetime,
    after: PrunePlace | None = None,
    limit: int,
) -> Pruned:
    """Read up to `limit` ended operations after a place; make stubs of those no longer needed.

    Many may still be needed, because a sink has been down for days; the next step continues after
    them. The last step of a round deletes old stubs as well. `retention` is in seconds.
    """
    before = now - timedelta(seconds=retention)
    old, place = _old_watches(connection, scope, before, after, limit)
    dead = removed = 0
    if old := _make_stubs(connection, old):
        dead, removed = _remove_history(connection, scope, old)
    stubs = _remove_stubs(connection, scope, before, limit) if place is None else 0
    return Pruned(
        operations=len(old),
        events=removed,
        dead_letters=dead,
        stubs=stubs,
        place=place,
        more=place is not None or stubs == limit,
    )


def drop_delivered(connection: Connection, scope: AccountScope) -> None:
    """Delete every event that waits for no sink, those of active watches included.

    For a store without readers of events: a watch continues from its own row.
    """
    connection.execute(
        delete(deliveries).where(
            deliveries.c.scope_id == scope.id,
            deliveries.c.state == DeliveryState.DELIVERED.value,
        )
    )
    is_needed = exists().where(deliveries.c.position == events.c.position)
    connection.execute(delete(events).where(events.c.scope_id == scope.id, ~is_needed))


def _old_watches(
    connection: Connection,
    scope: AccountScope,
    before: datetime,
    after: PrunePlace | None,
    limit: int,
) -> tuple[list[str], PrunePlace | None]:
    """Find the next operations that are no longer needed, and where the next step begins."""
    values = {"scope": scope.id, "before": before, "at_most": limit}
    if after is not None:
        values |= {"ended_at": after.ended_at, "id": after.id}
    rows = connection.execute(_finding(is_first=after is None), values).all()
    place = PrunePlace(ended_at=rows[-1].ended_at, id=rows[-1].id) if len(rows) == limit else None
    old = [row.id for row in rows if not row.in_group]
    needed = _needed_by_sinks(connection, old, before)
    return [one for one in old if one not in needed], place


def _needed_by_sinks(connection: Connection, ids: Sequence[str], before: datetime) -> set[str]:
    """Return those with deliveries that wait, or that ended after `before`."""
    if not ids:
        return set()
    statement = _needing(is_shared=is_shared(connection))
    values = {"ids": listed(connection, ids), "before": before}
    return set(connection.execute(statement, values).scalars())


def _make_stubs(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Reduce the rows to stubs; return the ids of those that had not been changed meanwhile."""
    if not ids:
        return []
    statement = _making_stubs(is_shared=is_shared(connection))
    return list(connection.execute(statement, {"ids": listed(connection, ids)}).scalars())


def _remove_history(
    connection: Connection, scope: AccountScope, ids: Sequence[str]
) -> tuple[int, int]:
    """Delete events and deliveries. Returns the numbers of dead letters and of events deleted.

    A delivery that is being replayed at this moment stays. Its event can then not be deleted, and
    this step is repeated.
    """
    statement = _removing(is_shared=is_shared(connection))
    states = connection.execute(statement, {"ids": listed(connection, ids)}).scalars()
    dead = sum(state == DeliveryState.DEAD.value for state in states)
    return dead, remove_events(connection, scope, ids)


# Each step runs these, and building one takes as long as running it.
@cache
def _finding(*, is_first: bool) -> Select[tuple[str, datetime, bool]]:
    ended_at = bindparam("ended_at", type_=watches.c.ended_at.type)
    after = [] if is_first else [_by_end() > tuple_(ended_at, bindparam("id", type_=String))]
    return (
        select(watches.c.id, watches.c.ended_at, is_needed_by_group().label("in_group"))
        .where(*_over(is_stub=False), watches.c.ended_at <= _BEFORE, *after)
        .order_by(watches.c.ended_at, watches.c.id)
        .limit(bindparam("at_most", type_=Integer))
    )


@cache
def _needing(*, is_shared: bool) -> Select[str]:
    is_needed = or_(
        deliveries.c.state == DeliveryState.WAITING.value, deliveries.c.done_at > _BEFORE
    )
    of_these = among(deliveries.c.subject, "ids", is_shared=is_shared)
    return select(deliveries.c.subject).where(of_these, is_needed)


@cache
def _making_stubs(*, is_shared: bool) -> ReturningUpdate[str]:
    # by id only: with a condition on the scope a planner would read the whole scope
    locked = (
        select(watches.c.id)
        .where(among(watches.c.id, "ids", is_shared=is_shared))
        .order_by(watches.c.id)
        .with_for_update(skip_locked=True)
        .cte("locked")
    )
    return (
        update(watches)
        .where(
            watches.c.id.in_(select(locked.c.id)),
            watches.c.due_at.is_(None),
            watches.c.is_stub == false(),
        )
        .values(
            is_stub=True,
            snapshot=None,
            counters={},
            labels={},
            traceparent=None,
            tracestate=None,
            looks=[],
            observed_at=None,
            breakdown=None,
        )
        .returning(watches.c.id)
    )


@cache
def _removing(*, is_shared: bool) -> ReturningDelete[str]:
    of_these = among(deliveries.c.subject, "ids", is_shared=is_shared)
    is_over = deliveries.c.state != DeliveryState.WAITING.value
    return delete(deliveries).where(of_these, is_over).returning(deliveries.c.state)


def _over(*, is_stub: bool) -> Sequence[ColumnElement[bool]]:
    # a comparison, since the index is not used for `IS`
    return [
        watches.c.scope_id == bindparam("scope"),
        watches.c.is_stub == (true() if is_stub else false()),
        OVER,  # type: ignore[list-item]  # text, as in the index
    ]


def _by_end() -> ColumnElement[bool]:
    return tuple_(watches.c.ended_at, watches.c.id)  # type: ignore[return-value]  # compared only


def _remove_stubs(connection: Connection, scope: AccountScope, before: datetime, limit: int) -> int:
    # a watch that ended at `before` becomes a stub now; stubs are kept for fourteen days more,
    # however long `retention` is
    is_old_stub = [*_over(is_stub=True), watches.c.ended_at <= before - STUB_FOR]
    # locked: another daemon may be registering it at this moment
    old = (
        select(watches.c.id)
        .where(*is_old_stub)
        .order_by(watches.c.ended_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(old, {"scope": scope.id}).scalars())
    if ids:
        of_these = among(watches.c.id, "ids", is_shared=is_shared(connection))
        connection.execute(delete(watches).where(of_these), {"ids": listed(connection, ids)})
    return len(ids)
