"""Messages, of an operation or received from people, as the API shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from poller.simulator.answers import info_url
from poller.simulator.formats import IdMaker, format_instant
from poller.simulator.kinds import Attempt, MessagePath, SimulatedKind, error_text
from poller.simulator.operations import RETENTION, SimulatedOperation
from poller.simulator.timeline import Deck, SimulatedMoment, deck_for

SENDER: Final = "+12065550100"
"""The account's own number."""

_UNSUCCESSFUL: Final = frozenset(("FAILED", "UNDELIVERED"))
_SENDERS: Final[Mapping[str, str]] = {"RCS": "sample_rcs_sender", "EMAIL": "sender@example.com"}


@dataclass(frozen=True, slots=True)
class MessageView:
    """The messages of one operation at one instant; URLs in them begin with `base_url`.

    A group message is sent and delivered; the `dealt` paths of its recipients appear only in its
    receipts.
    """

    operation: SimulatedOperation
    ids: IdMaker
    now: datetime
    moment: SimulatedMoment
    dealt: Deck
    base_url: str

    @classmethod
    def of(
        cls, operation: SimulatedOperation, *, seed: int, now: datetime, base_url: str
    ) -> "MessageView":
        """Make the view of an operation's messages."""
        kind, send, dealt = operation.kind, operation.send, operation.timeline.deck
        if send.groups is not None:
            dealt = deck_for(kind, send.fate, seed)
        ids = IdMaker(seed=seed, kind=kind.name)
        return cls(operation, ids, now, operation.moment(now), dealt, base_url)

    @property
    def total(self) -> int:
        """The number of messages of the operation, including unaddressable recipients."""
        return self.operation.timeline.total

    def id_of(self, index: int) -> str:
        """Return the id of the message at `index`."""
        return self.ids.make(self.operation.kind.item_prefix, self.operation.ordinal, index)

    def session_of(self, index: int) -> str:
        """Return the id of its session."""
        return self.ids.make("comms_session_", self.operation.ordinal, index)

    def exists(self, index: int) -> bool:
        """Return whether the message exists: there is none for an unaddressable recipient."""
        return self.moment.path_of(index).addressed

    def status(self, index: int) -> str:
        """Return the status of one message."""
        status, _ = self.moment.status_of(index)
        if status is None:
            return self._waiting()
        if self.operation.send.groups is not None and status != "CANCELED":
            return "GROUP"
        return status

    def channel(self, index: int) -> str:
        """Return the channel of its latest attempt, or that of the first attempt to come."""
        made = self._made(index)
        return str(self._sender(made[-1].channel if made else None)["channel"])

    def metadata(self, index: int) -> dict[str, Any]:
        """Return a message as a list shows it, without content and attempts."""
        send = self.operation.send
        made = self._made(index)
        session = self.session_of(index)
        scheduled_for = send.scheduled_for
        return {
            "id": self.id_of(index),
            "status": self.status(index),
            "from": self._sender(made[-1].channel if made else None),
            "to": self._to(index),
            "related": [
                {
                    "name": "SESSION",
                    "id": session,
                    "uri": f"{self.base_url}/Sessions/{session}",
                }
            ],
            "tags": send.tags,
            "scheduledFor": None if scheduled_for is None else format_instant(scheduled_for),
            "createdAt": format_instant(self.operation.created),
            "updatedAt": self._render(self._changed_at(index)),
            "deletedAt": None,
        }

    def document(self, index: int) -> dict[str, Any]:
        """Return a message as a fetch shows it."""
        return {
            **self.metadata(index),
            "content": {"media": [], **self.operation.send.content},
            "attempts": list(self._attempts(index)),
        }

    def recipients(self, index: int) -> int:
        """Return how many recipients, and so receipts, a message has."""
        return len(self.operation.send.places_of(index))

    def receipt(self, index: int, number: int) -> dict[str, Any]:
        """Return the receipt of the message's recipient with that number, from 0."""
        place = self.operation.send.places_of(index)[number]
        path = self._dealt_to(place)
        status, since = self.moment.status_along(path, index)
        # For a single recipient there would be no message; in a group the message was not received.
        shown = "FAILED" if status == "UNADDRESSABLE" else status or self._waiting()
        return {
            "to": [self.operation.send.recipients[place]],
            "status": shown,
            "updatedAt": self._render(since),
            "error": _error(path.error)
            if path.error is not None and shown in _UNSUCCESSFUL
            else None,
        }

    def error(self, index: int) -> dict[str, Any] | None:
        """Return the error with which a message has ended, None if there is none yet.

        Its context is the message's id, or the recipient's index if there is no message.
        """
        path = self.moment.path_of(index)
        if path.error is None:
            return None
        status, _ = self.moment.status_of(index)
        if status != path.hops[-1].status:
            return None
        context = self.id_of(index) if path.addressed else f"{self.operation.kind.target}[{index}]"
        return {**_error(path.error), "context": context}

    def _waiting(self) -> str:
        return "SCHEDULED" if self.now < self.operation.starts else "QUEUED"

    def _to(self, index: int) -> object:
        recipients = self._recipients(index)
        return recipients[0] if self.operation.kind.lists_one_recipient else recipients

    def _recipients(self, index: int) -> list[Mapping[str, Any]]:
        send = self.operation.send
        return [send.recipients[place] for place in send.places_of(index)]

    def _dealt_to(self, place: int) -> MessagePath:
        return self.dealt.path_of(place, shift=self.operation.timeline.shift)

    def _changed_at(self, index: int) -> float | None:
        """Return when the message, or for a group any of its receipts, last changed."""
        _, since = self.moment.status_of(index)
        if self.operation.send.groups is None or since is None:
            return since
        paths = map(self._dealt_to, self.operation.send.places_of(index))
        changes = (self.moment.status_along(path, index)[1] for path in paths)
        return max((each for each in changes if each is not None), default=since)

    def _render(self, time: float | None) -> str:
        return format_instant(self.operation.instant_of(time, now=self.now))

    def _made(self, index: int) -> list[Attempt]:
        """Return the attempts that have been made."""
        attempts = self.moment.path_of(index).attempts
        return [each for each in attempts if self.moment.has_left(index, lag=each.lag)]

    def _attempts(self, index: int) -> Iterator[dict[str, Any]]:
        made = self._made(index)
        status, _ = self.moment.status_of(index)
        left = self.operation.timeline.leaves_at(index)
        for number, attempt in enumerate(made, start=1):
            shown = status if number == len(made) else "FAILED"
            yield self._attempt(index, attempt, shown, left + attempt.lag)

    def _attempt(
        self, index: int, attempt: Attempt, status: str | None, at: float
    ) -> dict[str, Any]:
        return {
            "from": self._sender(attempt.channel),
            "to": self._recipients(index),
            "status": status,
            "attemptedAt": self._render(at),
            "infoUrl": f"https://console.twilio.com/us1/monitor/logs/{self.id_of(index)}",
            "error": _error(attempt.error)
            if attempt.error is not None and status in _UNSUCCESSFUL
            else None,
        }

    def _sender(self, channel: str | None) -> dict[str, Any]:
        """Return the sender that the send names, or the one of another channel."""
        usual = self.operation.kind.sender_channel
        given: Mapping[str, Any] = self.operation.send.sender if channel is None else {}
        channel = channel or given.get("channel") or usual
        return {
            "address": _SENDERS.get(channel, SENDER),
            "senderId": _sender_id(self.ids),
            **given,
            "channel": channel,
        }


