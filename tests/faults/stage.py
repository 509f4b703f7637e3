"""The real engine on real sockets, with a clock that can be made to jump.

Two operations are always on: `ODD`, to which things happen, and `WELL`, which has to reach its
end beside it.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
from anyio.abc import TaskStatus
from pydantic import SecretStr

from poller.addresses import TcpAddress
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration, SinkPlan
from poller.engine.daemon import Daemon
from poller.engine.meter import Meter
from poller.server.control import Metrics
from poller.server.exposition import Exposition
from poller.server.listening import Listening
from poller.server.metrics import PrometheusMeter
from poller.server.serving import serve
from poller.sinks.file import FileSink
from poller.sinks.webhook import WebhookSink
from poller.store.store import Store
from poller.tracking.delivery import Subscription
from poller.tracking.pacing import Policy
from poller.tracking.registration import Registration
from poller.tracking.watch import AccountScope
from tests.fakes.api import ACCOUNT, TOKEN, Reply, operation, operation_id
from tests.fakes.event_files import read_events
from tests.fakes.process import until_next_check
from tests.fakes.receiver import Received, Receiver
from tests.faults.wild import WildApi
from tests.oracle import check_promises
from tests.store.template import new_store

__all__ = [
    "FAST",
    "ODD",
    "SECRET",
    "WELL",
    "Clock",
    "Event",
    "Show",
    "Stage",
    "accepted",
    "campaign",
    "file_plan",
    "of",
    "registration",
    "webhook_plan",
]

Event = dict[str, Any]

ODD: Final = operation_id(1)
WELL: Final = operation_id(2)
SECRET: Final = "whsec_" + "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWUtZWl0aGVy"
FAST: Final = Policy(
    min_interval=0.02, max_interval=0.1, progress_interval=0.0, not_found_grace=60.0
)
_PATIENCE: Final = 30.0
_ANY_PORT: Final = Listening(address=TcpAddress(host="127.0.0.1", port=0))


class Clock:
    """The wall clock, moved by as much as it has jumped so far."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        """Return the time that it shows."""
        return datetime.now(UTC) + self.offset

    def jump(self, seconds: float) -> None:
        """Move it; backwards where that is negative."""
        self.offset += timedelta(seconds=seconds)


def campaign(name: str, end: str = "COMPLETED") -> list[Event]:
    """Script an operation from its schedule to its end; counters rise and fall on the way."""
    return [
        operation(name, "SCHEDULED", total=50, scheduled=50),
        operation(name, "PROCESSING", updated=1, total=50, queued=40, sent=5, delivered=5),
        operation(name, "PROCESSING", updated=2, total=50, queued=10, sent=10, delivered=30),
        operation(name, end, updated=3, total=50, delivered=48, failed=2),
    ]


def of(name: str, events: Sequence[Event]) -> list[Event]:
    """Return the events of one operation."""
    return [event for event in events if event["subject"] == name]


def accepted(received: Sequence[Received]) -> list[Event]:
    """First arrivals of what a receiver took, in order."""
    seen: dict[str, Event] = {}
    for request in received:
        if request.accepted:
            seen.setdefault(request.event["id"], request.event)
    return list(seen.values())


def file_plan(path: Path, name: str = "log") -> SinkPlan:
    """Plan a file sink that wants everything."""
    return SinkPlan(
        subscription=Subscription(sink=name),
        key=(name, path),
        make=lambda: FileSink(name=name, path=path),
    )


def webhook_plan(
    receiver: Receiver | str, clock: Clock, *, name: str = "app", **labels: str
) -> SinkPlan:
    """Plan a signed webhook, for operations with these labels."""
    url = receiver if isinstance(receiver, str) else receiver.url
    return SinkPlan(
        subscription=Subscription(sink=name, labels=labels),
        key=(name, url),
        make=lambda: WebhookSink(
            name=name, url=url, secret=SecretStr(SECRET), timeout=2.0, clock=clock
        ),
    )


@dataclass(kw_only=True)
class Show:
    """A daemon that runs, and what there is to see of it."""

    daemon: Daemon
    store: Store
    configuration: Configuration
    path: Path
    logs: Sequence[Mapping[str, Any]]
    ended: bool = False

    @property
    def events(self) -> list[Event]:
        """What is in the file so far."""
        return read_events(self.path)

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        """Return the log lines of one event so far."""
        return [line for line in list(self.logs) if line["event"] == event]

    def has_ended(self, *names: str) -> bool:
        """Whether the last event of each of these operations is in the file."""
        ends = {event["subject"] for event in self.events if event["data"]["final"]}
        return ends.issuperset(names or (ODD, WELL))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds.

        :raises AssertionError: where the daemon ends before, or nothing happens for long.
        """
        begun = anyio.current_time()
        with anyio.move_on_after(_PATIENCE) as patience:
            while not condition():
                assert not self.ended, "the daemon ended by itself"
                await anyio.sleep(until_next_check(anyio.current_time() - begun))
        assert not patience.cancelled_caught, [line["event"] for line in self.logs][-20:]

    async def in_store(self, work: Callable[[Any], Any]) -> None:
        """Hand the daemon's own database connection to `work`, between two transactions."""

        def run() -> None:
            with self.store._database.engine.connect() as connection:
                work(connection.connection.driver_connection)

        await anyio.to_thread.run_sync(run, limiter=self.store._transactions.turn)


