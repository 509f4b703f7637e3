"""A daemon behind its control API, for tests: a store, a clock set by hand, real sockets.

The loops do not run unless a test says so; what the API would have answered is recorded by the
test itself, through `scene`.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.abc import TaskStatus
from pydantic import SecretStr

from poller.addresses import ListenAddress, TcpAddress
from poller.comms.client import CommsClient
from poller.comms.credentials import Credentials
from poller.comms.throttle import Throttle
from poller.engine.configuration import Configuration
from poller.engine.daemon import Daemon
from poller.engine.meter import NO_METER, Meter
from poller.server.control import ClientLimits, Metrics
from poller.server.hints import HintAccess
from poller.server.listening import Listening
from poller.server.serving import Bound, serve
from poller.store.store import Store
from poller.tracking.delivery import Subscription
from tests.fakes.tls import NO_TLS
from tests.store.scenes import APP, HOME, POLICY, Clock, configure, entropy, seen
from tests.store.scenes import Daemon as Scene
from tests.store.template import new_store

__all__ = ["ServedDaemon", "ServerSentEvent", "read_events", "serve_daemon"]

ANYWHERE = TcpAddress(host="127.0.0.1", port=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One message of an event stream; `type` is "" where none was said."""

    id: str
    type: str
    data: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - any JSON
        """The data as JSON."""
        return json.loads(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDaemon:
    """Everything that a test of the control API talks about."""

    client: httpx.AsyncClient
    store: Store
    daemon: Daemon
    scene: Scene
    throttle: Throttle
    bound: Bound
    serving: anyio.CancelScope

    async def record(
        self,
        operation: str,
        status: str,
        *,
        kind: str = "messages",
        to: Sequence[Subscription] = (APP,),
        stats: Mapping[str, int] | None = None,
        **members: object,
    ) -> list[str]:
        """Record an answer as the poll loop does; returns the ids of its events."""
        answer = seen(operation, status, at=self.scene.clock(), stats=stats, **members)
        [observation] = await self.scene.record((operation, answer), kind=kind, to=to)
        self.daemon.signals.events.notify()
        return [event.id for event in observation.events]

    async def get(self, path: str, **params: Any) -> Any:  # noqa: ANN401 - any JSON
        """Get a document that is there."""
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def follow(
        self, last_event_id: str | None = None, **params: object
    ) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        """Follow the event stream."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        query: dict[str, Any] = dict(params)
        request = self.client.stream("GET", "/v1/events", params=query, headers=headers)
        async with request as answer:
            assert answer.status_code == 200, (await answer.aread()).decode()
            yield read_events(answer)

    def stop(self) -> None:
        """Stop the server, as the end of the daemon does."""
        self.serving.cancel()


async def read_events(answer: httpx.Response) -> AsyncIterator[ServerSentEvent]:
    """Read an event stream as its specification says."""
    members: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line:
            if members.keys() & {"id", "data"}:
                yield ServerSentEvent(
                    id=members.get("id", ""),
                    type=members.get("event", ""),
                    data=members.get("data", ""),
                )
            members = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            members[name] = value


@asynccontextmanager
async def serve_daemon(  # noqa: PLR0913 - what a test may want otherwise
    directory: Path,
    *,
    address: ListenAddress | None = ANYWHERE,
    observe: ListenAddress | None = None,
    hints: ListenAddress | None = None,
    hint_access: HintAccess | None = None,
    meter: Meter = NO_METER,
    token: str | None = None,
    public_url: str = "",
    limits: ClientLimits | None = None,
    metrics: Metrics | None = None,
    loops: bool = False,
    home: Any = HOME,  # noqa: ANN401 - a Home
) -> AsyncIterator[ServedDaemon]:
    """Open a store with the sink `app`, and the control API to it."""
    clock = Clock()
    listening = Listening(
        address=address,
        observe=observe,
        hints=hints,
        token=None if token is None else SecretStr(token),
        public_url=public_url,
    )
    async with AsyncExitStack() as stack:
        url = new_store(directory / "poller.db")
        store = await Store.open(url, home, now=clock, random=entropy())
        stack.push_async_callback(store.aclose)
        await configure(store, "app")
        throttle = Throttle(
            max_concurrency=4, requests_per_second=100, probe_interval=60, now=clock
        )
        daemon = await stack.enter_async_context(_daemon(store, throttle, clock, home, meter))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        if loops:
            tasks.start_soon(daemon.run)
        serving = anyio.CancelScope()

        async def run(*, task_status: TaskStatus[Bound]) -> None:
            with serving:
                await serve(
                    daemon,
                    store,
                    listening,
                    version="1",
                    limits=limits,
                    metrics=metrics,
                    hint_access=hint_access,
                    meter=meter,
                    task_status=task_status,
                )

        bound = await tasks.start(run)
        client = await stack.enter_async_context(client_of(bound, token))
        scene = Scene(store, clock, "test")
        yield ServedDaemon(
            client=client,
            store=store,
            daemon=daemon,
            scene=scene,
            throttle=throttle,
            bound=bound,
            serving=serving,
        )


def client_of(bound: Bound, token: str | None = None) -> httpx.AsyncClient:
    """Make a client of the control API, or of the observer where there is nothing else."""
    url = bound.address or bound.observe or ""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx.AsyncHTTPTransport(
        uds=url.removeprefix("unix:") if url.startswith("unix:") else None,
        verify=NO_TLS,
    )
    return httpx.AsyncClient(
        base_url="http://localhost" if url.startswith("unix:") else url,
        headers=headers,
        transport=transport,
        timeout=30,
        trust_env=False,
    )


@asynccontextmanager
async def _daemon(
    store: Store,
    throttle: Throttle,
    clock: Clock,
    home: Any,  # noqa: ANN401 - a Home
    meter: Meter,
) -> AsyncIterator[Daemon]:
    credentials = Credentials(username="AC1", password=SecretStr("secret"))
    configuration = Configuration(
        scope=home,
        policy=POLICY,
        credentials=lambda: credentials,
        sinks=[],
        retention=86_400,
        shutdown_grace=1,
        request_timeout=1,
    )
    client = CommsClient(
        base_url="http://127.0.0.1:9/v1",
        credentials=credentials,
        timeout=1,
        max_connections=1,
        now=clock,
    )
    async with client:
        yield Daemon(
            store=store,
            client=client,
            throttle=throttle,
            configuration=configuration,
            now=clock,
            meter=meter,
        )
