"""The world behind the API: every operation of one account, from the seed and the order of sends.

No HTTP. The clock comes in; everything that happens between two looks is computed at the second.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from poller.simulator import instants
from poller.simulator.config import SimulatorConfig
from poller.simulator.deck import CARDS, deck_for
from poller.simulator.fates import Fate, fate_named
from poller.simulator.ids import IdMaker
from poller.simulator.kinds import KINDS
from poller.simulator.operations import ENDED, Operation
from poller.simulator.sends import SampleRecipients, Send
from poller.simulator.timeline import Timeline

__all__ = ["AlreadyEnded", "Clock", "World", "utc_now"]

Clock = Callable[[], datetime]

OPERATION_PREFIX: Final = "comms_operation_"

# At speed 1 a thousand recipients leave the queue in about a minute.
_LATENCY: Final = 1.0
_SECONDS: Final = 4.0
_SECONDS_A_MESSAGE: Final = 0.065


class AlreadyEnded(Exception):
    """The operation cannot be canceled any more."""


def utc_now() -> datetime:
    """Return the wall clock's instant."""
    return datetime.now(UTC)


class World:
    """The operations of one account.

    The same seed and the same sends in the same order give the same ids and fates.
    """

    def __init__(self, config: SimulatorConfig, *, clock: Clock = utc_now) -> None:
        self.config = config
        self.now = clock
        # By ordinal, in the order of creation, for each kind.
        self._operations: dict[str, dict[int, Operation]] = {name: {} for name in KINDS}
        self._sent = dict.fromkeys(KINDS, 0)

    def send(
        self,
        *,
        recipients: int | Sequence[Mapping[str, Any]],
        fate: Fate | str = "ordinary",
        kind: str = "messages",
        scheduled_for: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        text: str = "Hello from the simulator",
    ) -> Operation:
        """Create a sample operation with a chosen fate; a number of recipients makes them up.

        :raises ValueError: for an unknown fate or kind, or a wrong number of recipients.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; one of: {', '.join(KINDS)}")
        row = KINDS[kind]
        made = SampleRecipients(row, recipients) if isinstance(recipients, int) else recipients
        return self.accept(
            Send(
                kind=row,
                recipients=made,
                fate=fate_named(fate) if isinstance(fate, str) else fate,
                content={"text": text},
                tags=tags or {},
                scheduled_for=scheduled_for,
            )
        )

    def accept(self, send: Send) -> Operation:
        """Begin a send now."""
        now = instants.to_millisecond(self.now())
        name = send.kind.name
        ordinal = self._sent[name] = self._sent[name] + 1
        self._forget(name, now)
        operation = Operation(
            id=self._ids(name).make(OPERATION_PREFIX, ordinal),
            ordinal=ordinal,
            send=send,
            created=now,
            starts=max(now, send.scheduled_for or now),
            speed=self.config.speed,
            timeline=self._timeline(send, ordinal),
        )
        self._operations[name][ordinal] = operation
        return operation

    def find(self, kind: str, operation_id: str) -> Operation | None:
        """Return an operation of that kind, None where there is none or its records are gone."""
        place = self._ids(kind).read(OPERATION_PREFIX, operation_id)
        return None if place is None else self._kept(kind, place[0])

    def find_message(self, kind: str, message_id: str) -> tuple[Operation, int] | None:
        """Return the operation of a message and the message's place in it, or None."""
        place = self._ids(kind).read(KINDS[kind].item_prefix, message_id)
        operation = None if place is None else self._kept(kind, place[0])
        return None if place is None or operation is None else (operation, place[1])

    def newest_first(self, kind: str, *, start: int | None = None) -> Iterator[Operation]:
        """Yield the operations of a kind, from the newest, or from the one with ordinal `start`."""
        now = self.now()
        operations = self._operations[kind]
        oldest = next(iter(operations), 1)
        newest = self._sent[kind] if start is None else min(start, self._sent[kind])
        for ordinal in range(newest, oldest - 1, -1):
            operation = operations[ordinal]
            if not operation.expired(now):
                yield operation

    def cancel(self, operation_id: str) -> Operation:
        """Cancel what an operation, of any kind, has not sent yet.

        :raises KeyError: if there is no such operation.
        :raises AlreadyEnded: if it is completed or canceled.
        """
        operation = next(
            (found for kind in KINDS if (found := self.find(kind, operation_id))), None
        )
        if operation is None:
            raise KeyError(operation_id)
        now = self.now()
        if operation.status(now) in ENDED:
            raise AlreadyEnded(operation_id)
        timeline = replace(operation.timeline, canceled_at=operation.time_at(now))
        canceled = replace(operation, timeline=timeline)
        self._operations[operation.kind.name][operation.ordinal] = canceled
        return canceled

    def _ids(self, kind: str) -> IdMaker:
        return IdMaker(seed=self.config.seed, kind=kind)

    def _kept(self, kind: str, ordinal: int) -> Operation | None:
        operation = self._operations[kind].get(ordinal)
        return None if operation is None or operation.expired(self.now()) else operation

    def _forget(self, kind: str, now: datetime) -> None:
        """Drop the oldest records as long as they are expired."""
        operations = self._operations[kind]
        while operations and operations[next(iter(operations))].expired(now):
            del operations[next(iter(operations))]

    def _timeline(self, send: Send, ordinal: int) -> Timeline:
        seed, kind = self.config.seed, send.kind.name
        chance = random.Random(f"{seed}:{kind}:{ordinal}")  # noqa: S311 - has to repeat, not to be secret
        pace = chance.uniform(0.85, 1.2)
        total = len(send.recipients)
        span = send.fate.seconds or (_SECONDS + _SECONDS_A_MESSAGE * total) * pace
        part = send.fate.canceled_at
        return Timeline(
            total=total,
            deck=deck_for(kind, send.fate, seed),
            shift=chance.randrange(CARDS),
            latency=_LATENCY,
            span=span,
            canceled_at=None if part is None else _LATENCY + part * span,
        )