@dataclass(kw_only=True)
class Stage:
    """Where daemons run: one scripted API, one directory, one clock."""

    api: WildApi
    directory: Path
    clock: Clock
    logs: Sequence[Mapping[str, Any]]

    @asynccontextmanager
    async def running(
        self,
        *registrations: Registration,
        policy: Policy = FAST,
        sinks: Sequence[SinkPlan] = (),
        base_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        credentials: Callable[[], Credentials] | None = None,
        sweep: bool = False,
    ) -> AsyncIterator[Show]:
        """Run a daemon that watches `registrations`, `ODD` and `WELL` where there are none.

        It writes to a file besides `sinks`, and asks one by one unless `sweep`, so that each
        answer meets its operation. Leaving stops it in order.
        """
        if WELL not in self.api.scripts:
            self.script(WELL, campaign(WELL))
        scope = AccountScope(account=ACCOUNT, base_url=base_url or self.api.base_url)
        path = self.directory / "events.ndjson"
        good = Credentials(username=ACCOUNT, password=SecretStr(TOKEN))
        configuration = Configuration(
            scope=scope,
            policy=policy,
            credentials=credentials or (lambda: good),
            sinks=[file_plan(path), *sinks],
            retention=604_800.0,
            shutdown_grace=5.0,
            request_timeout=1.0,
            sweep=sweep,
        )
        instrument = PrometheusMeter()
        meter = Meter(instrument)
        store = await Store.open(
            new_store(self.directory / "poller.db"),
            scope,
            now=self.clock,
            timed=meter.transacted,
        )
        client = CommsClient(
            base_url=scope.base_url,
            credentials=good,
            timeout=configuration.request_timeout,
            max_connections=4,
            transport=transport,
            now=self.clock,
        )
        throttle = Throttle(
            max_concurrency=4,
            requests_per_second=500,
            probe_interval=policy.max_interval,
            now=self.clock,
            paused=await store.pause(),
        )
        daemon = Daemon(
            store=store,
            client=client,
            throttle=throttle,
            configuration=configuration,
            now=self.clock,
            meter=meter,
        )
        exposition = Exposition(
            instrument, daemon=daemon, store=store, throttle=throttle, version="1", now=self.clock
        )
        show = Show(
            daemon=daemon, store=store, configuration=configuration, path=path, logs=self.logs
        )

        async def run() -> None:
            await daemon.run()
            show.ended = True

        try:
            await daemon.register(registrations or [registration(ODD), registration(WELL)])
            await daemon.open()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                serving = await tasks.start(_serve, daemon, store, exposition.render)
                yield show
                assert not show.ended, "the daemon ended by itself"
                daemon.stop()
                serving.cancel()
        finally:
            await client.aclose()
            await store.aclose()

    def script(self, name: str, replies: Sequence[Reply | Event]) -> None:
        """Say what the next fetches of an operation answer."""
        self.api.script(name, replies)

    async def play(self, replies: Sequence[Reply | Event], **options: Any) -> list[Event]:  # noqa: ANN401 - those of `running`
        """Run until both operations have ended; the events of `ODD`, which was answered so."""
        self.script(ODD, replies)
        async with self.running(**options) as show:
            await show.until(show.has_ended)
        check_promises(show.events)
        ended_as = of(WELL, show.events)[-1]["type"]
        assert ended_as in {"operation.completed", "operation.settled"}
        return of(ODD, show.events)


async def _serve(
    daemon: Daemon, store: Store, metrics: Metrics, *, task_status: TaskStatus[anyio.CancelScope]
) -> None:
    """Serve the control API and the metrics, as a daemon does unless its settings say no."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            await tasks.start(
                partial(serve, daemon, store, _ANY_PORT, version="1", metrics=metrics)
            )
            task_status.started(scope)


def registration(name: str, kind: str = "messages", **labels: str) -> Registration:
    """Build the registration of an operation."""
    return Registration(id=name, kind=kind, labels=labels)
