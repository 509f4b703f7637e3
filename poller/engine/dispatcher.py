"""The dispatcher: one for each sink, so that a sink that is down delays nobody else.

A single loop: in one transaction, hand the finished attempts to the store and claim the next
deliveries; then start them. Finished attempts are kept until the store has them, so a store that
cannot be written for a while causes no repeated delivery.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from poller.engine.meter import NO_METER, Meter
from poller.engine.signals import Signals
from poller.engine.sink_log import SinkLog
from poller.engine.supervision import Heartbeats, attempt, repeat
from poller.log import get_logger
from poller.sinks.base import OutgoingEvent, Sink, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.store.claims import ClaimRequest
from poller.store.deliveries import ClaimResult
from poller.store.errors import StoreError
from poller.store.events import StoredEvent
from poller.store.store import Store
from poller.store.watches import Lease
from poller.tracking.delivery import AttemptResult, DeliveryAttempt

log = get_logger()

_RESULTS: Final[Mapping[SinkVerdict, AttemptResult]] = {
    SinkVerdict.DELIVERED: AttemptResult.DELIVERED,
    SinkVerdict.FAILED: AttemptResult.FAILED,
    SinkVerdict.REFUSED: AttemptResult.REFUSED,
    SinkVerdict.GONE: AttemptResult.GONE,
    SinkVerdict.CLOSED: AttemptResult.FAILED,
}

_QUERY_INTERVAL: Final = 1.0
_LEASE_MARGIN: Final = 15.0
_RECALL_PAGE: Final = 5000
_DEFECT: Final = "an internal error of comms-poller; see engine.defect in the log"


class Ended(StrEnum):
    """Why a dispatcher's `run` returned."""

    DRAINED = "drained"
    CLOSED = "closed"
    """The sink is closed for the life of this process."""


