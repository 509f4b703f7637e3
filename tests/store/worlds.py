"""A small world for the state machine: operations that progress, and places that take events."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from poller.comms.kinds import kind_named
from poller.comms.models import decode_operation
from poller.store.events import StoredEvent
from poller.text import format_instant
from poller.tracking.answer import FoundAnswer
from poller.tracking.delivery import AttemptResult, DeliveryAttempt, DeliveryState, Subscription
from poller.tracking.group import Group
from poller.tracking.member_sums import MemberCounts, share_labels
from poller.tracking.watch import Phase, Watch
from tests.oracle import judge

__all__ = ["Ledger", "PrunePlace", "Truth"]

_LAST = ("COMPLETED", "CANCELED")


@dataclass
class Truth:
    """One operation as the vendor has it: every snapshot that it ever gave, the newest last.

    Where it is not `dated`, its documents have no `updatedAt`, and an old one cannot be recognized.
    """

    id: str
    dated: bool
    total: int = 5
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Say whether the vendor said its last word."""
        return bool(self.history) and self.history[-1]["status"] in _LAST

    def move(self, status: str, moves: Sequence[tuple[str, str]], now: datetime) -> None:
        """Take another status, unless it has ended, and let recipients change their state."""
        stats = {"total": self.total, "queued": self.total}
        if self.history:
            stats = dict(self.history[-1]["stats"])
            if self.has_ended:
                status = self.history[-1]["status"]
        for before, after in moves:
            if stats.get(before, 0) > 0:
                stats[before] -= 1
                stats[after] = stats.get(after, 0) + 1
        document = {"id": self.id, "status": status, "stats": stats}
        if self.dated:
            document["updatedAt"] = format_instant(now)
        self.history.append(document)

    def finish(self, now: datetime) -> None:
        """Complete it, with all receipts in."""
        if not self.has_ended:
            self.move("COMPLETED", (), now)
        stats = {"total": self.total, "delivered": self.total}
        document = {**self.history[-1], "stats": stats}
        if self.dated:
            document["updatedAt"] = format_instant(now)
        self.history.append(document)

    def answer(self, age: int, now: datetime) -> FoundAnswer:
        """Answer with the snapshot that was the newest `age` snapshots ago."""
        document = self.history[max(0, len(self.history) - 1 - age)]
        operation = decode_operation(document, kind=kind_named("messages"), expected_id=self.id)
        return FoundAnswer(found=operation, begun_at=now - timedelta(seconds=1), arrived_at=now)


@dataclass
class PrunePlace:
    """Where a sink brings events: what arrived, in order, and the attempts under way."""

    subscription: Subscription
    in_order: bool
    arrivals: list[tuple[str, str]] = field(default_factory=list)
    """Event id and body of everything that arrived, repetitions included."""
    in_flight: list[tuple[StoredEvent, datetime]] = field(default_factory=list)
    """Claims whose attempts have not ended, with when they were begun."""
    finished: list[tuple[int, DeliveryAttempt]] = field(default_factory=list)
    """Attempts that the store does not know of yet."""

    @property
    def name(self) -> str:
        """The name of the sink."""
        return self.subscription.sink

    def end(self, results: Sequence[tuple[AttemptResult, bool]]) -> None:
        """End every attempt under way; each result says besides whether a failure did arrive.

        A batch in order is written from its top: after the first that fails nothing is.
        """
        broken = False
        for (claim, begun_at), (drawn, arrived) in zip(self.in_flight, results, strict=False):
            result = AttemptResult.FAILED if broken else drawn
            if result is AttemptResult.DELIVERED or (
                result is AttemptResult.FAILED and arrived and not broken
            ):
                self.arrivals.append((claim.id, claim.body))
            broken = broken or (self.in_order and result is not AttemptResult.DELIVERED)
            attempt = DeliveryAttempt(result=result, begun_at=begun_at, error=result.value)
            self.finished.append((claim.position, attempt))
        self.in_flight = self.in_flight[len(results) :]

    def crash(self) -> None:
        """Forget all that only the process knew."""
        self.in_flight = []
        self.finished = []


