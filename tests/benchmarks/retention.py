"""Retention on a large store: operations a second, how long a step takes, and `/readyz`.

The store holds ended operations whose time is over, each with three events that were delivered,
and active ones, which are not due. They are copies of two operations that went the usual way.
PostgreSQL runs as it ships. What the steps waited for a core, because other programs used all of
them, is counted (on Linux), and the figures without it are given as well. Beside the steps, a small
file is written and synced again and again: how long the disk alone makes a commit wait.
"""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, Final, Self

import httpx
from sqlalchemy import (
    Column,
    Connection,
    String,
    Table,
    cast,
    insert,
    literal,
    select,
    text,
    update,
)

from poller.comms.kinds import DEFAULT_KIND
from poller.comms.models import decode_operation
from poller.store.claims import ClaimRequest
from poller.store.daemons import DeclaredSink, Member
from poller.store.database import Database
from poller.store.postgres import MIGRATION
from poller.store.schema import counters, deliveries, events, watches
from poller.store.store import Store
from poller.store.watches import Lease
from poller.tracking.answer import FoundAnswer
from poller.tracking.delivery import AttemptResult, DeliveryAttempt, Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.fakes.api import FakeApi
from tests.fakes.process import Poller, eventually
from tests.store.cluster import DURABLE, running

__all__ = ["make_templates", "measure", "multiply"]

Row = dict[str, object]

_ENDED: Final = "comms_operation_00000000000000000000000001"
_ACTIVE: Final = "comms_operation_00000000000000000000000002"
_LONG_AGO: Final = timedelta(days=10)
_RETENTION: Final = timedelta(days=7)
_SINK: Final = "stdout"
_PROBES: Final = 100
_BETWEEN: Final = 0.03
_COPIED_AT_ONCE: Final = 2_000


def measure(ended: int, active: int) -> Iterator[Row]:
    """Measure stores with ended and active operations of both kinds."""
    with TemporaryDirectory() as directory:
        yield _measure("SQLite", f"sqlite:///{directory}/poller.db", ended, active)
    with running(settings=DURABLE) as cluster:
        yield _measure("PostgreSQL", cluster.url(cluster.create()), ended, active)


