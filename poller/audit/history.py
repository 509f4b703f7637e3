"""The events of one subject in the order of their first arrival, held against the promises. Pure.

What is remembered is bounded for each operation: the last status and counters, and the gaps.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from poller.audit.event_reader import AuditedEvent, Told
from poller.tracking.lifecycle import LIFECYCLES, EventType

_SHOWN: Final = 5


class Fault(StrEnum):
    """What sort of promise is broken."""

    TORN = "torn"
    """The last line has no end."""
    UNREADABLE = "unreadable"
    SHAPE = "shape"
    CONTRADICTION = "contradiction"
    """One event contradicts itself."""
    IDENTITY = "identity"
    """Two events have one id."""
    REPEATED = "repeated"
    """Two events have one sequence number."""
    GAP = "gap"
    ORDER = "order"
    STATUS = "status"
    """`previousStatus` is not what the event before told."""
    COUNTERS = "counters"
    """The deltas do not add up."""
    END = "end"
    """An event where there can be none any more."""
    UNFINISHED = "unfinished"
    """No final event."""


class Stage(StrEnum):
    """How far an operation is."""

    OPEN = "open"
    SETTLING = "settling"
    LOST = "lost"
    """Ended, but it may be watched again."""
    OVER = "over"


# What may still come. Before and after a loss everything may, while settling no change of status.
_NEVER_AFTER: Final[Mapping[Stage, frozenset[str]]] = {
    Stage.SETTLING: frozenset(EventType)
    - {EventType.MESSAGE_READ, EventType.OPERATION_BREAKDOWN}
    - {lifecycle.progress for lifecycle in LIFECYCLES.values()}
    - {lifecycle.settled for lifecycle in LIFECYCLES.values()},
}


# where these do not end the watch, it settles
_SETTLES: Final = frozenset(
    lifecycle.events[status] for lifecycle in LIFECYCLES.values() for status in lifecycle.lasting
)


class History:
    """The events of one operation so far. With `allow_gaps` missing ones are no fault."""

    __slots__ = ("_allow_gaps", "_counters", "_gaps", "_known", "_status", "last", "late", "stage")

    def __init__(self, *, allow_gaps: bool) -> None:
        self.stage = Stage.OPEN
        self.last = 0
        self.late = 0
        """Events that came after later ones into a gap: dead letters that were replayed."""
        self._allow_gaps = allow_gaps
        self._gaps: list[tuple[int, int]] = []
        self._known = True
        self._status: str | None = None
        self._counters: Mapping[str, int] = {}

    @property
    def has_ended(self) -> bool:
        """True where the last watch of it had its final event."""
        return self.stage in {Stage.LOST, Stage.OVER}

    def add(self, event: AuditedEvent) -> Iterator[tuple[Fault, str]]:
        """Take the next event, whose id is new; yields what it breaks."""
        if event.sequence <= self.last:
            yield from self._add_late(event)
            return
        yield from self._skip_to(event.sequence)
        yield from self._advance(event)
        if event.told is None:
            self._known = False
            return
        if self._known:
            yield from self._compare(event.told)
        self._learn(event.told)

    def _skip_to(self, sequence: int) -> Iterator[tuple[Fault, str]]:
        first, self.last = self.last + 1, sequence
        if sequence == first:
            return
        self._gaps.append((first, sequence - 1))
        self._known = False
        if not self._allow_gaps:
            missing = f"{first} is" if first == sequence - 1 else f"{first} to {sequence - 1} are"
            yield Fault.GAP, f"sequence {missing} missing before {sequence}"

    def _add_late(self, event: AuditedEvent) -> Iterator[tuple[Fault, str]]:
        if not self._fill(event.sequence):
            yield Fault.REPEATED, f"sequence {event.sequence} came before under another id"
            return
        if self._allow_gaps:
            self.late += 1
        else:
            yield Fault.ORDER, f"sequence {event.sequence} comes after {self.last}"
        if event.final and not event.type.endswith(".lost"):
            if self.stage is Stage.OVER:
                yield Fault.END, f"{event.type} is a second final event"
            self.stage = Stage.OVER

    def _fill(self, sequence: int) -> bool:
        """Strike `sequence` from the gaps; False where it is in none."""
        for index, (first, last) in enumerate(self._gaps):
            if first <= sequence <= last:
                left = [(first, sequence - 1), (sequence + 1, last)]
                self._gaps[index : index + 1] = [(low, high) for low, high in left if low <= high]
                return True
        return False

    def _advance(self, event: AuditedEvent) -> Iterator[tuple[Fault, str]]:
        if self.stage is Stage.OVER and event.type != EventType.OPERATION_BREAKDOWN:
            yield Fault.END, f"{event.type} after the final event"
            return
        if event.type in _NEVER_AFTER.get(self.stage, ()):
            yield Fault.END, f"{event.type} after what only settles"
        if event.final:
            self.stage = Stage.LOST if event.type.endswith(".lost") else Stage.OVER
        elif event.type in _SETTLES:
            self.stage = Stage.SETTLING
        elif self.stage is Stage.LOST:
            self.stage = Stage.OPEN

    def _compare(self, told: Told) -> Iterator[tuple[Fault, str]]:
        if told.previous_status != self._status:
            yield (
                Fault.STATUS,
                f"data.previousStatus is {told.previous_status}, but {self._status} was told last",
            )
        if told.counters is None:
            return
        wrong = {
            name: (self._counters.get(name, 0), told.delta.get(name, 0), told.counters.get(name, 0))
            for name in {**self._counters, **told.counters, **told.delta}
            if self._counters.get(name, 0) + told.delta.get(name, 0) != told.counters.get(name, 0)
        }
        if wrong:
            sums = [
                f"{name!a} was {before}, delta {delta:+d}, is {after}"
                for name, (before, delta, after) in sorted(wrong.items())[:_SHOWN]
            ]
            yield Fault.COUNTERS, f"deltas do not add up: {'; '.join(sums)}"

    def _learn(self, told: Told) -> None:
        """Go on from what this event told, so that one wrong number is one fault."""
        if told.counters is not None and told.status is not None:
            self._status, self._counters, self._known = told.status, told.counters, True