class Ledger:
    """What was recorded and what became of it, kept apart from the store to judge it by."""

    def __init__(self) -> None:
        self.events: dict[str, list[StoredEvent]] = {}
        """Of each watch that began from nothing, its events in order."""
        self.bodies: dict[str, str] = {}
        self.wanted: dict[str, list[StoredEvent]] = {}
        """Of each sink, the events that deliveries were made of."""
        self.states: dict[tuple[str, int], DeliveryState] = {}
        """The last state of each delivery; what retention took keeps it."""
        self.has_died: set[tuple[str, int]] = set()
        self.replayed: set[tuple[str, int]] = set()
        self.last_position = 0
        self._over: set[str] = set()
        self._generation: Counter[str] = Counter()
        self._frozen: dict[tuple[str, datetime], tuple[MemberCounts, dict[str, int]]] = {}

    def begin(self, operation_id: str, *, from_nothing: bool) -> None:
        """Take note that watching begins (again)."""
        self._over.discard(operation_id)
        self._generation[operation_id] += from_nothing

    def record(self, recorded: StoredEvent, places: Sequence[PrunePlace]) -> None:
        """Judge an event that was recorded, and note who wants it."""
        event = recorded.event
        name = f"{event.subject}/{self._generation[event.subject]}"
        line = self.events.setdefault(name, [])
        assert event.subject not in self._over, "an event after the final one"
        assert recorded.position == self.last_position + 1, "a gap between positions"
        assert event.sequence == len(line) + 1, "a gap in the sequence"
        assert recorded.id not in self.bodies, "an id twice"
        line.append(recorded)
        self.bodies[recorded.id] = recorded.body
        self.last_position = recorded.position
        if event.final:
            self._over.add(event.subject)
        for place in places:
            if place.subscription.wants(event):
                self.wanted.setdefault(place.name, []).append(recorded)

    def note_states(self, rows: Mapping[tuple[str, int], DeliveryState]) -> None:
        """Take in the deliveries that are there; only what is done may be missing."""
        for key, state in self.states.items():
            assert key in rows or state is not DeliveryState.WAITING, "a waiting delivery is gone"
        self.states.update(rows)
        self.has_died |= {key for key, state in rows.items() if state is DeliveryState.DEAD}

    def check_histories(self) -> None:
        """Let the oracle judge what was recorded of each operation."""
        for line in self.events.values():
            story = [json.loads(recorded.body) for recorded in line]
            found = judge(story, ended=False, watched_again=True)
            assert not found.problems, found.problems

    def check_group(self, group: Group, members: Sequence[Watch]) -> None:
        """Count the members again until the group ends; what it said then stays."""
        frozen = (group.members, dict(group.stats))
        if group.ended_at is not None:
            assert self._frozen.setdefault((group.name, group.ended_at), frozen) == frozen
            return
        standing = Counter(
            "watching" if one.phase in {Phase.ACTIVE, Phase.SETTLING} else str(one.outcome)
            for one in members
        )
        sums: Counter[str] = Counter()
        for one in members:
            sums.update(one.known_counters)
        assert group.members == MemberCounts(total=len(members), **standing)
        assert +Counter(group.stats) == +sums
        assert group.labels == share_labels([one.labels for one in members])
        is_over = group.sealed_at is not None and members and not standing["watching"]
        assert not is_over, "a group that should have ended"

    def check_arrivals(self, place: PrunePlace) -> None:
        """Check bodies, order of first arrivals, and that nothing is delivered unseen."""
        arrived: dict[str, int] = {}
        for turn, (event_id, body) in enumerate(place.arrivals):
            assert self.bodies[event_id] == body, "an id with two bodies"
            arrived.setdefault(event_id, turn)
        line: dict[str, int] = {}
        for recorded in self.wanted.get(place.name, ()):
            key = (place.name, recorded.position)
            assert key in self.states, "a delivery was never made"
            turn_of = arrived.get(recorded.id)
            if self.states[key] is DeliveryState.DELIVERED:
                assert turn_of is not None, "delivered, but it never arrived"
            if turn_of is None:
                assert self.states[key] is not DeliveryState.DELIVERED
                continue
            if key in self.has_died:
                continue
            operation = recorded.event.subject
            assert turn_of > line.get(operation, -1), "first arrivals out of order"
            line[operation] = turn_of

    def check_gaps(self, place: PrunePlace) -> None:
        """Check, of each event that arrived, that those before it arrived or were dead."""
        arrived = {event_id for event_id, _ in place.arrivals}
        for index, recorded in enumerate(self.wanted.get(place.name, ())):
            if recorded.id not in arrived or (place.name, recorded.position) in self.has_died:
                continue
            for earlier in self.wanted[place.name][:index]:
                if earlier.event.subject == recorded.event.subject:
                    key = (place.name, earlier.position)
                    assert earlier.id in arrived or key in self.has_died, "a gap without a death"