@lru_cache
def _sender_id(ids: IdMaker) -> str:
    return ids.make("comms_sender_", 0, 0)


def _error(code: int) -> dict[str, Any]:
    return {"code": code, "message": error_text(code), "infoUrl": info_url(code)}


ORDINAL: Final = 0
"""The ordinal in the ids of received messages; ordinals of operations begin above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One received message, from the phone number `sender`."""

    text: str
    sender: str
    received: datetime


class Inbox:
    """The received messages of one kind, in the order of their arrival."""

    def __init__(self, kind: SimulatedKind, *, seed: int) -> None:
        self.kind = kind
        self.ids = IdMaker(seed=seed, kind=kind.name)
        self.messages: list[Inbound] = []

    def take(self, message: Inbound) -> str:
        """Store a message; returns its id."""
        self.messages.append(message)
        return self.id_of(len(self.messages) - 1)

    def id_of(self, index: int) -> str:
        """Return the id of the message at `index`."""
        return self.ids.make(self.kind.item_prefix, ORDINAL, index)

    def find(self, message_id: str) -> int | None:
        """Return the index of a message, None if there is no such message."""
        place = self.ids.read(self.kind.item_prefix, message_id)
        if place is None or place[0] != ORDINAL or place[1] >= len(self.messages):
            return None
        return place[1]


@dataclass(frozen=True, slots=True)
class InboxView:
    """The messages of an inbox at one instant, with the interface of `MessageView`."""

    inbox: Inbox
    now: datetime
    base_url: str

    @property
    def total(self) -> int:
        """The number of received messages."""
        return len(self.inbox.messages)

    def received(self, index: int) -> datetime:
        """Return when the message at `index` was received."""
        return self.inbox.messages[index].received

    def exists(self, index: int) -> bool:
        """Return whether its record is still stored."""
        return self.now - self.received(index) <= RETENTION

    def status(self, _index: int) -> str:
        """Return its status, which never changes."""
        return "INBOUND"

    def channel(self, _index: int) -> str:
        """Return the channel on which it was received."""
        return self.inbox.kind.sender_channel

    def session_of(self, index: int) -> str:
        """Return the id of its session."""
        return self.inbox.ids.make("comms_session_", ORDINAL, index)

    def metadata(self, index: int) -> dict[str, Any]:
        """Return a message as a list shows it, without content and attempts."""
        received = format_instant(self.received(index))
        session = self.session_of(index)
        return {
            "id": self.inbox.id_of(index),
            "status": self.status(index),
            "from": {
                "address": self.inbox.messages[index].sender,
                "channel": self.inbox.kind.channel,
            },
            "to": [self._account()],
            "related": [
                {"name": "SESSION", "id": session, "uri": f"{self.base_url}/Sessions/{session}"}
            ],
            "tags": {},
            "scheduledFor": None,
            "createdAt": received,
            "updatedAt": received,
            "deletedAt": None,
        }

    def document(self, index: int) -> dict[str, Any]:
        """Return a message as a fetch shows it: it has no attempts."""
        content = {"media": [], "text": self.inbox.messages[index].text}
        return {**self.metadata(index), "content": content, "attempts": []}

    def recipients(self, _index: int) -> int:
        """Return how many receipts it has: one, of the account's own number."""
        return 1

    def receipt(self, index: int, _number: int) -> dict[str, Any]:
        """Return the receipt of the account's own number."""
        return {
            "to": [self._account()],
            "status": self.status(index),
            "updatedAt": format_instant(self.received(index)),
            "error": None,
        }

    def _account(self) -> Mapping[str, str]:
        return {"address": SENDER, "channel": self.inbox.kind.sender_channel}
