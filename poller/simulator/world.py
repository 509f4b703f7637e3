"""The operations of one account, computed from the seed and the order of sends. No HTTP.

The clock is an argument. Nothing runs in the background: every state is computed on request.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from poller.simulator.config import SimulatorConfig
from poller.simulator.formats import IdMaker, to_millisecond
from poller.simulator.kinds import SimulatedKind, kinds_shaped
from poller.simulator.messages import Inbound, Inbox, MessageView
from poller.simulator.operations import ENDED, SampleRecipients, SimulatedOperation, SimulatedSend
from poller.simulator.scenarios import SCENARIOS, Scenario, scenario_named
from poller.simulator.timeline import CARDS, Timeline, deck_for


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCounts:
    """The messages and errors of an operation at one instant.

    `statuses` counts the messages; `channels` the same, for each channel of the sender; `receipts`
    their recipients. `codes` counts the operation's errors; `contexts` names their messages (ids),
    or the recipients without a message (`to[3]`).
    """

    operation_id: str
    kind: str
    statuses: Mapping[str, int]
    channels: Mapping[str, Mapping[str, int]]
    receipts: Mapping[str, int]
    codes: Mapping[int, int]
    contexts: Mapping[int, Sequence[str]]

    def document(self) -> dict[str, Any]:
        """Return the JSON document, with members in camelCase."""
        return {
            "operationId": self.operation_id,
            "kind": self.kind,
            "statuses": self.statuses,
            "channels": self.channels,
            "receipts": self.receipts,
            "codes": {str(code): count for code, count in self.codes.items()},
            "contexts": {str(code): contexts for code, contexts in self.contexts.items()},
        }


def expected_counts(view: MessageView) -> ExpectedCounts:
    """Count an operation's messages, one by one."""
    statuses: Counter[str] = Counter()
    channels: defaultdict[str, Counter[str]] = defaultdict(Counter)
    receipts: Counter[str] = Counter()
    contexts: defaultdict[int, list[str]] = defaultdict(list)
    for index in range(view.total):
        if view.exists(index):
            status = view.status(index)
            statuses[status] += 1
            channels[view.channel(index)][status] += 1
            receipts.update(
                view.receipt(index, number)["status"] for number in range(view.recipients(index))
            )
        if error := view.error(index):
            contexts[error["code"]].append(error["context"])
    return ExpectedCounts(
        operation_id=view.operation.id,
        kind=view.operation.kind.name,
        statuses=dict(statuses),
        channels={channel: dict(counts) for channel, counts in channels.items()},
        receipts=dict(receipts),
        codes={code: len(each) for code, each in sorted(contexts.items())},
        contexts=dict(sorted(contexts.items())),
    )


Clock = Callable[[], datetime]

OPERATION_PREFIX: Final = "comms_operation_"
_WRITER: Final = "+14155550100"

