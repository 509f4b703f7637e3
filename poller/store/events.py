"""Events and the deliveries that are made with them, in the recording transaction."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, insert, update

from poller.store.schema import counters, deliveries, events
from poller.store.tenancy import Tenant
from poller.tracking.delivery import DeliveryState, Subscription
from poller.tracking.event import Event, event_id, read_event

POSITION: Final = "event_position"
_MEMBERS: Final = ("id", "position", "watch_id", "type", "sequence", "final", "recorded_at", "body")
_ID_BITS: Final = 74
_ID_MASK: Final = (1 << _ID_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was committed: one row.

    `position` is its place in commit order, `body` the CloudEvent as JSON on one line.
    """

    id: str
    position: int
    watch_id: str
    type: str
    sequence: int
    final: bool
    recorded_at: datetime
    body: str

    @property
    def event(self) -> Event:
        """The event that the body holds."""
        return read_event(json.loads(self.body))


def stored_event_of(row: RowMapping) -> StoredEvent:
    """Read a row of the table `events`."""
    return StoredEvent(**{name: row[name] for name in _MEMBERS})


def record_events(
    connection: Connection,
    tenant: Tenant,
    made: Sequence[Event],
    subscriptions: Sequence[Subscription],
    now: datetime,
) -> list[StoredEvent]:
    """Give each event its id and position, and each sink that wants it a delivery."""
    if not made:
        return []
    last = _take_positions(connection, len(made))
    # never derived: two events are never one because they look alike
    entropy = random.SystemRandom().getrandbits(_ID_BITS * len(made))
    stored = []
    for number, event in enumerate(made):
        new_id = event_id(now, entropy >> _ID_BITS * number & _ID_MASK)
        position = last - len(made) + 1 + number
        stored.append(_store(event, new_id, position=position, now=now))
    rows = [{name: getattr(one, name) for name in _MEMBERS} for one in stored]
    connection.execute(insert(events), [{**row, "scope_id": tenant.id} for row in rows])
    wanted = [
        _delivery_row(tenant, subscription.sink, one, now)
        for one, event in zip(stored, made, strict=True)
        for subscription in subscriptions
        if subscription.wants(event)
    ]
    if wanted:
        connection.execute(insert(deliveries), wanted)
    return stored


def _store(event: Event, new_id: str, *, position: int, now: datetime) -> StoredEvent:
    return StoredEvent(
        id=new_id,
        position=position,
        watch_id=event.watch_id,
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
    tenant: Tenant, sink: str, stored: StoredEvent, now: datetime
) -> dict[str, object]:
    return {
        "scope_id": tenant.id,
        "sink": sink,
        "position": stored.position,
        "watch_id": stored.watch_id,
        "state": DeliveryState.WAITING.value,
        "attempts": 0,
        "fresh_at": now,
        "due_at": now,
        "set_at": now,
    }
