"""What people wrote to the account: messages that belong to no operation, and never change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from poller.simulator import instants
from poller.simulator.ids import IdMaker
from poller.simulator.kinds import SimulatedKind
from poller.simulator.messages import SENDER
from poller.simulator.operations import RETENTION

__all__ = ["ORDINAL", "Inbound", "Inbox", "InboxView"]

ORDINAL: Final = 0
"""What stands for the ordinal of an operation, which theirs begin above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One message as it came in, from the phone number `sender`."""

    text: str
    sender: str
    received: datetime


class Inbox:
    """The messages of one kind that came in, in the order in which they did."""

    def __init__(self, kind: SimulatedKind, *, seed: int) -> None:
        self.kind = kind
        self.ids = IdMaker(seed=seed, kind=kind.name)
        self.messages: list[Inbound] = []

    def take(self, message: Inbound) -> str:
        """Keep a message; returns its id."""
        self.messages.append(message)
        return self.id_of(len(self.messages) - 1)

    def id_of(self, index: int) -> str:
        """Return the id of the message at `index`."""
        return self.ids.make(self.kind.item_prefix, ORDINAL, index)

    def find(self, message_id: str) -> int | None:
        """Return the place of a message, None where there is none."""
        place = self.ids.read(self.kind.item_prefix, message_id)
        if place is None or place[0] != ORDINAL or place[1] >= len(self.messages):
            return None
        return place[1]


@dataclass(frozen=True, slots=True)
class InboxView:
    """The messages of an inbox at one instant, shown as those of an operation are."""

    inbox: Inbox
    now: datetime
    base_url: str

    @property
    def total(self) -> int:
        """How many there have been."""
        return len(self.inbox.messages)

    def received(self, index: int) -> datetime:
        """Return when the message at `index` came in."""
        return self.inbox.messages[index].received

    def exists(self, index: int) -> bool:
        """Tell whether its record is still kept."""
        return self.now - self.received(index) <= RETENTION

    def status(self, _index: int) -> str:
        """Return its status, the only one that it ever has."""
        return "INBOUND"

    def channel(self, _index: int) -> str:
        """Return the channel that it came in on."""
        return self.inbox.kind.sender_channel

    def session_of(self, index: int) -> str:
        """Return the id of its session."""
        return self.inbox.ids.make("comms_session_", ORDINAL, index)

    def metadata(self, index: int) -> dict[str, Any]:
        """Return a message as a list shows it, without content and attempts."""
        received = instants.render(self.received(index))
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
        """Return a message as a fetch shows it: nobody attempted to send it."""
        content = {"media": [], "text": self.inbox.messages[index].text}
        return {**self.metadata(index), "content": content, "attempts": []}

    def recipients(self, _index: int) -> int:
        """Return how many receipts it has: one, of the account's own number."""
        return 1

    def receipt(self, index: int, _number: int) -> dict[str, Any]:
        """Return that it came in."""
        return {
            "to": [self._account()],
            "status": self.status(index),
            "updatedAt": instants.render(self.received(index)),
            "error": None,
        }

    def _account(self) -> Mapping[str, str]:
        return {"address": SENDER, "channel": self.inbox.kind.sender_channel}