class Dispatcher:
    """Delivers the waiting events of one sink, in order."""

    def __init__(
        self,
        *,
        sink: Sink,
        store: Store,
        owner: str,
        now: Callable[[], datetime],
        signals: Signals,
        heartbeats: Heartbeats,
        meter: Meter = NO_METER,
    ) -> None:
        self.sink = sink
        self.wakeup = signals.deliveries.listen()
        self._log = log.bind(sink=sink.name)
        self._sink_log = SinkLog(sink.name)
        self._name = f"sink {sink.name}"
        self._store = store
        self._owner = owner
        self._now = now
        self._signals = signals
        self._heartbeats = heartbeats
        self._meter = meter
        self._finished: list[tuple[StoredEvent, DeliveryAttempt]] = []
        self._held: set[int] = set()
        self._in_flight = 0
        self._closed = False
        self._draining = False

    def drain(self) -> None:
        """Return from `run` as soon as nothing is due and nothing is under way."""
        self._draining = True
        self.wakeup.wake()

    async def run(self) -> Ended:
        """Deliver until drained, or until the sink is closed for good."""
        self._heartbeats.beat(self._name)
        await self._recall()
        try:
            async with anyio.create_task_group() as attempts:
                turn = partial(self._turn, attempts)
                await repeat(turn, name=self._name, heartbeats=self._heartbeats)
        finally:
            self._heartbeats.leave(self._name)
            await self._keep_results()
        return Ended.CLOSED if self._closed else Ended.DRAINED

    async def _turn(self, attempts: TaskGroup) -> bool:
        """Record finished attempts and start due ones; True where there is no more to do."""
        self._closed = self._closed or self.sink.is_closed
        result = await self._complete_and_claim(limit=0 if self._closed else self._free())
        if self._closed and not self._in_flight:
            return True
        started = self._start(attempts, result.claimed)
        if self._draining and not started and not self._in_flight and not self._finished:
            return True
        if result.is_all or self._free() == 0:
            await self.wakeup.wait(self._until_due(result))
        return False

    async def _complete_and_claim(self, *, limit: int) -> ClaimResult:
        attempts, self._finished = self._finished, []
        request = ClaimRequest(
            sink=self.sink.name,
            limit=limit,
            in_order=self.sink.concurrency == 1,
            in_flight=self._in_flight,
            lease=Lease(owner=self._owner, seconds=self.sink.deadline + _LEASE_MARGIN),
        )
        try:
            result = await self._store.complete_and_claim(
                [(event.position, attempt) for event, attempt in attempts], request
            )
        except BaseException:
            self._finished = [*attempts, *self._finished]
            raise
        for event, _ in attempts:
            if (delivery := result.finished.get(event.position)) is not None:
                self._meter.settled(delivery, sink=self.sink.name)
                self._sink_log.delivery(event, delivery, now=self._now())
        if attempts:
            failed = sum(one.result is not AttemptResult.DELIVERED for _, one in attempts)
            self._sink_log.health(result.before, result.health, failed=failed, now=self._now())
            self._signals.progress.notify()
        return result

    def _free(self) -> int:
        """Count the events that could be started now."""
        if self.sink.concurrency == 1:
            return 0 if self._in_flight else self.sink.batch_size
        return self.sink.concurrency - self._in_flight

    def _start(self, attempts: TaskGroup, claimed: Sequence[StoredEvent]) -> bool:
        batches = [claimed] if self.sink.concurrency == 1 else [[event] for event in claimed]
        for batch in batches:
            if batch:
                self._held |= {event.position for event in batch}
                self._in_flight += 1
                attempts.start_soon(self._attempt, batch)
        return bool(claimed)

    async def _attempt(self, batch: Sequence[StoredEvent]) -> None:
        begun_at, begun = self._now(), anyio.current_time()
        try:
            outcomes = await self.sink.deliver(
                [
                    OutgoingEvent(id=event.id, body=event.body, headers=event.trace_headers)
                    for event in batch
                ]
            )
        except Exception:  # noqa: BLE001 - a sink must not raise; what it raises is a failed attempt
            self._log.exception("engine.defect")
            defect = SinkOutcome(verdict=SinkVerdict.FAILED, error=_DEFECT)
            outcomes = [defect] * len(batch)
        finally:
            self._in_flight -= 1
        if any(outcome.verdict is SinkVerdict.CLOSED for outcome in outcomes):
            self._closed = True
        seconds = anyio.current_time() - begun
        self._meter.attempted(outcomes, sink=self.sink.name, seconds=seconds)
        for event, outcome in zip(batch, outcomes, strict=True):
            self._finished.append((event, _attempt_of(outcome, begun_at=begun_at)))
            self._held.discard(event.position)
        self.wakeup.wake()

    async def _keep_results(self) -> None:
        """Record attempts that finished while the loop was being cancelled; they are not repeated.

        Unfinished ones are released, so the next process need not wait for their leases.
        """
        with anyio.CancelScope(shield=True):
            if self._finished:
                await attempt(partial(self._complete_and_claim, limit=0), name=self._name)
            if self._held:
                release = partial(
                    self._store.release_deliveries, self.sink.name, sorted(self._held), self._owner
                )
                await attempt(release, name=self._name)

    async def _recall(self) -> None:
        """Record as delivered the waiting events that the sink already holds."""
        try:
            held: set[str] = set()
            seen = 0
            # every page: an event that waits for a retry may be older than the last batch
            while waiting := await self._store.waiting_ids(self.sink.name, _RECALL_PAGE, skip=seen):
                held |= await self.sink.recall(waiting)
                seen += len(waiting)
            if held:
                number = await self._store.recall(self.sink.name, held)
                self._log.info("sink.recalled", events=number)
        except (StoreError, SinkUnavailable) as error:
            self._log.warning("sink.recall_failed", error=str(error))

    def _until_due(self, result: ClaimResult) -> float:
        """Return the seconds until a delivery may be due, at most one."""
        now, health = self._now(), result.health
        moments = (result.next_due, health.next_at, health.paused_until)
        due = [(moment - now).total_seconds() for moment in moments if moment and moment > now]
        return max(0.01, min([_QUERY_INTERVAL, *due]))


def _attempt_of(outcome: SinkOutcome, *, begun_at: datetime) -> DeliveryAttempt:
    """Return what a sink's outcome means for the delivery."""
    return DeliveryAttempt(
        result=_RESULTS[outcome.verdict],
        begun_at=begun_at,
        status=outcome.status,
        error=outcome.error,
        retry_after=outcome.retry_after,
    )
