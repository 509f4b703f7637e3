"""The lifecycle as tables: which event a status makes, which status cannot follow which.

What is not in a table changes nothing: an unknown status makes `operation.changed` and is never
terminal, because the vendor may add values at any time.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from poller.tracking.watch import Outcome

__all__ = ["TERMINAL", "EventType", "event_type", "follows"]


class EventType(StrEnum):
    """The types of event."""

    SCHEDULED = "operation.scheduled"
    PROCESSING = "operation.processing"
    PROGRESS = "operation.progress"
    CHANGED = "operation.changed"
    COMPLETED = "operation.completed"
    CANCELED = "operation.canceled"
    SETTLED = "operation.settled"
    LOST = "operation.lost"


_EVENT_OF_STATUS: Final[Mapping[str, EventType]] = {
    "SCHEDULED": EventType.SCHEDULED,
    "PROCESSING": EventType.PROCESSING,
    "COMPLETED": EventType.COMPLETED,
    "CANCELED": EventType.CANCELED,
}

TERMINAL: Final[Mapping[str, Outcome]] = {
    "COMPLETED": Outcome.COMPLETED,
    "CANCELED": Outcome.CANCELED,
}

_NEVER_AFTER: Final[Mapping[str, frozenset[str]]] = {"PROCESSING": frozenset({"SCHEDULED"})}


def event_type(status: str) -> EventType:
    """Name the event that a change to this status makes."""
    return _EVENT_OF_STATUS.get(status, EventType.CHANGED)


def follows(last: str | None, status: str) -> bool:
    """Tell whether `status` may be seen after `last`; what may not is an old answer."""
    if last is None or last == status:
        return True
    return last not in TERMINAL and status not in _NEVER_AFTER.get(last, frozenset())
