"""Everything emitted, in commit order: what the event stream reads, page by page.

Nobody queues anything for a reader: who was away asks for what comes after the last event that
it has. Retention leaves a mark of how far it came, so that what is gone is never passed over in
silence.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Select, case, func, insert, select, update

from poller.store.events import StoredEvent, stored_event_of
from poller.store.schema import counters, events
from poller.store.tenancy import Tenant

__all__ = ["Cursor", "Page", "find_mark", "last_mark", "note_pruned", "page"]

_PRUNED: Final = "pruned_position"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the feed: behind the event of that id.

    `event_id` is "" before the first event, and where the event is no longer kept.
    """

    position: int
    event_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What comes next. `end` is behind the last event that was looked at, wanted or not.

    `pruned_to` is the highest position that retention has taken from this scope, 0 for none.
    """

    events: Sequence[StoredEvent]
    end: Cursor
    pruned_to: int


def page(
    connection: Connection,
    tenant: Tenant,
    *,
    after: Cursor,
    limit: int,
    operations: Collection[str] = (),
) -> Page:
    """Read up to `limit` events that come after a mark, of these operations or of all."""
    # in this order: what is committed in between may be read twice, and is never passed over
    newest = last_mark(connection, tenant)
    query = (
        select(events)
        .where(events.c.scope_id == tenant.id, events.c.position > after.position)
        .order_by(events.c.position)
        .limit(limit)
    )
    if operations:
        query = query.where(events.c.watch_id.in_(sorted(operations)))
    found = [stored_event_of(row) for row in connection.execute(query).mappings()]
    end = _behind(found[-1]) if found else after
    if len(found) < limit and newest.position > end.position:
        end = newest
    return Page(events=found, end=end, pruned_to=_pruned_to(connection, tenant))


def _behind(event: StoredEvent) -> Cursor:
    return Cursor(position=event.position, event_id=event.id)


def last_mark(connection: Connection, tenant: Tenant) -> Cursor:
    """Return the mark behind everything recorded so far; without an id where that was pruned."""
    newest = _marks(tenant).order_by(events.c.position.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    pruned_to = _pruned_to(connection, tenant)
    if row is None or row.position < pruned_to:
        return Cursor(position=pruned_to)
    return Cursor(position=row.position, event_id=row.id)


def find_mark(connection: Connection, tenant: Tenant, event_id: str) -> Cursor | None:
    """Return the mark behind an event; None where it, or any event after it, is no longer kept."""
    row = connection.execute(_marks(tenant).where(events.c.id == event_id)).one_or_none()
    if row is None or row.position < _pruned_to(connection, tenant):
        return None
    return Cursor(position=row.position, event_id=row.id)


def note_pruned(connection: Connection, tenant: Tenant, operations: Collection[str]) -> None:
    """Remember how far retention comes; called before the events of `operations` go."""
    query = select(func.max(events.c.position)).where(events.c.watch_id.in_(sorted(operations)))
    highest = connection.execute(query).scalar_one()
    if highest is None:
        return
    name = _counter(tenant)
    higher = case((counters.c.value < highest, highest), else_=counters.c.value)
    known = connection.execute(update(counters).where(counters.c.name == name).values(value=higher))
    if known.rowcount == 0:
        connection.execute(insert(counters).values(name=name, value=highest))


def _pruned_to(connection: Connection, tenant: Tenant) -> int:
    query = select(counters.c.value).where(counters.c.name == _counter(tenant))
    return connection.execute(query).scalar_one_or_none() or 0


def _counter(tenant: Tenant) -> str:
    return f"{_PRUNED}/{tenant.id}"


def _marks(tenant: Tenant) -> Select[tuple[int, str]]:
    return select(events.c.position, events.c.id).where(events.c.scope_id == tenant.id)
