"""What the tests of the engine share: a sink from a script, a store that can refuse, and a stage.

Time stands still unless a test moves it: the clock is set by hand, and after each move the stage
waits until the dispatcher has nothing more to do at that time.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import Connection, event, func, insert, select

from poller.engine.dispatcher import Dispatcher, Ended
from poller.engine.signals import ChangeNotifier, Signals
from poller.engine.supervision import Heartbeats
from poller.sinks.base import OutgoingEvent, SinkOutcome, SinkUnavailable, SinkVerdict
from poller.store.claims import ClaimRequest
from poller.store.deliveries import ClaimResult
from poller.store.errors import StoreUnavailable
from poller.store.schema import deliveries, events, watches
from poller.store.store import Store
from poller.tracking.delivery import DeliveryAttempt
from tests.store.scenes import HOME, NOW, Clock, configure, entropy, op, registration
from tests.store.template import new_store

__all__ = [
    "DELIVERED",
    "Delivered",
    "FickleStore",
    "ScriptedSink",
    "Stage",
    "TickingClock",
    "failed",
    "open_store",
    "record_events",
    "until",
]

DELIVERED = SinkOutcome(verdict=SinkVerdict.DELIVERED, status=204)
Answers = Callable[[OutgoingEvent], SinkOutcome]


def failed(status: int | None = 503, *, retry_after: float | None = None) -> SinkOutcome:
    """Make the outcome of an attempt that failed."""
    error = f"answered {status}"
    return SinkOutcome(
        verdict=SinkVerdict.FAILED, status=status, error=error, retry_after=retry_after
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One attempt that a sink saw: of what, and when by the clock of the test."""

    event: OutgoingEvent
    at: datetime


@dataclass(kw_only=True)
class ScriptedSink:
    """A sink that answers what `answers` says, at once or when its gate is opened."""

    name: str = "app"
    concurrency: int = 4
    batch_size: int = 1
    deadline: float = 10.0
    answers: Answers = lambda _: DELIVERED
    now: Callable[[], datetime] = lambda: NOW
    refuses_to_start: SinkUnavailable | None = None
    attempts: list[Delivered] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    life: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    in_flight: int = 0
    peak: int = 0
    gate: anyio.Event | None = None
    is_closed: bool = False

    async def start(self) -> None:
        """Take the place, unless it is to be refused."""
        self.life.append("start")
        if self.refuses_to_start is not None:
            raise self.refuses_to_start

    async def recall(self, event_ids: Collection[str]) -> frozenset[str]:
        """Return those that are said to be held."""
        self.life.append("recall")
        return frozenset(self.held).intersection(event_ids)

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Answer from the script."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.batches.append(len(batch))
        self.attempts += [Delivered(event=one, at=self.now()) for one in batch]
        try:
            await anyio.lowlevel.checkpoint()
            if self.gate is not None:
                await self.gate.wait()
            return [self.answers(one) for one in batch]
        finally:
            self.in_flight -= 1

    def open_gate(self) -> None:
        """Let everything through from now on."""
        assert self.gate is not None
        self.gate.set()
        self.gate = None

    async def reopen(self) -> None:
        """Take note."""
        self.life.append("reopen")

    async def aclose(self) -> None:
        """Take note."""
        self.life.append("close")

    @property
    def ids(self) -> list[str]:
        """The event ids of all attempts."""
        return [attempt.event.id for attempt in self.attempts]

    def seconds(self, since: datetime = NOW) -> list[float]:
        """Tell when each attempt was made."""
        return [(attempt.at - since).total_seconds() for attempt in self.attempts]

    def by_operation(self) -> dict[str, list[str]]:
        """Return the ids of all attempts for each operation, in order."""
        found: dict[str, list[str]] = {}
        for attempt in self.attempts:
            found.setdefault(subject_of(attempt.event), []).append(attempt.event.id)
        return found


def subject_of(event: OutgoingEvent) -> str:
    """Return the id of the operation that the event is about."""
    subject: str = json.loads(event.body)["subject"]
    return subject


class TickingClock(Clock):
    """Moves on by a microsecond at each look, so that nothing begins before its cause."""

    def __call__(self) -> datetime:
        """Tell the time."""
        self.time += timedelta(microseconds=1)
        return self.time


