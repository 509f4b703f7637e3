"""Checks the events of one subject in the order of their first arrival. Pure.

The state for each operation is bounded: the last status and counters, and the gaps.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from poller.audit.event_reader import AuditedEvent, EventContent
from poller.audit.group import GroupContent, seal_faults
from poller.tracking.lifecycle import LIFECYCLES, EventType

_SHOWN: Final = 5


class AuditFault(StrEnum):
    """The kind of a broken promise."""

    TORN = "torn"
    """The last line is incomplete."""
    UNREADABLE = "unreadable"
    SHAPE = "shape"
    CONTRADICTION = "contradiction"
    """One event contradicts itself."""
    IDENTITY = "identity"
    """Two different events have the same id."""
    REPEATED = "repeated"
    """Two events have the same sequence number."""
    GAP = "gap"
    ORDER = "order"
    STATUS = "status"
    """`previousStatus` is not the status in the previous event."""
    COUNTERS = "counters"
    """The deltas do not add up."""
    SEAL = "seal"
    """The seal of a group changed, or a sealed group got a member."""
    SUMS = "sums"
    """The sums of a group differ from those of its members."""
    END = "end"
    """An event after the final one, or a breakdown before it."""
    UNFINISHED = "unfinished"
    """No final event."""


class HistoryStage(StrEnum):
    """The stage of an operation according to its events."""

    OPEN = "open"
    SETTLING = "settling"
    LOST = "lost"
    """Ended, but it may be watched again."""
    OVER = "over"


# Types that may not follow. Before the end and after a loss any may; while settling, no change of
# status may.
_NEVER_AFTER: Final[Mapping[HistoryStage, frozenset[str]]] = {
    HistoryStage.SETTLING: frozenset(EventType)
    - {EventType.MESSAGE_READ, EventType.OPERATION_BREAKDOWN, EventType.OPERATION_ALERT}
    - {lifecycle.progress for lifecycle in LIFECYCLES.values()}
    - {lifecycle.settled for lifecycle in LIFECYCLES.values()},
}


# after these the watch settles, unless they end it
_SETTLES: Final = frozenset(
    lifecycle.events[status] for lifecycle in LIFECYCLES.values() for status in lifecycle.lasting
)


class History:
    """The events of one subject so far. With `allow_gaps` missing events are not a fault."""

    __slots__ = (
        "_allow_gaps",
        "_counters",
        "_gaps",
        "_group",
        "_is_explained",
        "_known",
        "_status",
        "last",
        "late",
        "stage",
    )

    def __init__(self, *, allow_gaps: bool) -> None:
        self.stage = HistoryStage.OPEN
        self.last = 0
        self.late = 0
        """Events that filled a gap after later events: dead letters that were replayed."""
        self._allow_gaps = allow_gaps
        self._gaps: list[tuple[int, int]] = []
        self._known = True
        self._status: str | None = None
        self._counters: Mapping[str, int] = {}
        self._group: GroupContent | None = None
        self._is_explained = False

    @property
    def has_ended(self) -> bool:
        """Whether its latest watch has had the final event."""
        return self.stage in {HistoryStage.LOST, HistoryStage.OVER}

    def add(self, event: AuditedEvent) -> Iterator[tuple[AuditFault, str]]:
        """Add the next event, whose id is new; yields the promises that it breaks."""
        if event.sequence <= self.last:
            yield from self._add_late(event)
            return
        yield from self._skip_to(event.sequence)
        yield from self._advance(event)
        if event.content is None:
            self._known = False
            return
        if self._known:
            yield from self._compare(event.content)
        self._learn(event.content)

    def _skip_to(self, sequence: int) -> Iterator[tuple[AuditFault, str]]:
        first, self.last = self.last + 1, sequence
        if sequence == first:
            return
        self._gaps.append((first, sequence - 1))
        self._known = False
        if not self._allow_gaps:
            missing = f"{first} is" if first == sequence - 1 else f"{first} to {sequence - 1} are"
            yield AuditFault.GAP, f"sequence {missing} missing before {sequence}"

    def _add_late(self, event: AuditedEvent) -> Iterator[tuple[AuditFault, str]]:
        if not self._fill(event.sequence):
            yield AuditFault.REPEATED, f"sequence {event.sequence} appeared before with another id"
            return
        if self._allow_gaps:
            self.late += 1
        else:
            yield AuditFault.ORDER, f"sequence {event.sequence} comes after {self.last}"
        yield from self._explain(event)
        if event.final and not event.type.endswith(".lost"):
            if self.stage is HistoryStage.OVER:
                yield AuditFault.END, f"{event.type} is a second final event"
            self.stage = HistoryStage.OVER

    def _fill(self, sequence: int) -> bool:
        """Remove `sequence` from the gaps; False if it is in none."""
        for index, (first, last) in enumerate(self._gaps):
            if first <= sequence <= last:
                left = [(first, sequence - 1), (sequence + 1, last)]
                self._gaps[index : index + 1] = [(low, high) for low, high in left if low <= high]
                return True
        return False

    def _explain(self, event: AuditedEvent) -> Iterator[tuple[AuditFault, str]]:
        if not event.type.endswith(".breakdown"):
            return
        if self._is_explained:
            yield AuditFault.END, f"{event.type} is a second breakdown"
        # an operation's status shows whether it has ended; a group has no status
        is_of_group = event.type == EventType.GROUP_BREAKDOWN
        if is_of_group and self.stage is HistoryStage.OPEN and not self._gaps:
            yield AuditFault.END, f"{event.type} before the final event"
        self._is_explained = True

    def _advance(self, event: AuditedEvent) -> Iterator[tuple[AuditFault, str]]:
        yield from self._explain(event)
        if self.stage is HistoryStage.OVER and not event.type.endswith(".breakdown"):
            yield AuditFault.END, f"{event.type} after the final event"
            return
        if event.type in _NEVER_AFTER.get(self.stage, ()):
            yield AuditFault.END, f"{event.type} while the watch settles"
        if event.final:
            self.stage = HistoryStage.LOST if event.type.endswith(".lost") else HistoryStage.OVER
        elif event.type in _SETTLES:
            self.stage = HistoryStage.SETTLING
        elif self.stage is HistoryStage.LOST:
            self.stage = HistoryStage.OPEN

    def _compare(self, content: EventContent) -> Iterator[tuple[AuditFault, str]]:
        if content.previous_status != self._status:
            claimed = content.previous_status
            what = f"data.previousStatus is {claimed}, but the previous event has {self._status}"
            yield AuditFault.STATUS, what
        if content.group is not None and self._group is not None:
            yield from ((AuditFault.SEAL, what) for what in seal_faults(self._group, content.group))
        if content.counters is None:
            return
        wrong = {
            name: (
                self._counters.get(name, 0),
                content.delta.get(name, 0),
                content.counters.get(name, 0),
            )
            for name in {**self._counters, **content.counters, **content.delta}
            if self._counters.get(name, 0) + content.delta.get(name, 0)
            != content.counters.get(name, 0)
        }
        if wrong:
            sums = [
                f"{name!a} was {before}, delta {delta:+d}, is {after}"
                for name, (before, delta, after) in sorted(wrong.items())[:_SHOWN]
            ]
            yield AuditFault.COUNTERS, f"deltas do not add up: {'; '.join(sums)}"

    def _learn(self, content: EventContent) -> None:
        """Continue from the content of this event, so that one wrong number is only one fault."""
        self._group = content.group
        if content.counters is not None:
            self._status, self._counters, self._known = content.status, content.counters, True
