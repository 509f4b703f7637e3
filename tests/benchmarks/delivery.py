"""Webhooks: store, dispatcher and signed sink against a bare loop that posts with httpx.

The receiver is a process of its own that only answers 204. `backlog` posts what waits as fast as
it can, sixteen at a time on both sides. `live` records an observation fifty times a second; the
delay runs from before the recording transaction to the acknowledged answer, which for the bare
loop is the request alone. The store is SQLite as it ships, each step synced to the disk.
"""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import anyio
import httpx
import structlog
from pydantic import SecretStr

from poller.comms.kinds import DEFAULT_KIND
from poller.comms.models import Operation, decode_operation
from poller.engine.dispatcher import Dispatcher
from poller.engine.signals import Signals
from poller.engine.supervision import Heartbeats
from poller.sinks.base import OutgoingEvent, SinkOutcome
from poller.sinks.webhook import WebhookSink
from poller.store.store import Store
from poller.tracking.answer import FoundAnswer
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.store.scenes import declare

__all__ = ["measure"]

Row = dict[str, object]

_SECRET: Final = "whsec_" + "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWUtZWl0aGVy"
_HOME: Final = AccountScope(account="AC", base_url="http://api.test/v1")
_POLICY: Final = Policy(progress_interval=0)
_SINK: Final = "app"
_CONCURRENCY: Final = 16
_EACH: Final = 5
_LIVE: Final = 500
_LIVE_RATE: Final = 50.0
_TURNS: Final = 5


def measure(events: int, *, directory: Path) -> list[Row]:
    """Measure both sides in both scenes, with a backlog of about `events` events."""
    # as the daemon does at its usual level
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with _receiver() as url:
        return asyncio.run(_measure(events, directory, url))


