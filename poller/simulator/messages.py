"""One message of an operation, and an operation's errors, as the API shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from poller.simulator import instants
from poller.simulator.envelope import info_url
from poller.simulator.ids import IdMaker
from poller.simulator.operations import Operation
from poller.simulator.paths import ERROR_TEXTS, Attempt
from poller.simulator.timeline import Moment

__all__ = ["MessageView"]

_UNSUCCESSFUL: Final = frozenset(("FAILED", "UNDELIVERED"))
_SENDERS: Final[Mapping[str, str]] = {"RCS": "sample_rcs_sender", "EMAIL": "sender@example.com"}
_SENDER: Final = "+12065550100"


@dataclass(frozen=True, slots=True)
class MessageView:
    """The messages of one operation at one instant, named from one base URL."""

    operation: Operation
    ids: IdMaker
    now: datetime
    moment: Moment
    base_url: str

    @classmethod
    def of(cls, operation: Operation, *, seed: int, now: datetime, base_url: str) -> "MessageView":
        """Look at an operation's messages."""
        ids = IdMaker(seed=seed, kind=operation.kind.name)
        return cls(operation, ids, now, operation.moment(now), base_url)

    @property
    def total(self) -> int:
        """How many recipients the operation has."""
        return self.operation.timeline.total

    @property
    def channel(self) -> str:
        """The channel that the sender uses."""
        return str(self._sender(None)["channel"])

    def id_of(self, index: int) -> str:
        """Return the id of the message at `index`."""
        return self.ids.make(self.operation.kind.item_prefix, self.operation.ordinal, index)

    def session_of(self, index: int) -> str:
        """Return the id of its session."""
        return self.ids.make("comms_session_", self.operation.ordinal, index)

    def exists(self, index: int) -> bool:
        """Tell whether a message came to be: none does for a recipient that is unaddressable."""
        return self.moment.path_of(index).addressed

    def status(self, index: int) -> str:
        """Return the status of one message."""
        status, _ = self.moment.status_of(index)
        return status or ("SCHEDULED" if self.now < self.operation.starts else "QUEUED")

    def metadata(self, index: int) -> dict[str, Any]:
        """Return a message as a list shows it, without content and attempts."""
        send = self.operation.send
        _, since = self.moment.status_of(index)
        session = self.session_of(index)
        scheduled_for = send.scheduled_for
        return {
            "id": self.id_of(index),
            "status": self.status(index),
            "from": self._sender(None),
            "to": [send.recipients[index]],
            "related": [
                {
                    "name": "SESSION",
                    "id": session,
                    "uri": f"{self.base_url}/Sessions/{session}",
                }
            ],
            "tags": send.tags,
            "scheduledFor": None if scheduled_for is None else instants.render(scheduled_for),
            "createdAt": instants.render(self.operation.created),
            "updatedAt": instants.render(self.operation.instant_of(since, now=self.now)),
            "deletedAt": None,
        }

    def document(self, index: int) -> dict[str, Any]:
        """Return a message as a fetch shows it."""
        return {
            **self.metadata(index),
            "content": {"media": [], **self.operation.send.content},
            "attempts": list(self._attempts(index)),
        }

    def receipt(self, index: int) -> dict[str, Any]:
        """Return how the message fared with its recipient."""
        shown = self.metadata(index)
        return {name: shown[name] for name in ("to", "status", "updatedAt")}

    def error(self, index: int) -> dict[str, Any] | None:
        """Return the error in which a recipient has ended by now, None where there is none.

        Its context is the message's id, or the place among the recipients where none came to be.
        """
        status, _ = self.moment.status_of(index)
        path = self.moment.path_of(index)
        if path.error is None or status != path.hops[-1].status:
            return None
        context = self.id_of(index) if path.addressed else f"{self.operation.kind.target}[{index}]"
        return {**_error(path.error), "context": context}

    def _attempts(self, index: int) -> Iterator[dict[str, Any]]:
        path = self.moment.path_of(index)
        status, _ = self.moment.status_of(index)
        if status in (None, "CANCELED"):
            return
        left = self.operation.instant_of(self.operation.timeline.leaves_at(index), now=self.now)
        for number, attempt in enumerate(path.attempts, start=1):
            last = number == len(path.attempts)
            yield self._attempt(index, attempt, status if last else "FAILED", left)

    def _attempt(
        self, index: int, attempt: Attempt, status: str | None, at: datetime
    ) -> dict[str, Any]:
        return {
            "from": self._sender(attempt.channel),
            "to": [self.operation.send.recipients[index]],
            "status": status,
            "attemptedAt": instants.render(at),
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
            "address": _SENDERS.get(channel, _SENDER),
            "senderId": self.ids.make("comms_sender_", 0, 0),
            **given,
            "channel": channel,
        }


def _error(code: int) -> dict[str, Any]:
    return {"code": code, "message": ERROR_TEXTS[code], "infoUrl": info_url(code)}