def _measure(name: str, url: str, ended: int, active: int) -> Row:
    with FakeApi() as api:
        scope = AccountScope(account=api.credentials[0], base_url=api.base_url)
        asyncio.run(make_templates(url, scope))
        multiply(url, ended, active)
        row: Row = {"store": name, "ended": ended, "active": active}
        with Disk() as disk:
            row |= asyncio.run(_prune(url, scope, ended // 2))
        row |= disk.figures
        row |= _probe(url, api)
    return row


class Disk:
    """Syncs a small file again and again until the end of the block."""

    def __init__(self) -> None:
        self._waits: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sync)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def figures(self) -> Row:
        """How long a sync took."""
        ranks = quantiles(self._waits, n=100)
        return {
            "sync p50, ms": ranks[49],
            "sync p95, ms": ranks[94],
            "longest sync, ms": max(self._waits),
        }

    def _sync(self) -> None:
        with TemporaryFile(buffering=0) as file:
            while not self._over.wait(_BETWEEN):
                file.write(b"x" * 8192)
                begun = time.perf_counter()
                os.fdatasync(file.fileno())
                self._waits.append((time.perf_counter() - begun) * 1_000)


async def make_templates(url: str, scope: AccountScope) -> None:
    """Let one operation come to its end and be delivered, and see another one once."""
    at = datetime.now(UTC) - _LONG_AGO
    store = await Store.open(url, scope, now=lambda: at)
    sink = DeclaredSink(subscription=Subscription(sink=_SINK))
    await store.configure_sinks(Member(owner=store.owner, name="benchmark", sinks=[sink]))
    await store.register(
        [Registration(id=one, kind=DEFAULT_KIND.name) for one in (_ENDED, _ACTIVE)]
    )
    steps = [(_ENDED, "PROCESSING", 0), (_ENDED, "PROCESSING", 600), (_ENDED, "COMPLETED", 1_000)]
    for number, status, delivered in [*steps, (_ACTIVE, "PROCESSING", 0)]:
        at += timedelta(seconds=1)
        raw = {
            "id": number,
            "status": status,
            "stats": {"total": 1_000, "queued": 1_000 - delivered, "delivered": delivered},
            "createdAt": (at - timedelta(minutes=5)).isoformat(),
            "updatedAt": at.isoformat(),
        }
        found = decode_operation(raw, kind=DEFAULT_KIND, expected_id=number)
        answer = FoundAnswer(found=found, begun_at=at, arrived_at=at)
        await store.record(
            [(number, answer)],
            kind="messages",
            policy=Policy(progress_interval=0),
            lease_owner=None,
        )
    lease = Lease(owner=store.owner, seconds=30)
    request = ClaimRequest(sink=_SINK, limit=10, in_order=True, in_flight=0, lease=lease)
    claimed = (await store.complete_and_claim([], request)).claimed
    done = DeliveryAttempt(result=AttemptResult.DELIVERED, begun_at=at, status=204)
    await store.complete_and_claim([(event.position, done) for event in claimed], request)
    await store.aclose()


def multiply(url: str, ended: int, active: int) -> None:
    """Copy the two operations until the store has the given numbers of ended and active ones."""
    database = Database(url)
    database.write(_postpone)
    for first in range(1, ended, _COPIED_AT_ONCE):
        last = min(ended, first + _COPIED_AT_ONCE)
        database.write(lambda connection: _copy(connection, _ENDED, first, last))  # noqa: B023
    for first in range(ended + 1, ended + active, _COPIED_AT_ONCE):
        last = min(ended + active, first + _COPIED_AT_ONCE)
        database.write(lambda connection: _copy(connection, _ACTIVE, first, last))  # noqa: B023
    # the limits of ordinary transactions are too short for statistics of a large store
    database.write(_finish, MIGRATION)
    database.close()


def _copy(connection: Connection, template: str, first: int, last: int) -> None:
    """Copy an operation with all that belongs to it, once for each number."""
    numbers = select(literal(first).label("x")).cte(recursive=True)
    numbers = numbers.union_all(select(numbers.c.x + 1).where(numbers.c.x + 1 < last))
    name = literal("comms_operation_00000000") + cast(literal(10**17) + numbers.c.x, String)

    def copy(table: Table, key: Column[Any], **changed: Any) -> None:  # noqa: ANN401 - expressions
        columns = [changed.get(one.name, one) for one in table.columns]
        rows = select(*columns).select_from(table.join(numbers, literal(1) == 1))
        statement = insert(table).from_select(
            [one.name for one in table.columns], rows.where(key == template)
        )
        connection.execute(statement)

    position = literal(100) + numbers.c.x * 10
    copy(watches, watches.c.id, id=name)
    copy(
        events,
        events.c.subject,
        position=position + events.c.position,
        id=events.c.id + literal("-") + cast(numbers.c.x, String),
        subject=name,
    )
    copy(
        deliveries,
        deliveries.c.subject,
        position=position + deliveries.c.position,
        subject=name,
    )


def _postpone(connection: Connection) -> None:
    later = datetime.now(UTC) + timedelta(days=30)
    connection.execute(update(watches).where(watches.c.due_at.is_not(None)).values(due_at=later))


def _finish(connection: Connection) -> None:
    connection.execute(update(counters).values(value=1_000_000_000))
    connection.execute(text("ANALYZE"))


async def _prune(url: str, scope: AccountScope, number: int) -> Mapping[str, object]:
    """Run steps of retention until `number` operations are removed."""
    taken: list[float] = []
    working: list[float] = []
    waits = [0.0]
    server: int | None = None

    def timed(name: str, seconds: float, _is_refused: bool) -> None:  # noqa: FBT001 - as called
        waits.append(_core_waits(server))
        if name == "retention.prune":
            taken.append(seconds * 1_000)
            working.append((seconds - (waits[-1] - waits[-2])) * 1_000)

    store = await Store.open(url, scope, timed=timed)
    server = await store._read(_server_process)
    # as the daemon does after its start: else a collection walks all that the tests have loaded
    gc.freeze()
    waited = _core_waits(server)
    done, spent, begun = 0, time.process_time(), time.perf_counter()
    while done < number:
        pruned = await store.retention.prune(retention_seconds=_RETENTION.total_seconds())
        assert pruned.more
        done += pruned.operations
    seconds = time.perf_counter() - begun
    spent = time.process_time() - spent
    waited = _core_waits(server) - waited
    await store.aclose()
    ranks = quantiles(taken, n=100)
    return {
        "removed/s": done / seconds,
        "removed/s without waits for a core": done / (seconds - waited),
        "own CPU, ms each": spent / done * 1_000,
        "step p50, ms": ranks[49],
        "step p95, ms": ranks[94],
        "longest step, ms": max(taken),
        "longest step without waits for a core, ms": max(working),
    }


def _server_process(connection: Connection, _scope: AccountScope) -> int | None:
    """Return the process of the server that works for this connection; None for a file."""
    if connection.dialect.name == "sqlite":
        return None
    found: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return found


def _core_waits(server: int | None) -> float:
    """Return the seconds that the threads of the store and the server could not run so far.

    They work in turns, so these do not overlap.
    """
    workers = [one.native_id for one in threading.enumerate() if one.name == "store worker"]
    paths = [Path(f"/proc/self/task/{one}/schedstat") for one in workers]
    if server is not None:
        paths.append(Path(f"/proc/{server}/schedstat"))
    return sum(int(path.read_text().split()[1]) / 1e9 for path in paths if path.exists())


def _probe(url: str, api: FakeApi) -> Mapping[str, object]:
    """Ask a daemon that prunes the rest whether it is ready."""
    environment = {**api.environment, "POLLER_STORE__URL": url, "POLLER_POLLING__SWEEP": "off"}
    with (
        TemporaryDirectory() as directory,
        Poller("run", cwd=Path(directory), environment=environment) as daemon,
    ):
        eventually(lambda: bool(daemon.logged("server.listening")))
        address = daemon.logged("server.listening")[0]["address"]
        waits = []
        with httpx.Client(base_url=str(address)) as client:
            client.get("/readyz")
            for _ in range(_PROBES):
                begun = time.perf_counter()
                client.get("/readyz")
                waits.append((time.perf_counter() - begun) * 1_000)
                time.sleep(_BETWEEN)
        ranks = quantiles(waits, n=100)
        return {"/readyz p50, ms": ranks[49], "/readyz p95, ms": ranks[94]}
