"""What the views of `poller watch` are fed with, wherever it comes from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from anyio.abc import ObjectSendStream

from poller.cli.watch.trouble import Trouble
from poller.tracking.event import Event, read_event
from poller.tracking.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvent:
    """An event with its id; `body` is the CloudEvent as JSON on one line."""

    id: str
    event: Event
    body: str

    @classmethod
    def of(cls, body: str) -> Self:
        """Read an event; its body is kept byte for byte.

        :raises ValueError: where it is no event.
        """
        document = json.loads(body)
        event = read_event(document)
        try:
            return cls(id=document["id"], event=event, body=body)
        except KeyError as error:
            raise ValueError(f"not an event: {error!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A watch as it is known now, and the events that came with that."""

    watch: Watch
    events: Sequence[ShownEvent] = ()


News = Update | Trouble | None
"""None says that the last trouble is over."""


class Feed(Protocol):
    """Where news of operations and messages come from."""

    async def run(self, news: ObjectSendStream[News]) -> None:
        """Send news, in order for each watch, until every one has ended; close the stream.

        A fatal `Trouble` is the last of the news.
        """