class FickleStore(Store):
    """A real store that refuses for as long as the test says, and counts claims."""

    refuses = False
    refused = 0
    made = 0
    last: ClaimResult | None = None
    begun_last = 0
    begun = 0

    def refuse(self) -> None:
        """Raise where the database is said to be gone."""
        if self.refuses:
            self.refused += 1
            raise StoreUnavailable("store.url: the disk is full; free some space")

    async def complete_and_claim(
        self, attempts: Sequence[tuple[int, DeliveryAttempt]], request: ClaimRequest
    ) -> ClaimResult:
        """ClaimResult, unless refused."""
        self.refuse()
        self.begun += 1
        number = self.begun
        found = await super().complete_and_claim(attempts, request)
        self.last, self.begun_last = found, number
        return found

    async def record(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - handed on as it is
        """Record, unless refused."""
        self.refuse()
        return await super().record(*args, **kwargs)

    async def claim_due(self, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        """Claim, unless refused."""
        self.refuse()
        return await super().claim_due(**kwargs)

    async def leased(self) -> set[str]:
        """Name the operations that somebody has claimed."""

        def read() -> set[str]:
            with self._database.reading() as connection:
                query = select(watches.c.id).where(watches.c.lease_owner.is_not(None))
                return set(connection.execute(query).scalars())

        return await anyio.to_thread.run_sync(read)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, which other tasks bring about."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - the code under test sets no event for tests
            await anyio.sleep(0.001)


async def open_store(path: Path, clock: Clock) -> FickleStore:
    """Open a store that does not wait for the disk: durability is proven elsewhere."""
    store = await FickleStore.open(new_store(path), HOME, now=clock, random=entropy())

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    await anyio.to_thread.run_sync(store._database.engine.dispose)
    event.listen(store._database.engine, "connect", hurry)
    return store


async def record_events(
    store: FickleStore, operations: int, each: int, *, sinks: Sequence[str]
) -> list[str]:
    """Register new operations and write `each` events of each, in turn; the event ids.

    Straight into the tables: what an event tells is of no interest to those who deliver it.
    """
    names = [op(number) for number in range(store.made, store.made + operations)]
    store.made += operations
    await store.register([registration(name) for name in names])
    now = store.now()

    def write(connection: Connection) -> list[str]:
        first = connection.execute(select(func.max(events.c.position))).scalar_one() or 0
        made = [
            {
                "position": first + step * operations + number + 1,
                "id": f"event-{first + step * operations + number + 1:06d}",
                "scope_id": store.scope.id,
                "subject": name,
                "sequence": step + 1,
                "type": "operation.progress",
                "final": False,
                "recorded_at": now,
                "body": json.dumps({"subject": name}),
            }
            for step in range(each)
            for number, name in enumerate(names)
        ]
        waiting = [
            {
                "scope_id": store.scope.id,
                "sink": sink,
                "position": one["position"],
                "subject": one["subject"],
                "state": "waiting",
                "attempts": 0,
                "fresh_at": now,
                "due_at": now,
                "set_at": now,
            }
            for sink in sinks
            for one in made
        ]
        connection.execute(insert(events), made)
        connection.execute(insert(deliveries), waiting)
        return [str(one["id"]) for one in made]

    return await anyio.to_thread.run_sync(lambda: store._database.write(write))


class CountedNotifier(ChangeNotifier):
    """Counts its notifications."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def notify(self) -> None:
        self.count += 1
        super().notify()


@dataclass(kw_only=True)
class Stage:
    """A dispatcher between a real store and a scripted sink."""

    store: FickleStore
    clock: Clock
    sink: ScriptedSink
    dispatcher: Dispatcher
    ended: Ended | None = None

    @classmethod
    async def build(cls, store: FickleStore, clock: Clock, sink: ScriptedSink) -> "Stage":
        """Configure the sink and put a dispatcher before it, which is not yet run."""
        sink.now = clock
        await configure(store, sink.name)
        dispatcher = Dispatcher(
            sink=sink,
            store=store,
            owner="first",
            now=clock,
            signals=Signals(),
            heartbeats=Heartbeats(()),
        )
        return cls(store=store, clock=clock, sink=sink, dispatcher=dispatcher)

    async def run(self) -> None:
        """Run the dispatcher, and keep how it ended."""
        self.ended = await self.dispatcher.run()

    async def end(self) -> Ended:
        """Wait until the dispatcher has ended by itself; how it did."""
        await until(lambda: self.ended is not None)
        assert self.ended is not None
        return self.ended

    async def events(self, operations: int, each: int) -> list[str]:
        """Record events for each of some new operations, in turn; their ids."""
        return await record_events(self.store, operations, each, sinks=[self.sink.name])

    async def settle(self) -> ClaimResult:
        """Wait until nothing more can be done at this time; what the store said last."""
        with anyio.fail_after(60):
            while True:
                mark = self.store.begun
                self.dispatcher.wakeup.wake()
                await until(partial(self._has_looked_since, mark))
                last = self.store.last
                assert last is not None
                is_held = self.sink.gate is not None
                is_busy = self.dispatcher._in_flight > 0 or self.dispatcher._finished
                if not last.claimed and not last.finished and (is_held or not is_busy):
                    return last

    def _has_looked_since(self, mark: int) -> bool:
        return mark < self.store.begun_last == self.store.begun

    async def advance(self, seconds: float) -> ClaimResult:
        """Let so much time pass, with everything that becomes due meanwhile done at its time."""
        until = self.clock.time.timestamp() + seconds
        last = await self.settle()
        while True:
            moments = [
                moment
                for moment in (last.next_due, last.health.next_at, last.health.paused_until)
                if moment
            ]
            coming = [m for m in moments if self.clock.time < m and m.timestamp() <= until]
            if not coming:
                break
            self.clock.time = min(coming)
            last = await self.settle()
        self.clock.advance(until - self.clock.time.timestamp())
        return await self.settle()

    async def rows(self) -> list[dict[str, Any]]:
        """Read the deliveries of the sink, in commit order."""

        def read() -> list[dict[str, Any]]:
            with self.store._database.reading() as connection:
                query = (
                    select(deliveries, events.c.id)
                    .join(events, events.c.position == deliveries.c.position)
                    .where(deliveries.c.sink == self.sink.name)
                    .order_by(deliveries.c.position)
                )
                return [dict(row) for row in connection.execute(query).mappings()]

        return await anyio.to_thread.run_sync(read)

    async def states(self) -> Counter[str]:
        """Count the deliveries of the sink by state."""
        return Counter(row["state"] for row in await self.rows())
