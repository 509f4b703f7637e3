"""What the engine reports to metrics: what happened, and how long it took.

A meter only counts: it neither waits nor raises, and decides nothing. All methods but `transacted`
are called in the event loop, `transacted` in the worker threads of the store.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from poller.comms.caller import Request
from poller.comms.errors import CommsError
from poller.log import get_logger
from poller.sinks.base import SinkOutcome
from poller.store.events import StoredEvent
from poller.store.watches import Observation
from poller.tracking.delivery import Delivery
from poller.tracking.hint import HintEffect

log = get_logger()


class Instrument(Protocol):
    """A set of metrics. It may raise, since a `Meter` calls it.

    Durations are seconds, `kind` is a row of the table of kinds.
    """

    def requested(
        self, request: Request, *, kind: str, error: CommsError | None, seconds: float
    ) -> None:
        """Count a finished request; it succeeded where `error` is None."""

    def waited(self, seconds: float) -> None:
        """Observe how long a request waited for a slot, the rate and the account's pause."""

    def polled(self, *, kind: str, late: float) -> None:
        """Count a poll of an operation or message that begins, `late` after it was due."""

    def paged(self, *, kind: str, unchanged: int, nonsense: int) -> None:
        """Count one page of a sweep: `unchanged` of its tracked operations showed nothing new.

        `nonsense` of its items were not operations. All other answers are `observed`.
        """

    def observed(self, observations: Sequence[Observation], *, kind: str) -> None:
        """Count the effects of answers about operations, and the events recorded with them."""

    def recorded(self, events: Sequence[StoredEvent]) -> None:
        """Count events that a registration, a seal or the passing of time caused."""

    def pushed(self, outcome: str) -> None:
        """Count a push of hints; `outcome` is accepted, or the problem type of the answer."""

    def hinted(self, effects: Mapping[HintEffect, int]) -> None:
        """Count what hints did."""

    def attempted(self, outcomes: Sequence[SinkOutcome], *, sink: str, seconds: float) -> None:
        """Count one call of a sink, with an outcome for each of its events."""

    def settled(self, delivery: Delivery, *, sink: str) -> None:
        """Count the state of a delivery after an attempt, once it is written."""

    def transacted(self, name: str, seconds: float, refused: bool) -> None:  # noqa: FBT001 - as the store calls it
        """Count a transaction of the store, and whether the database refused it."""


class Meter:
    """Calls an instrument, and never raises: measuring cannot disturb the work.

    An exception of the instrument is logged as `meter.defect` with its traceback, once for each
    method. Without an instrument nothing is measured.
    """

    def __init__(self, instrument: Instrument | None = None) -> None:
        self._instrument = instrument
        self._broken: set[str] = set()

    def requested(
        self, request: Request, *, kind: str, error: CommsError | None, seconds: float
    ) -> None:
        """Count a finished request; it succeeded where `error` is None."""
        if self._instrument is not None:
            with self._guarded("requested"):
                self._instrument.requested(request, kind=kind, error=error, seconds=seconds)

    def waited(self, seconds: float) -> None:
        """Count a wait for a slot, the rate and the pause of the account."""
        if self._instrument is not None:
            with self._guarded("waited"):
                self._instrument.waited(seconds)

    def polled(self, *, kind: str, late: float) -> None:
        """Count a fetch, and how long after its due time it began."""
        if self._instrument is not None:
            with self._guarded("polled"):
                self._instrument.polled(kind=kind, late=late)

    def paged(self, *, kind: str, unchanged: int, nonsense: int) -> None:
        """Count a page of a sweep."""
        if self._instrument is not None:
            with self._guarded("paged"):
                self._instrument.paged(kind=kind, unchanged=unchanged, nonsense=nonsense)

    def observed(self, observations: Sequence[Observation], *, kind: str) -> None:
        """Count the effects of answers, and the events recorded with them."""
        if self._instrument is not None:
            with self._guarded("observed"):
                self._instrument.observed(observations, kind=kind)

    def recorded(self, events: Sequence[StoredEvent]) -> None:
        """Count events that no answer of the API caused."""
        if self._instrument is not None:
            with self._guarded("recorded"):
                self._instrument.recorded(events)

    def pushed(self, outcome: str) -> None:
        """Count a push of hints, and how it was answered."""
        if self._instrument is not None:
            with self._guarded("pushed"):
                self._instrument.pushed(outcome)

    def hinted(self, effects: Mapping[HintEffect, int]) -> None:
        """Count what hints did."""
        if self._instrument is not None:
            with self._guarded("hinted"):
                self._instrument.hinted(effects)

    def attempted(self, outcomes: Sequence[SinkOutcome], *, sink: str, seconds: float) -> None:
        """Count one call of a sink with an outcome for each of its events."""
        if self._instrument is not None:
            with self._guarded("attempted"):
                self._instrument.attempted(outcomes, sink=sink, seconds=seconds)

    def settled(self, delivery: Delivery, *, sink: str) -> None:
        """Count the state of a delivery after an attempt."""
        if self._instrument is not None:
            with self._guarded("settled"):
                self._instrument.settled(delivery, sink=sink)

    def transacted(self, name: str, seconds: float, refused: bool) -> None:  # noqa: FBT001 - as the store calls it
        """Count a transaction of the store, and whether the database refused it."""
        if self._instrument is not None:
            with self._guarded("transacted"):
                self._instrument.transacted(name, seconds, refused)

    @contextmanager
    def _guarded(self, call: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            if call not in self._broken:
                self._broken.add(call)
                log.exception(
                    "meter.defect",
                    call=call,
                    hint="metrics are incomplete until a restart; nothing else is affected",
                )


NO_METER: Final = Meter()
"""Measures nothing."""
