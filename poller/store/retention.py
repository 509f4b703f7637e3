"""Retention: deletes old ended operations in small steps, but nothing that still waits.

An ended operation is kept for `retention` after its end and the last of its deliveries. Then its
events and deliveries are deleted, and a stub stays: id, sequence, and the last emitted status and
counters, so that a late registration repeats neither an end nor a sequence number.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import accumulate
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
from poller.store.time_slice import TimeSlice
from poller.tracking.delivery import DeliveryState
from poller.tracking.group import STUB_FOR
from poller.tracking.watch import AccountScope

# operations of a chunk, fewer where they have many events; the time is checked between chunks
_CHUNK: Final = 25
_CHUNK_EVENTS: Final = 200
_STUBS: Final = 100
_BEFORE: Final = bindparam("before", type_=watches.c.ended_at.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlace:
    """The place of an operation in the order of retention: by its end, then by its id."""

    ended_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was deleted.

    The next step continues after `place`; None for from the start. `more` is true where it may
    find something.
    """

    operations: int = 0
    events: int = 0
    dead_letters: int = 0
    stubs: int = 0
    place: PrunePlace | None = field(default=None, compare=False)
    more: bool = field(default=False, compare=False)

    def __add__(self, later: "Pruned") -> "Pruned":
        """Return what these and then later steps deleted."""
        return Pruned(
            operations=self.operations + later.operations,
            events=self.events + later.events,
            dead_letters=self.dead_letters + later.dead_letters,
            stubs=self.stubs + later.stubs,
            place=later.place,
            more=later.more,
        )


def prune(
    connection: Connection,
    scope: AccountScope,
    *,
    before: datetime,
    after: PrunePlace | None = None,
) -> Pruned:
    """Make stubs of operations that ended until `before` and are no longer needed.

    It reads those after a place, for one time slice. Many may still be needed, because a sink has
    been down for days; the next step continues after them.
    """
    time_slice = TimeSlice()
    pruned = _prune_chunk(connection, scope, before, after)
    while pruned.more and not time_slice.is_over:
        pruned += _prune_chunk(connection, scope, before, pruned.place)
    return pruned


def remove_stubs(connection: Connection, scope: AccountScope, *, before: datetime) -> Pruned:
    """Delete stubs of operations, for one time slice.

    An operation that ended at `before` becomes a stub now; stubs are kept for fourteen days more,
    however long operations with their events are.
    """
    time_slice = TimeSlice()
    pruned = _remove_stub_chunk(connection, scope, before - STUB_FOR)
    while pruned.more and not time_slice.is_over:
        pruned += _remove_stub_chunk(connection, scope, before - STUB_FOR)
    return pruned


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


def _prune_chunk(
    connection: Connection, scope: AccountScope, before: datetime, after: PrunePlace | None
) -> Pruned:
    values: dict[str, object] = {"scope": scope.id, "before": before, "at_most": _CHUNK}
    if after is not None:
        values |= {"ended_at": after.ended_at, "id": after.id}
    found = connection.execute(_finding(is_first=after is None), values).all()
    rows = found[: _fitting(row.sequence for row in found)]
    old = [row.id for row in rows if not row.in_group]
    needed = _needed_by_sinks(connection, old, before)
    old = _make_stubs(connection, [one for one in old if one not in needed])
    dead, removed = _remove_history(connection, scope, old) if old else (0, 0)
    more = len(rows) < len(found) or len(found) == _CHUNK
    return Pruned(
        operations=len(old),
        events=removed,
        dead_letters=dead,
        place=PrunePlace(ended_at=rows[-1].ended_at, id=rows[-1].id) if more else None,
        more=more,
    )


def _fitting(sequences: Iterable[int]) -> int:
    """Count the operations, at least one, that have few enough events for a chunk."""
    totals = list(accumulate(sequences))
    return max(1, bisect_right(totals, _CHUNK_EVENTS))


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
    this transaction is repeated.
    """
    statement = _removing(is_shared=is_shared(connection))
    states = connection.execute(statement, {"ids": listed(connection, ids)}).scalars()
    dead = sum(state == DeliveryState.DEAD.value for state in states)
    return dead, remove_events(connection, scope, ids)


# Each chunk runs these, and building one takes as long as running it.
@cache
def _finding(*, is_first: bool) -> Select[tuple[str, datetime, int, bool]]:
    ended_at = bindparam("ended_at", type_=watches.c.ended_at.type)
    after = [] if is_first else [_by_end() > tuple_(ended_at, bindparam("id", type_=String))]
    return (
        select(
            watches.c.id,
            watches.c.ended_at,
            watches.c.sequence,
            is_needed_by_group().label("in_group"),
        )
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


def _remove_stub_chunk(connection: Connection, scope: AccountScope, before: datetime) -> Pruned:
    # locked: another daemon may be registering it at this moment
    old = (
        select(watches.c.id)
        .where(*_over(is_stub=True), watches.c.ended_at <= before)
        .order_by(watches.c.ended_at)
        .limit(_STUBS)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(old, {"scope": scope.id}).scalars())
    if ids:
        of_these = among(watches.c.id, "ids", is_shared=is_shared(connection))
        connection.execute(delete(watches).where(of_these), {"ids": listed(connection, ids)})
    return Pruned(stubs=len(ids), more=len(ids) == _STUBS)