class _TimedSink(WebhookSink):
    """A webhook sink that remembers when each event was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(name=_SINK, url=url, secret=SecretStr(_SECRET), concurrency=_CONCURRENCY)
        self.bodies: list[bytes] = []
        self.done: dict[str, float] = {}
        self.enough = asyncio.Event()
        self.expected = 0

    async def deliver(self, batch: Sequence[OutgoingEvent]) -> Sequence[SinkOutcome]:
        """Deliver, and take the time."""
        outcomes = await super().deliver(batch)
        for event, outcome in zip(batch, outcomes, strict=True):
            assert outcome.error is None, outcome
            self.done[event.id] = time.monotonic()
            self.bodies.append(event.encoded())
        if len(self.done) >= self.expected:
            self.enough.set()
        return outcomes

    def expect(self, more: int) -> None:
        """Wait for this many more."""
        self.expected, self.enough = len(self.done) + more, asyncio.Event()


async def _measure(events: int, directory: Path, url: str) -> list[Row]:
    store = await Store.open(
        f"sqlite:///{directory / 'poller.db'}", _HOME, now=lambda: datetime.now(UTC)
    )
    sink = _TimedSink(url)
    try:
        await store.configure_sinks(declare(_SINK))
        turns = []
        for number in range(_TURNS):
            sink.bodies.clear()
            ours = await _post_backlog(store, sink, events // _TURNS, number)
            turns.append((ours, await _post_bare(sink.bodies, url)))
        delays = await _live(store, sink), await _live_bare(sink.bodies, url)
    finally:
        await sink.aclose()
        await store.aclose()
    names = "ours: stored, in order, signed", "bare httpx loop: unsigned, kept nowhere"
    rows = [
        _row(name, [turn[side] for turn in turns], delays[side]) for side, name in enumerate(names)
    ]
    ratios = [(bare.seconds / ours.seconds, bare.cpu / ours.cpu) for ours, bare in turns]
    ratio: Row = {
        "who": "ratio",
        "webhooks/s": median(seconds for seconds, _ in ratios),
        "worst turn": min(seconds for seconds, _ in ratios),
        "CPU s per 1,000": 1 / median(cpu for _, cpu in ratios),
        "live delay p50 ms": _number(rows[0], "live delay p50 ms")
        / _number(rows[1], "live delay p50 ms"),
        "p95 ms": _number(rows[0], "p95 ms") / _number(rows[1], "p95 ms"),
    }
    return [*rows, ratio]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """A number of webhooks, and what they cost."""

    posted: int
    seconds: float
    cpu: float


@contextmanager
def _timed(posted: int) -> Iterator[list[_Turn]]:
    """Take the time and the CPU of a block."""
    turns: list[_Turn] = []
    begun, cpu = time.monotonic(), time.process_time()
    yield turns
    took = time.monotonic() - begun
    turns.append(_Turn(posted=posted, seconds=took, cpu=time.process_time() - cpu))


@asynccontextmanager
async def _dispatching(store: Store, sink: _TimedSink) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(
        sink=sink,
        store=store,
        owner="benchmark",
        now=lambda: datetime.now(UTC),
        signals=Signals(),
        heartbeats=Heartbeats(()),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        yield dispatcher
        tasks.cancel_scope.cancel()


async def _post_backlog(store: Store, sink: _TimedSink, events: int, number: int) -> _Turn:
    first = number * events
    names = [_name(first + each) for each in range(events // _EACH)]
    await store.register([Registration(id=name, kind="messages") for name in names])
    for step in range(_EACH):
        for start in range(0, len(names), 500):
            await _record(store, names[start : start + 500], step)
    posted = len(names) * _EACH
    sink.expect(posted)
    with _timed(posted) as turns:
        async with _dispatching(store, sink):
            await sink.enough.wait()
    return turns[0]


async def _live(store: Store, sink: _TimedSink) -> list[float]:
    names = [_name(10**6 + number) for number in range(_LIVE)]
    await store.register([Registration(id=one, kind="messages") for one in names])
    sink.expect(_LIVE)
    begun: dict[str, float] = {}
    async with _dispatching(store, sink) as dispatcher:
        start = time.monotonic()
        for number, one in enumerate(names):
            await asyncio.sleep(max(0.0, start + number / _LIVE_RATE - time.monotonic()))
            at = time.monotonic()
            for event_id in await _record(store, [one], 0):
                begun[event_id] = at
            dispatcher.wakeup.wake()
        await sink.enough.wait()
    return [sink.done[event_id] - at for event_id, at in begun.items()]


async def _record(store: Store, names: Sequence[str], step: int) -> list[str]:
    now = datetime.now(UTC)
    answers = [
        (name, FoundAnswer(found=_snapshot(name, step), begun_at=now, arrived_at=now))
        for name in names
    ]
    observations = await store.record(answers, kind="messages", policy=_POLICY, lease_owner=None)
    return [event.id for observation in observations for event in observation.events]


def _bare_client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=_CONCURRENCY)
    headers = {"content-type": "application/cloudevents+json"}
    return httpx.AsyncClient(limits=limits, headers=headers, trust_env=False)


async def _post_bare(bodies: Sequence[bytes], url: str) -> _Turn:
    async with _bare_client() as client:
        waiting = iter(bodies)

        async def work() -> None:
            for body in waiting:
                (await client.post(url, content=body)).raise_for_status()

        with _timed(len(bodies)) as turns:
            await asyncio.gather(*(work() for _ in range(_CONCURRENCY)))
    return turns[0]


async def _live_bare(bodies: Sequence[bytes], url: str) -> list[float]:
    delays = []
    async with _bare_client() as client:
        for body in bodies[:_LIVE]:
            at = time.monotonic()
            await client.post(url, content=body)
            delays.append(time.monotonic() - at)
            await asyncio.sleep(1 / _LIVE_RATE)
    return delays


def _row(who: str, turns: Sequence[_Turn], delays: Sequence[float]) -> Row:
    ordered = sorted(delays)
    rates = [turn.posted / turn.seconds for turn in turns]
    return {
        "who": who,
        "webhooks/s": median(rates),
        "worst turn": min(rates),
        "CPU s per 1,000": median(1000 * turn.cpu / turn.posted for turn in turns),
        "live delay p50 ms": 1000 * ordered[len(ordered) // 2],
        "p95 ms": 1000 * ordered[int(0.95 * len(ordered))],
    }


def _number(row: Row, name: str) -> float:
    value = row[name]
    assert isinstance(value, float)
    return value


def _name(number: int) -> str:
    return f"comms_operation_0{number:025d}"


def _snapshot(name: str, step: int) -> Operation:
    now = datetime.now(UTC).isoformat()
    stats = dict.fromkeys(sorted(DEFAULT_KIND.counters), 0)
    document = {
        "id": name,
        "status": "PROCESSING",
        "stats": stats | {"total": 1000, "recipients": 1000, "delivered": 10 * step},
        "createdAt": now,
        "updatedAt": now,
    }
    return decode_operation(document, kind=DEFAULT_KIND)


@contextmanager
def _receiver() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.receiver"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/events"
        finally:
            process.kill()