# At speed 1 the messages of a thousand recipients leave the queue in about a minute.
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

    The same seed and the same sends in the same order give the same ids and outcomes.
    """

    def __init__(self, config: SimulatorConfig, *, clock: Clock = utc_now) -> None:
        self.config = config
        self.now = clock
        # By kind and ordinal, in the order of creation.
        self.kinds = kinds_shaped(config.shapes)
        self._operations: dict[str, dict[int, SimulatedOperation]] = {
            name: {} for name in self.kinds
        }
        self._sent = dict.fromkeys(self.kinds, 0)
        self._inboxes = {
            name: Inbox(kind, seed=config.seed)
            for name, kind in self.kinds.items()
            if kind.conversations
        }

    def send(
        self,
        *,
        recipients: int | Sequence[Mapping[str, Any]],
        fate: Scenario | str = "ordinary",
        kind: str = "messages",
        scheduled_for: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        text: str = "Hello from the simulator",
        group: int | None = None,
    ) -> SimulatedOperation:
        """Create a sample operation with a chosen scenario (`fate`).

        A number of recipients creates sample recipients. With `group`, that many recipients share
        one group message; the last one has the rest.

        :raises ValueError: for an unknown scenario or kind, a wrong number of recipients, or a
            group or a schedule that the kind does not support.
        """
        row = self._kind_named(kind)
        fate = scenario_named(fate) if isinstance(fate, str) else fate
        made = SampleRecipients(row, recipients) if isinstance(recipients, int) else recipients
        if len(made) < len(fate.each):
            raise ValueError(f"{len(fate.each)} codes in turn need at least as many recipients")
        if group is not None and not (row.conversations and group >= 1):
            raise ValueError(f"group is {group!r}; give 1 or more, and only to a kind with groups")
        if scheduled_for is not None and "SCHEDULED" not in row.statuses:
            raise ValueError(f"{kind} cannot be scheduled")
        return self.accept(
            SimulatedSend(
                kind=row,
                recipients=made,
                fate=fate,
                content={"text": text},
                tags=tags or {},
                scheduled_for=scheduled_for,
                groups=None if group is None else [*range(0, len(made), group), len(made)],
            )
        )

    def accept(self, send: SimulatedSend) -> SimulatedOperation:
        """Start the operation of a send now."""
        now = to_millisecond(self.now())
        name = send.kind.name
        ordinal = self._sent[name] = self._sent[name] + 1
        self._forget(name, now)
        operation = SimulatedOperation(
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

    def receive(
        self, *, text: str = "Hello, simulator", sender: str = _WRITER, kind: str = "messages"
    ) -> str:
        """Receive a message from a person; return its id.

        :raises ValueError: for a kind without received messages.
        """
        inbox = self.inbox(self._kind_named(kind).name)
        if inbox is None:
            raise ValueError(f"{kind} has no received messages")
        received = to_millisecond(self.now())
        return inbox.take(Inbound(text=text, sender=sender, received=received))

    def inbox(self, kind: str) -> Inbox | None:
        """Return the received messages of a kind, None for a kind without them."""
        return self._inboxes.get(kind)

    def find(self, kind: str, operation_id: str) -> SimulatedOperation | None:
        """Return an operation of that kind, None where it is unknown or its records are deleted."""
        place = self._ids(kind).read(OPERATION_PREFIX, operation_id)
        return None if place is None else self._kept(kind, place[0])

    def find_message(self, kind: str, message_id: str) -> tuple[SimulatedOperation, int] | None:
        """Return the operation of a message and the message's index in it, or None."""
        place = self._ids(kind).read(self.kinds[kind].item_prefix, message_id)
        operation = None if place is None else self._kept(kind, place[0])
        return None if place is None or operation is None else (operation, place[1])

    def newest_first(self, kind: str, *, start: int | None = None) -> Iterator[SimulatedOperation]:
        """Yield the operations of a kind, from the newest, or from the one with ordinal `start`."""
        now = self.now()
        operations = self._operations[kind]
        oldest = next(iter(operations), 1)
        newest = self._sent[kind] if start is None else min(start, self._sent[kind])
        for ordinal in range(newest, oldest - 1, -1):
            operation = operations[ordinal]
            if not operation.expired(now):
                yield operation

    def cancel(self, operation_id: str) -> SimulatedOperation:
        """Cancel the messages that an operation, of any kind, has not sent yet.

        :raises KeyError: if there is no such operation.
        :raises AlreadyEnded: if it is completed or canceled.
        """
        operation = self._of_any_kind(operation_id)
        now = self.now()
        if operation.status(now) in ENDED:
            raise AlreadyEnded(operation_id)
        timeline = replace(operation.timeline, canceled_at=operation.time_at(now))
        canceled = replace(operation, timeline=timeline)
        self._operations[operation.kind.name][operation.ordinal] = canceled
        return canceled

    def expected(self, operation_id: str) -> ExpectedCounts:
        """Count the messages, receipts and errors of an operation, of any kind, by now.

        :raises KeyError: if there is no such operation.
        """
        operation, now = self._of_any_kind(operation_id), self.now()
        return expected_counts(
            MessageView.of(operation, seed=self.config.seed, now=now, base_url="")
        )

    def _kind_named(self, name: str) -> SimulatedKind:
        if name not in self.kinds:
            raise ValueError(f"unknown kind {name!r}; one of: {', '.join(self.kinds)}")
        return self.kinds[name]

    def _of_any_kind(self, operation_id: str) -> SimulatedOperation:
        for kind in self.kinds:
            if operation := self.find(kind, operation_id):
                return operation
        raise KeyError(operation_id)

    def _ids(self, kind: str) -> IdMaker:
        return IdMaker(seed=self.config.seed, kind=kind)

    def _kept(self, kind: str, ordinal: int) -> SimulatedOperation | None:
        operation = self._operations[kind].get(ordinal)
        return None if operation is None or operation.expired(self.now()) else operation

    def _forget(self, kind: str, now: datetime) -> None:
        """Delete expired records, from the oldest on."""
        operations = self._operations[kind]
        while operations and operations[next(iter(operations))].expired(now):
            del operations[next(iter(operations))]

    def _timeline(self, send: SimulatedSend, ordinal: int) -> Timeline:
        seed, kind = self.config.seed, send.kind.name
        chance = random.Random(f"{seed}:{kind}:{ordinal}")  # noqa: S311 - has to repeat, not to be secret
        pace = chance.uniform(0.85, 1.2)
        total = send.messages
        span = send.fate.seconds or (_SECONDS + _SECONDS_A_MESSAGE * total) * pace
        # A group message is delivered; the scenario applies to the receipts of its recipients.
        fate = send.fate if send.groups is None else SCENARIOS["smooth"]
        part = send.fate.canceled_at
        return Timeline(
            total=total,
            deck=deck_for(send.kind, fate, seed),
            # in turn from the first recipient on
            shift=0 if fate.each else chance.randrange(CARDS),
            latency=_LATENCY,
            span=span,
            canceled_at=None if part is None else _LATENCY + part * span,
        )
