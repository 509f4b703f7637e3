"""The lifecycles as tables: those of the vendor's statuses, and that of a watch.

`LIFECYCLES` has one row for each type of resource: which event a status makes, which status ends,
which cannot follow another. `PHASES` says how a watch goes from phase to phase. What is not in a
table changes nothing: an unknown status makes an event of type `….changed` and is never terminal,
because the vendor may add values at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from poller.tracking.watch import NotFoundStreak, Outcome, Phase, ResourceType, Watch

GROUP: Final = "group"
"""The family of the types of event that are about a group."""


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
    OPERATION_ALERT = "operation.alert"
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
    GROUP_PROGRESS = "group.progress"
    GROUP_COMPLETED = "group.completed"
    GROUP_BREAKDOWN = "group.breakdown"
    GROUP_ALERT = "group.alert"

    @property
    def resource_type(self) -> ResourceType | None:
        """What an event of this type is about; None for a group."""
        family = self.value.partition(".")[0]
        return None if family == GROUP else ResourceType(family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """The statuses of one type of resource.

    `events` names the event that a change to a status makes; `terminal` gives the outcome of the
    statuses that end; `lasting` are the terminal ones after which receipts can still change
    counters, so that the watch settles; `follows_terminal` are the statuses that may be seen after
    a terminal one, and `never_after` those that may not be seen after another one.
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
        """Return whether `status` may be seen after `last`; otherwise the answer is an old one."""
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


def lifecycle_of(resource_type: ResourceType) -> Lifecycle:
    """Return the row of the table."""
    return LIFECYCLES[resource_type]


class PhaseChange(StrEnum):
    """What can move a watch from one phase to another."""

    SETTLE = "settle"
    """A terminal status was seen after which receipts may still arrive."""
    READ_BREAKDOWN = "read breakdown"
    """The final event was emitted, and the breakdown is read next."""
    END = "end"
    """The last event was emitted."""
    FORGET = "forget"
    """Stopping was requested."""
    RESUME = "resume"
    """A watch that was lost or forgotten is registered again."""
    RESUME_SETTLING = "resume settling"
    """The same, where a terminal status was already seen."""


PHASES: Final[Mapping[Phase, Mapping[PhaseChange, Phase]]] = {
    Phase.ACTIVE: {
        PhaseChange.SETTLE: Phase.SETTLING,
        PhaseChange.READ_BREAKDOWN: Phase.EXPLAINING,
        PhaseChange.END: Phase.ENDED,
        PhaseChange.FORGET: Phase.FORGOTTEN,
    },
    Phase.SETTLING: {
        PhaseChange.READ_BREAKDOWN: Phase.EXPLAINING,
        PhaseChange.END: Phase.ENDED,
        PhaseChange.FORGET: Phase.FORGOTTEN,
    },
    Phase.EXPLAINING: {
        PhaseChange.END: Phase.ENDED,
        # its final event was emitted: later registrations get that answer
        PhaseChange.FORGET: Phase.ENDED,
    },
    Phase.ENDED: {
        PhaseChange.RESUME: Phase.ACTIVE,
        PhaseChange.RESUME_SETTLING: Phase.SETTLING,
    },
    Phase.FORGOTTEN: {
        PhaseChange.RESUME: Phase.ACTIVE,
        PhaseChange.RESUME_SETTLING: Phase.SETTLING,
    },
}


def change_phase(watch: Watch, change: PhaseChange, *, now: datetime) -> Watch:
    """Return the watch in the next phase after `PHASES`; unchanged where the table has no entry.

    `ended_at` is set when watching stops and cleared when it starts again. The state of a breakdown
    is dropped at the end of the phase in which it is read, a hint at every change of phase.
    """
    phase = PHASES[watch.phase].get(change)
    if phase is None:
        return watch
    if watch.phase is Phase.EXPLAINING:
        watch = watch.evolve(breakdown=None, not_found_streak=NotFoundStreak())
    after = watch.evolve(phase=phase, hint=None)
    return after.evolve(ended_at=None if after.is_watched else now)
