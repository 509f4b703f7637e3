"""What the engine tells whoever measures it: what happened, in its own words, and how long it took.

A meter counts and nothing else: it neither waits nor raises, and decides nothing. All but
`transacted` is told in the loop, `transacted` in the worker threads of the store.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

from poller.comms.errors import CommsError
from poller.sinks.base import SinkOutcome
from poller.store.watches import Observation
from poller.tracking.delivery import Delivery

__all__ = ["NO_METER", "Meter", "Request"]


class Request(StrEnum):
    """What was asked of the API."""

    FETCH = "fetch"
    """One operation or message."""
    LIST = "list"
    """A page of the list of a kind."""
    DETAIL = "detail"
    """A page of what is in an operation or a group: messages, receipts, errors."""


class Meter(Protocol):
    """Is told what happens. Durations are seconds, `kind` is a row of the table of kinds."""

    def requested(
        self, request: Request, *, kind: str, error: CommsError | None, seconds: float
    ) -> None:
        """Hear of a request that ended, well where `error` is None."""

    def waited(self, seconds: float) -> None:
        """Hear how long a request waited for a slot, the rate and the account's pause."""

    def looked(self, *, kind: str, late: float) -> None:
        """Hear that an operation or message is being asked about, and how long after it was due."""

    def paged(self, *, kind: str, unchanged: int, nonsense: int) -> None:
        """Hear of one page of a sweep: of its tracked operations so many showed nothing new.

        So many of its members were no operations. What else it brought is `observed`.
        """

    def observed(self, observations: Sequence[Observation], *, kind: str) -> None:
        """Hear what became of answers about operations, and the events recorded with them."""

    def attempted(self, outcomes: Sequence[SinkOutcome], *, sink: str, seconds: float) -> None:
        """Hear of one call of a sink with an outcome for each of its events."""

    def settled(self, delivery: Delivery, *, sink: str) -> None:
        """Hear how an attempt left its delivery, once that is written."""

    def transacted(self, name: str, seconds: float, refused: bool) -> None:  # noqa: FBT001 - as the store tells it
        """Hear of a transaction of the store, and whether the database refused it."""


class _NoMeter:
    """Hears, and forgets."""

    def requested(
        self, request: Request, *, kind: str, error: CommsError | None, seconds: float
    ) -> None:
        pass

    def waited(self, seconds: float) -> None:
        pass

    def looked(self, *, kind: str, late: float) -> None:
        pass

    def paged(self, *, kind: str, unchanged: int, nonsense: int) -> None:
        pass

    def observed(self, observations: Sequence[Observation], *, kind: str) -> None:
        pass

    def attempted(self, outcomes: Sequence[SinkOutcome], *, sink: str, seconds: float) -> None:
        pass

    def settled(self, delivery: Delivery, *, sink: str) -> None:
        pass

    def transacted(self, name: str, seconds: float, refused: bool) -> None:  # noqa: FBT001 - as the store tells it
        pass


NO_METER: Final[Meter] = _NoMeter()
"""For those whom nobody measures."""
