"""Events and the deliveries that are made with them, in the recording transaction."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, insert, update

from poller.store.schema import counters, deliveries, events
from poller.store.tenancy import Tenant
from poller.tracking.delivery import DeliveryState
from poller.tracking.event import Event, event_id
from poller.tracking.subscription import Subscription

__all__ = ["POSITION", "StoredEvent", "record_events"]

POSITION: Final = "event_position"
_ID_BITS: Final = 74
_ID_MASK: Final = (1 << _ID_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was committed. `position` is its place in commit order, `body` its JSON."""

    id: str
    position: int
    event: Event
    body: str


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
    recorded = []
    # never derived: two events are never one because they look alike
    entropy = random.SystemRandom().getrandbits(_ID_BITS * len(made))
    for number, event in enumerate(made):
        position = last - len(made) + 1 + number
        new_id = event_id(now, entropy >> _ID_BITS * number & _ID_MASK)
        body = event.render(new_id)
        recorded.append(StoredEvent(id=new_id, position=position, event=event, body=body))
    connection.execute(insert(events), [_event_row(tenant, one, now) for one in recorded])
    wanted = [
        _delivery_row(tenant, subscription.sink, one, now)
        for one in recorded
        for subscription in subscriptions
        if subscription.wants(one.event)
    ]
    if wanted:
        connection.execute(insert(deliveries), wanted)
    return recorded


def _take_positions(connection: Connection, number: int) -> int:
    """Take the next positions; the row stays locked until the commit, so order is commit order."""
    statement = (
        update(counters)
        .where(counters.c.name == POSITION)
        .values(value=counters.c.value + number)
        .returning(counters.c.value)
    )
    return int(connection.execute(statement).scalar_one())


def _event_row(tenant: Tenant, recorded: StoredEvent, now: datetime) -> dict[str, object]:
    event = recorded.event
    return {
        "position": recorded.position,
        "id": recorded.id,
        "scope_id": tenant.id,
        "watch_id": event.watch_id,
        "sequence": event.sequence,
        "type": event.type.value,
        "final": event.final,
        "recorded_at": now,
        "body": recorded.body,
    }


def _delivery_row(
    tenant: Tenant, sink: str, recorded: StoredEvent, now: datetime
) -> dict[str, object]:
    return {
        "scope_id": tenant.id,
        "sink": sink,
        "position": recorded.position,
        "watch_id": recorded.event.watch_id,
        "state": DeliveryState.WAITING.value,
        "attempts": 0,
        "fresh_at": now,
        "due_at": now,
        "set_at": now,
    }
