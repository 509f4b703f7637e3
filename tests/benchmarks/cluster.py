"""Several daemons on one store: registrations, records and deliveries a second, and lock waits.

A worker is a process with a store of its own, as a daemon has. SQLite allows one. PostgreSQL runs
as it ships, each commit synced to the disk. Each worker registers one operation a transaction,
records one answer with one event a transaction, and then delivers a backlog of events, sixteen at
a time, to a sink that takes everything at once: nothing but the store is measured.

Lock waits are the sessions that wait for a row or a transaction of another one, on average: one
that stands at 1.0 is one worker that does nothing but wait.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from threading import Event, Thread
from typing import Final

from sqlalchemy import create_engine, text

from poller.comms.kinds import DEFAULT_KIND
from poller.comms.models import decode_operation
from poller.store.claims import ClaimRequest
from poller.store.daemons import DeclaredSink, Member
from poller.store.store import Store
from poller.store.watches import Lease
from poller.tracking.answer import FoundAnswer
from poller.tracking.delivery import AttemptResult, DeliveryAttempt, Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.store.cluster import DURABLE, Cluster, running

__all__ = ["measure"]

Row = dict[str, object]

_HOME: Final = AccountScope(account="AC", base_url="http://api.test/v1")
_POLICY: Final = Policy(progress_interval=0)
_SINK: Final = "app"
_WORKERS: Final = (1, 2, 4)
_AT_ONCE: Final = 16
_PHASES: Final = ("registrations", "records", "deliveries")
_SAMPLE: Final = 0.02
_TO_BEGIN: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What a worker does: a phase, `number` times, from the moment `begins` on (wall clock)."""

    url: str
    phase: str
    worker: int
    number: int
    begins: float


def measure(number: int) -> Iterator[Row]:
    """Measure with about `number` steps of each phase and worker."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'poller.db'}"
        yield _measure("SQLite", url, 1, number, waits=None)
    with running(settings=DURABLE) as cluster:
        for workers in _WORKERS:
            url = cluster.url(cluster.create())
            yield _measure("PostgreSQL", url, workers, number, waits=cluster)


def _measure(name: str, url: str, workers: int, number: int, *, waits: Cluster | None) -> Row:
    asyncio.run(_prepare(url))
    row: Row = {"store": name, "workers": workers}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # the processes import what they need before anything is measured
        list(pool.map(_get_ready, range(workers)))
        for phase in _PHASES:
            begins = time.time() + _TO_BEGIN
            tasks = [
                _Task(url=url, phase=phase, worker=worker, number=number, begins=begins)
                for worker in range(workers)
            ]
            with _lock_waits(waits) as waiting:
                spans = list(pool.map(_work, tasks))
            done = sum(steps for steps, _ in spans)
            row[f"{phase}/s"] = done / (max(end for _, end in spans) - begins)
            row[f"lock waits, {phase}"] = mean(waiting or [0])
    return row


def _get_ready(_worker: int) -> bool:
    return "poller.store.store" in sys.modules


@contextmanager
def _lock_waits(cluster: Cluster | None) -> Iterator[list[int]]:
    """Count, every few milliseconds, the sessions that wait for a lock of another one."""
    samples: list[int] = []
    if cluster is None:
        yield samples
        return
    over = Event()
    url = cluster.url("postgres").replace("postgresql:", "postgresql+psycopg:", 1)
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def sample() -> None:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            # from when the workers begin
            over.wait(_TO_BEGIN)
            while not over.wait(_SAMPLE):
                samples.append(connection.execute(query).scalar_one())
        engine.dispose()

    thread = Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


async def _prepare(url: str) -> None:
    store = await Store.open(url, _HOME)
    await store.configure_sinks(_member(store))
    await store.aclose()


def _member(store: Store) -> Member:
    sinks = [DeclaredSink(subscription=Subscription(sink=_SINK))]
    return Member(owner=store.owner, name="benchmark", sinks=sinks)


def _work(task: _Task) -> tuple[int, float]:
    """Do a task; returns the number of steps and when it ended."""
    return asyncio.run(_run(task))


async def _run(task: _Task) -> tuple[int, float]:
    store = await Store.open(task.url, _HOME)
    try:
        await store.configure_sinks(_member(store))
        await asyncio.sleep(max(0.0, task.begins - time.time()))
        done = await _STEPS[task.phase](store, task)
        return done, time.time()
    finally:
        await store.aclose()


def _ids(task: _Task) -> Sequence[str]:
    first = task.worker * 1_000_000
    return [f"comms_operation_0{first + step:025d}" for step in range(task.number)]


async def _register(store: Store, task: _Task) -> int:
    for name in _ids(task):
        await store.register([Registration(id=name, kind=DEFAULT_KIND.name)])
    return task.number


async def _record(store: Store, task: _Task) -> int:
    for name in _ids(task):
        at = datetime.now(UTC)
        raw = {
            "id": name,
            "status": "PROCESSING",
            "stats": {"total": 1_000, "queued": 400, "delivered": 600},
            "createdAt": (at - timedelta(minutes=5)).isoformat(),
            "updatedAt": at.isoformat(),
        }
        answer = FoundAnswer(
            found=decode_operation(raw, kind=DEFAULT_KIND, expected_id=name),
            begun_at=at,
            arrived_at=at,
        )
        [observed] = await store.record(
            [(name, answer)], kind="messages", policy=_POLICY, lease_owner=None
        )
        assert observed.events
    return task.number


async def _deliver(store: Store, _task: _Task) -> int:
    """Deliver until nothing is left for this worker."""
    request = ClaimRequest(
        sink=_SINK,
        limit=_AT_ONCE,
        in_order=False,
        in_flight=0,
        lease=Lease(owner=store.owner, seconds=30),
    )
    finished: list[tuple[int, DeliveryAttempt]] = []
    done = 0
    while True:
        result = await store.complete_and_claim(finished, request)
        done += len(finished)
        if not result.claimed:
            return done
        attempt = DeliveryAttempt(result=AttemptResult.DELIVERED, begun_at=store.now(), status=204)
        finished = [(event.position, attempt) for event in result.claimed]


_STEPS: Final[Mapping[str, Callable[[Store, _Task], Awaitable[int]]]] = {
    "registrations": _register,
    "records": _record,
    "deliveries": _deliver,
}
