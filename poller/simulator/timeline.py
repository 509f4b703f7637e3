"""A send as a function of time: who has left the queue, what has become of them, since when.

Pure. Time is in seconds at speed 1 since the send began (negative while it is scheduled). Nothing
is stored per message: the queue empties along a curve that can be inverted, and a message's path
says the rest. Counting and looking at one message ask the same function, so they always agree.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from poller.simulator.deck import Deck
from poller.simulator.paths import Path

__all__ = ["SimulatedMoment", "SimulatedTally", "Timeline"]

_RAMP: Final = 1.2
"""The queue empties a little faster as it goes: the part sent is the part of time, to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When the messages of one send leave the queue, and how they were dealt to paths.

    The first leaves after `latency`, the last `span` later. `canceled_at` is when what is still
    queued is canceled; None for never.
    """

    total: int
    deck: Deck
    shift: int
    latency: float
    span: float
    canceled_at: float | None = None

    def left(self, time: float) -> int:
        """Count the messages that would have left the queue by then, were none canceled."""
        part = (time - self.latency) / self.span
        if part <= 0:
            return 0
        return self.total if part >= 1 else int(self.total * part**_RAMP)

    def leaves_at(self, index: int) -> float:
        """Return when the message at `index` leaves the queue."""
        return self.latency + self.span * float(((index + 1) / self.total) ** (1 / _RAMP))

    def at(self, time: float) -> "SimulatedMoment":
        """Return the view of this send at that time."""
        return SimulatedMoment(self, time)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTally:
    """How many messages stand in which status, the attempts made, and when it last changed.

    `changed_at` is None before the first change. `waiting` have not left the queue.
    """

    waiting: int
    statuses: Mapping[str, int]
    attempts: int
    changed_at: float | None


class SimulatedMoment:
    """One send at one time."""

    def __init__(self, timeline: Timeline, time: float) -> None:
        self._timeline = timeline
        self._lefts: dict[float, int] = {}
        self.time = time
        canceled_at = timeline.canceled_at
        self.canceled = canceled_at is not None and time >= canceled_at
        self._end = timeline.total  # messages from here on never leave the queue
        if canceled_at is not None and self.canceled:
            self._end = timeline.left(canceled_at)

    @property
    def emptied(self) -> bool:
        """Whether every message has left the queue: the send is processed."""
        return self._left(0) >= self._timeline.total

    @cached_property
    def tally(self) -> SimulatedTally:
        """Count everything."""
        timeline, shift = self._timeline, self._timeline.shift
        gone = self._left(0)
        waiting = timeline.total - gone
        statuses: Counter[str] = Counter()
        changed_at = timeline.canceled_at if self.canceled else None
        if self.canceled:
            statuses["CANCELED"], waiting = waiting, 0
        for move in timeline.deck.moves:
            made = move.made(self._left(move.lag), shift=shift)
            if not made:
                continue
            statuses[move.after] += made
            if move.before is not None:
                statuses[move.before] -= made
            at = timeline.leaves_at(move.nth(made, shift=shift)) + move.lag
            changed_at = at if changed_at is None or at > changed_at else changed_at
        return SimulatedTally(
            waiting=waiting,
            statuses=statuses,
            attempts=timeline.deck.attempts(self._left, shift=shift),
            changed_at=changed_at,
        )

    def status_of(self, index: int) -> tuple[str | None, float | None]:
        """Return the status of one message and since when; None for both while it waits."""
        return self.status_along(self.path_of(index), index)

    def status_along(self, path: Path, index: int) -> tuple[str | None, float | None]:
        """Return the same for what goes this way and leaves with the message at `index`."""
        if self.canceled and index >= self._end:
            return "CANCELED", self._timeline.canceled_at
        for hop in reversed(path.hops):
            if self.has_left(index, lag=hop.lag):
                return hop.status, self._timeline.leaves_at(index) + hop.lag
        return None, None

    def has_left(self, index: int, *, lag: float) -> bool:
        """Tell whether one message left the queue at least `lag` seconds ago."""
        return self._left(lag) > index

    def path_of(self, index: int) -> Path:
        """Return the path that was dealt to one message."""
        return self._timeline.deck.path_of(index, shift=self._timeline.shift)

    def _left(self, lag: float) -> int:
        """Count the messages that left the queue at least `lag` seconds ago."""
        if lag not in self._lefts:
            self._lefts[lag] = min(self._timeline.left(self.time - lag), self._end)
        return self._lefts[lag]
