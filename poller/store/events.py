"""Events: recorded with their deliveries in one transaction, and read back in commit order.

The store is the queue of every reader: a reader that was away continues after the last event that
it has. Retention stores the highest position that it has deleted, so that a reader learns of
events that it has missed.
"""

import json
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    bindparam,
    case,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningDelete

from poller.store.daemons import subscriptions
from poller.store.database import among, is_shared, listed
from poller.store.schema import POSITION, counters, deliveries, events, watches
from poller.tracking.delivery import DeliveryState
from poller.tracking.event import EmittedEvent, Event, event_id, read_event
from poller.tracking.lifecycle import GROUP
from poller.tracking.watch import AccountScope

_PRUNED: Final = "pruned_position"
_MEMBERS: Final = ("id", "position", "subject", "type", "sequence", "final", "recorded_at", "body")
_ID_BITS: Final = 74
_ID_MASK: Final = (1 << _ID_BITS) - 1


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event as it was committed: one row.

    `subject` is the id of the watch or the name of the group, `position` its place in commit
    order, `body` the CloudEvent as JSON on one line.
    """

    id: str
    position: int
    subject: str
    type: str
    sequence: int
    final: bool
    recorded_at: datetime
    body: str

    @property
    def is_of_group(self) -> bool:
        """Whether it is about a group."""
        return self.type.startswith(f"{GROUP}.")

    @cached_property
    def event(self) -> Event:
        """The event that the body holds; read once, for the log and the metrics."""
        return read_event(json.loads(self.body))

    @property
    def trace_headers(self) -> Mapping[str, str]:
        """The trace headers for receivers. Few events have some; only their bodies are parsed."""
        if '"traceparent"' not in self.body:
            return {}
        trace = self.event.trace
        return {} if trace is None else trace.members

    @property
    def emitted(self) -> EmittedEvent:
        """The event as receivers get it."""
        return EmittedEvent.of(self.event, event_id=self.id, body=self.body)


def stored_event_of(row: RowMapping) -> StoredEvent:
    """Read a row of the table `events`."""
    members = {name: row[name] for name in _MEMBERS}
    return StoredEvent(**members | {"subject": read_subject(row["subject"])})


def group_subject(scope: AccountScope, name: str) -> str:
    """Return the value of the columns `subject` for a group.

    It contains the scope, since a name is unique in a scope only; no id and no name has a slash.
    """
    return f"{scope.id}/{name}"


def _stored_subject(scope: AccountScope, stored: StoredEvent) -> str:
    return group_subject(scope, stored.subject) if stored.is_of_group else stored.subject


def read_subject(stored: str) -> str:
    """Return the id of a watch, or the name of a group, that is stored as the subject."""
    return stored.rpartition("/")[2]


def record_events(
    connection: Connection,
    scope: AccountScope,
    made: Sequence[Event],
    now: datetime,
) -> list[StoredEvent]:
    """Give each event an id and a position, and insert a delivery for each sink that wants it.

    The sinks are those of all daemons of the scope.
    """
    if not made:
        return []
    last = _take_positions(connection, len(made))
    # read after the counter is locked: a daemon that joins locks it too, so no sink is missed
    wants = subscriptions(connection, scope, now)
    # random, not derived: two events with the same content are still two events
    entropy = random.SystemRandom().getrandbits(_ID_BITS * len(made))
    stored = []
    for number, event in enumerate(made):
        new_id = event_id(now, entropy >> _ID_BITS * number & _ID_MASK)
        position = last - len(made) + 1 + number
        stored.append(_store(event, new_id, position=position, now=now))
    rows = [
        {name: getattr(one, name) for name in _MEMBERS}
        | {"scope_id": scope.id, "subject": _stored_subject(scope, one)}
        for one in stored
    ]
    connection.execute(insert(events), rows)
    wanted = [
        _delivery_row(scope, sink, one, now)
        for one, event in zip(stored, made, strict=True)
        for sink, wanted in wants.items()
        if any(subscription.wants(event) for subscription in wanted)
    ]
    if wanted:
        connection.execute(insert(deliveries), wanted)
    return stored


def _store(event: Event, new_id: str, *, position: int, now: datetime) -> StoredEvent:
    return StoredEvent(
        id=new_id,
        position=position,
        subject=event.subject,
        type=event.type.value,
        sequence=event.sequence,
        final=event.final,
        recorded_at=now,
        body=event.render(new_id),
    )


def _take_positions(connection: Connection, number: int) -> int:
    """Take the next positions; the row stays locked until the commit, so order is commit order."""
    statement = (
        update(counters)
        .where(counters.c.name == POSITION)
        .values(value=counters.c.value + number)
        .returning(counters.c.value)
    )
    return int(connection.execute(statement).scalar_one())


def _delivery_row(
    scope: AccountScope, sink: str, stored: StoredEvent, now: datetime
) -> dict[str, object]:
    return {
        "scope_id": scope.id,
        "sink": sink,
        "position": stored.position,
        "subject": _stored_subject(scope, stored),
        "state": DeliveryState.WAITING.value,
        "attempts": 0,
        "fresh_at": now,
        "due_at": now,
        "set_at": now,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in commit order: after the event of that id.

    `event_id` is "" before the first event, and where the event is no longer kept.
    """

    position: int
    event_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The next events. `end` is the place after the last event that was examined.

    `pruned_to` is the highest position that retention has deleted in this scope, 0 for none.
    """

    events: Sequence[StoredEvent]
    end: Cursor
    pruned_to: int


def page(
    connection: Connection,
    scope: AccountScope,
    *,
    after: Cursor,
    limit: int,
    operations: Collection[str] = (),
    groups: Collection[str] = (),
) -> Page:
    """Read up to `limit` events that come after a cursor.

    Those of these operations, and of these groups and their members; all where neither is given.
    """
    # read before the events: one that is committed in between may be read twice, but never skipped
    newest = last_cursor(connection, scope)
    query = (
        select(events)
        .where(events.c.scope_id == scope.id, events.c.position > after.position)
        .order_by(events.c.position)
        .limit(limit)
    )
    if operations or groups:
        query = query.where(or_(*_about(scope, operations, groups)))
    found = [stored_event_of(row) for row in connection.execute(query).mappings()]
    end = _cursor_after(found[-1]) if found else after
    if len(found) < limit and newest.position > end.position:
        end = newest
    return Page(events=found, end=end, pruned_to=_pruned_to(connection, scope))


def _about(
    scope: AccountScope, operations: Collection[str], groups: Collection[str]
) -> Iterator[ColumnElement[bool]]:
    if subjects := [*operations, *(group_subject(scope, name) for name in groups)]:
        yield events.c.subject.in_(sorted(subjects))
    if groups:
        members = select(watches.c.id).where(
            watches.c.scope_id == scope.id, watches.c.group_name.in_(sorted(groups))
        )
        yield events.c.subject.in_(members)


def _cursor_after(event: StoredEvent) -> Cursor:
    return Cursor(position=event.position, event_id=event.id)


def last_cursor(connection: Connection, scope: AccountScope) -> Cursor:
    """Return the cursor after everything recorded so far; without an id where that was pruned."""
    newest = _cursors(scope).order_by(events.c.position.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    pruned_to = _pruned_to(connection, scope)
    if row is None or row.position < pruned_to:
        return Cursor(position=pruned_to)
    return Cursor(position=row.position, event_id=row.id)


def find_cursor(connection: Connection, scope: AccountScope, event_id: str) -> Cursor | None:
    """Return the cursor after an event; None where it, or a later one, is no longer kept."""
    row = connection.execute(_cursors(scope).where(events.c.id == event_id)).one_or_none()
    if row is None or row.position < _pruned_to(connection, scope):
        return None
    return Cursor(position=row.position, event_id=row.id)


def remove_events(connection: Connection, scope: AccountScope, subjects: Collection[str]) -> int:
    """Delete the events of `subjects`, and store the highest position among them.

    Returns how many were deleted.
    """
    statement = _removing(is_shared=is_shared(connection))
    values = {"subjects": listed(connection, sorted(subjects))}
    positions = connection.execute(statement, values).scalars().all()
    if not positions:
        return 0
    own = {"own_name": _counter(scope), "highest": max(positions)}
    if connection.execute(_RAISE, own).rowcount == 0:
        connection.execute(insert(counters).values(name=own["own_name"], value=own["highest"]))
    return len(positions)


# built once: retention runs them in each of its steps
@cache
def _removing(*, is_shared: bool) -> ReturningDelete[int]:
    of_these = among(events.c.subject, "subjects", is_shared=is_shared)
    return delete(events).where(of_these).returning(events.c.position)


_HIGHEST: Final = bindparam("highest", type_=BigInteger)
_RAISE: Final = (
    update(counters)
    .where(counters.c.name == bindparam("own_name"))
    .values(value=case((counters.c.value < _HIGHEST, _HIGHEST), else_=counters.c.value))
)


def _pruned_to(connection: Connection, scope: AccountScope) -> int:
    query = select(counters.c.value).where(counters.c.name == _counter(scope))
    return connection.execute(query).scalar_one_or_none() or 0


def _counter(scope: AccountScope) -> str:
    return f"{_PRUNED}/{scope.id}"


def _cursors(scope: AccountScope) -> Select[tuple[int, str]]:
    return select(events.c.position, events.c.id).where(events.c.scope_id == scope.id)


def prove_writable(connection: Connection, _scope: AccountScope) -> None:
    """Write a row unchanged, which proves that a registration could be committed."""
    row = counters.c.name == POSITION
    connection.execute(counters.update().where(row).values(value=counters.c.value))
