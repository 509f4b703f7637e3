"""The protocol of every sink: what it is given, and what it returns.

A sink delivers events to one destination. It keeps no queue and decides no retry: the store is the
queue, the dispatcher decides when an attempt is made, and the sink reports its outcome.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class SinkUnavailable(Exception):
    """A sink cannot be started: `message` names its destination and the fault, `hint` the fix.

    Neither contains a secret. `needs_change` means that the fault stays until a setting, a path or
    a permission is changed.
    """

    def __init__(self, message: str, hint: str, *, needs_change: bool = False) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint
        self.needs_change = needs_change


class SinkHeld(SinkUnavailable):
    """The destination is usable, but another process has locked it, perhaps a running daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """One event as a sink receives it.

    `body` is the CloudEvent in structured JSON on a single line, without the newline; it is the
    same text at every attempt. `headers` are added to the request of a sink that makes one.
    """

    id: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the body in UTF-8; a lone surrogate becomes its JSON escape."""
        return self.body.encode(errors="backslashreplace")


class SinkVerdict(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """The destination could not be reached or does not work: tried again for three days."""
    REFUSED = "refused"
    """The receiver refused this event (400, 413, 415, 422): tried again for an hour."""
    GONE = "gone"
    """The receiver wants no more events (410): the sink is disabled in the store."""
    CLOSED = "closed"
    """The destination (a pipe) is closed: the sink is disabled for the life of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOutcome:
    """The end of one attempt: `error` is a sentence for people without any secret in it.

    `retry_after` is the wait that the receiver asked for, in seconds, without a bound.
    """

    verdict: SinkVerdict
    status: int | None = None
    error: str | None = None
    retry_after: float | None = None


@runtime_checkable
class Sink(Protocol):
    """A destination of events."""

    @property
    def name(self) -> str:
        """The sink's identity in settings and store."""

    @property
    def concurrency(self) -> int:
        """How many `deliver` calls may run at once.

        1 means that events are given in commit order, many in a batch, several of one operation
        included. More than 1 means batches of a single event, each of another operation.
        """

    @property
    def batch_size(self) -> int:
        """The most events that one `deliver` takes."""

    @property
    def deadline(self) -> float:
        """Seconds after which a `deliver` has certainly ended; a lease must outlast it."""

    @property
    def is_closed(self) -> bool:
        """Whether the destination is known to be closed (see `SinkVerdict.CLOSED`); at once.

        The dispatcher checks this every second, so that an idle sink is noticed as well.
        """

    async def start(self) -> None:
        """Open the destination, so that faults are found before anything is sent.

        Idempotent. A sink that could not start may still be used: each attempt tries again.

        :raises SinkUnavailable: if the destination cannot be opened.
        """

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:
        """Return those of these undelivered ids that the destination already has.

        Called at start, and again whenever outcomes could not be recorded.

        :raises SinkUnavailable: if the destination cannot be read.
        """

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Attempt each event of the batch; one outcome for each, in order.

        Raises nothing but cancellation; a cancelled attempt may have reached the destination.
        """

    async def reopen(self) -> None:
        """Close the destination and open it again (SIGHUP, a rotated file). Never raises."""

    async def aclose(self) -> None:
        """Release everything. Idempotent."""
