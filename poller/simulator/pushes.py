"""The events that Event Streams would push about the sends of a world. No HTTP.

Events name operations and messages, without counters. They arrive out of order, some of them twice,
and some never.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, Final
from urllib.parse import urlsplit

from poller.simulator.formats import IdMaker, format_instant
from poller.simulator.operations import ENDED, SimulatedOperation
from poller.simulator.world import World

Json = dict[str, Any]

KIND: Final = "messages"
"""The only kind about which the vendor pushes events."""

_PREFIX: Final = "com.twilio.comms-api."
_OPERATIONS: Final = {status: status.lower() for status in ("SCHEDULED", "PROCESSING", "COMPLETED")}
_MESSAGES: Final = frozenset(("SENT", "DELIVERED", "UNDELIVERED", "FAILED", "READ"))
# seconds of the timeline in which receipts may follow the end of an operation
_RECEIPTS: Final = 120.0


@dataclass(slots=True)
class _Seen:
    """What was pushed about an operation: its last status, and its messages up to a time."""

    status: str | None = None
    until: float = float("-inf")


class Announcer:
    """Finds the events of a world since the last call."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[str, _Seen] = {}
        self._received = 0
        self._number = 0

    def news(self) -> list[Json]:
        """Return all events since the last call, in order."""
        now = self._world.now()
        operations = {one.id: one for one in self._world.newest_first(KIND)}
        for gone in self._seen.keys() - operations.keys():
            del self._seen[gone]
        found: list[Json] = []
        for operation in reversed(operations.values()):
            found += self._of_operation(operation, now)
        inbox = self._world.inbox(KIND)
        while inbox is not None and self._received < len(inbox.messages):
            message_id = inbox.id_of(self._received)
            found.append(self._event("message.inbound", {"message_id": message_id}, now))
            self._received += 1
        return found

    def _of_operation(self, operation: SimulatedOperation, now: datetime) -> Iterator[Json]:
        seen = self._seen.setdefault(operation.id, _Seen())
        time = operation.time_at(now)
        if seen.status in ENDED and seen.until > operation.timeline.span + _RECEIPTS:
            return
        status = operation.status(now)
        if status != seen.status:
            seen.status = status
            if name := _OPERATIONS.get(status):
                data = {"operation_id": operation.id}
                yield self._event(f"operation.{name}", data, now)
        yield from self._of_messages(operation, seen.until, time, now)
        seen.until = time

    def _of_messages(
        self, operation: SimulatedOperation, since: float, until: float, now: datetime
    ) -> Iterator[Json]:
        """Yield the events of messages between two times, by move."""
        if operation.send.groups is not None:
            return
        timeline, ids = operation.timeline, IdMaker(seed=self._world.config.seed, kind=KIND)
        moment = operation.moment(now)
        for move in timeline.deck.moves:
            first = timeline.left(since - move.lag)
            for index in range(first, timeline.left(until - move.lag)):
                path = moment.path_of(index)
                makes = any((hop.lag, hop.status) == (move.lag, move.after) for hop in path.hops)
                if makes and move.after in _MESSAGES and moment.has_left(index, lag=move.lag):
                    data = {
                        "operation_id": operation.id,
                        "message_id": ids.make(
                            operation.kind.item_prefix, operation.ordinal, index
                        ),
                        "error_code": None if path.error is None else str(path.error),
                    }
                    yield self._event(f"message.{move.after.lower()}", data, now)

    def _event(self, name: str, data: Json, now: datetime) -> Json:
        self._number += 1
        config = self._world.config
        return {
            "specversion": "1.0",
            "id": f"EZ{config.seed:08x}{self._number:024x}",
            "source": f"/{config.account_sid}",
            "type": _PREFIX + name,
            "time": format_instant(now),
            "datacontenttype": "application/json",
            "data": data,
        }


@dataclass(slots=True)
class Disorder:
    """Delays events, repeats some and loses some; queues up to `most`. Times are in seconds."""

    chance: random.Random
    lost: float = 0.05
    doubled: float = 0.1
    delay: float = 1.0
    most: int = 100_000
    _waiting: list[tuple[float, int, Json]] = field(default_factory=list)
    _number: int = 0

    def add(self, events: list[Json], at: float) -> None:
        """Queue events that happened at this time."""
        for event in events:
            if self.chance.random() >= self.lost:
                self._later(event, at)
                if self.chance.random() < self.doubled:
                    self._later(event, at + self.delay)

    def repeat(self, events: list[Json], at: float) -> None:
        """Queue events again that could not be delivered."""
        for event in events:
            self._later(event, at)

    def take(self, at: float, *, limit: int) -> list[Json]:
        """Return up to `limit` events that arrive by this time."""
        found: list[Json] = []
        while self._waiting and self._waiting[0][0] <= at and len(found) < limit:
            found.append(heappop(self._waiting)[2])
        return found

    def _later(self, event: Json, at: float) -> None:
        if len(self._waiting) < self.most:
            self._number += 1
            moment = at + self.chance.uniform(0, self.delay)
            heappush(self._waiting, (moment, self._number, event))


def check_push_url(url: str) -> str:
    """Return the URL if events can be pushed to it; it may contain a user and a password.

    :raises ValueError: otherwise.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("hints must be an http(s) URL, such as http://127.0.0.1:8472/v1/hints")
    return url
