"""The lifecycles as tables: which event a status makes, which status ends, which cannot follow.

One row for each thing that can be watched. What is not in a table changes nothing: an unknown
status makes an event of type `….changed` and is never terminal, because the vendor may add values
at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from poller.tracking.watch import Outcome, ResourceType

__all__ = ["LIFECYCLES", "EventType", "Lifecycle", "lifecycle_of"]


class EventType(StrEnum):
    """The types of event."""

    OPERATION_SCHEDULED = "operation.scheduled"
    OPERATION_PROCESSING = "operation.processing"
    OPERATION_PROGRESS = "operation.progress"
    OPERATION_CHANGED = "operation.changed"
    OPERATION_COMPLETED = "operation.completed"
    OPERATION_CANCELED = "operation.canceled"
    OPERATION_SETTLED = "operation.settled"
    OPERATION_LOST = "operation.lost"
    OPERATION_BREAKDOWN = "operation.breakdown"
    MESSAGE_SCHEDULED = "message.scheduled"
    MESSAGE_QUEUED = "message.queued"
    MESSAGE_SENT = "message.sent"
    MESSAGE_GROUP = "message.group"
    MESSAGE_PROGRESS = "message.progress"
    MESSAGE_CHANGED = "message.changed"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_READ = "message.read"
    MESSAGE_UNDELIVERED = "message.undelivered"
    MESSAGE_FAILED = "message.failed"
    MESSAGE_CANCELED = "message.canceled"
    MESSAGE_INBOUND = "message.inbound"
    MESSAGE_SETTLED = "message.settled"
    MESSAGE_LOST = "message.lost"

    @property
    def resource_type(self) -> ResourceType:
        """What an event of this type is about."""
        return ResourceType(self.value.partition(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """How one sort of thing lives.

    `events` names the event that a change to a status makes; `terminal` the outcome of those that
    end; `lasting` those of them after which receipts can still move something, so that settling
    watches on; `follows_terminal` what may be seen after a terminal status, and `never_after` what
    may not be seen after another one.
    """

    events: Mapping[str, EventType]
    terminal: Mapping[str, Outcome]
    lasting: frozenset[str]
    follows_terminal: Mapping[str, frozenset[str]]
    never_after: Mapping[str, frozenset[str]]
    progress: EventType
    changed: EventType
    settled: EventType
    lost: EventType

    def event_type(self, status: str) -> EventType:
        """Name the event that a change to this status makes."""
        return self.events.get(status, self.changed)

    def follows(self, last: str | None, status: str) -> bool:
        """Tell whether `status` may be seen after `last`; what may not is an old answer."""
        if last is None or last == status:
            return True
        if last in self.terminal:
            return status in self.follows_terminal.get(last, frozenset())
        return status not in self.never_after.get(last, frozenset())


_SCHEDULED: Final = frozenset({"SCHEDULED"})

LIFECYCLES: Final[Mapping[ResourceType, Lifecycle]] = {
    ResourceType.OPERATION: Lifecycle(
        events={
            "SCHEDULED": EventType.OPERATION_SCHEDULED,
            "PROCESSING": EventType.OPERATION_PROCESSING,
            "COMPLETED": EventType.OPERATION_COMPLETED,
            "CANCELED": EventType.OPERATION_CANCELED,
        },
        terminal={"COMPLETED": Outcome.COMPLETED, "CANCELED": Outcome.CANCELED},
        lasting=frozenset({"COMPLETED"}),
        follows_terminal={},
        never_after={"PROCESSING": _SCHEDULED},
        progress=EventType.OPERATION_PROGRESS,
        changed=EventType.OPERATION_CHANGED,
        settled=EventType.OPERATION_SETTLED,
        lost=EventType.OPERATION_LOST,
    ),
    ResourceType.MESSAGE: Lifecycle(
        events={
            "SCHEDULED": EventType.MESSAGE_SCHEDULED,
            "QUEUED": EventType.MESSAGE_QUEUED,
            "SENT": EventType.MESSAGE_SENT,
            "GROUP": EventType.MESSAGE_GROUP,
            "DELIVERED": EventType.MESSAGE_DELIVERED,
            "READ": EventType.MESSAGE_READ,
            "UNDELIVERED": EventType.MESSAGE_UNDELIVERED,
            "FAILED": EventType.MESSAGE_FAILED,
            "CANCELED": EventType.MESSAGE_CANCELED,
            "INBOUND": EventType.MESSAGE_INBOUND,
        },
        terminal={
            "DELIVERED": Outcome.COMPLETED,
            "READ": Outcome.COMPLETED,
            "INBOUND": Outcome.COMPLETED,
            "UNDELIVERED": Outcome.FAILED,
            "FAILED": Outcome.FAILED,
            "CANCELED": Outcome.CANCELED,
        },
        lasting=frozenset({"DELIVERED"}),
        follows_terminal={"DELIVERED": frozenset({"READ"})},
        never_after={"QUEUED": _SCHEDULED, "SENT": _SCHEDULED, "GROUP": _SCHEDULED},
        progress=EventType.MESSAGE_PROGRESS,
        changed=EventType.MESSAGE_CHANGED,
        settled=EventType.MESSAGE_SETTLED,
        lost=EventType.MESSAGE_LOST,
    ),
}


def lifecycle_of(thing: ResourceType) -> Lifecycle:
    """Return the row of the table."""
    return LIFECYCLES[thing]
