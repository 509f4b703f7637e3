"""A simulator on a real socket, with a clock that moves only when a test says so."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from poller.simulator import SimulatorConfig, World, serve
from tests.fakes.tls import NO_TLS

Query = Mapping[str, str | int]
# the simulator speaks no TLS, and to read every root certificate took longer than most tests


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 22, 10, tzinfo=UTC))

    def __call__(self) -> datetime:
        """Return the instant."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass
class Simulator:
    """A simulator that is being served, and a client that knows its credentials."""

    url: str
    config: SimulatorConfig
    world: World
    clock: Clock
    client: httpx.AsyncClient

    async def get(self, path: str, query: Query | None = None, *, expect: int = 200) -> Any:  # noqa: ANN401 - JSON
        """Fetch a path under the base URL; return the decoded answer."""
        answer = await self.client.get(f"{self.url}{path}", params=query)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def control(
        self, method: str, path: str, body: object = None, *, status: int = 200
    ) -> Any:  # noqa: ANN401 - JSON
        """Use one of the simulator's own routes, without credentials."""
        url = self.url.removesuffix("/v1") + f"/_simulator/{path}"
        answer = await self.client.request(method, url, json=body, auth=None)
        assert answer.status_code == status, answer.text
        return answer.json()


async def listed(simulator: Simulator, path: str = "/Messages", **query: str | int) -> list[Any]:
    """Return all messages that a query finds, page by page."""
    found: list[Any] = []
    query.setdefault("pageSize", 1000)
    while True:
        page = await simulator.get(path, query)
        items = page[next(name for name in page if name != "pagination")]
        assert len(items) <= int(query["pageSize"])
        found += items
        if page["pagination"]["next"] is None:
            return found
        query["pageToken"] = page["pagination"]["next"]


@pytest.fixture
def clock() -> Clock:
    """Return a clock at a fixed instant."""
    return Clock()


@pytest.fixture
async def simulator(clock: Clock) -> AsyncIterator[Simulator]:
    """Serve a simulator without faults."""
    config = SimulatorConfig(seed=7)
    world = World(config, clock=clock)
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(lambda **options: serve(config, world=world, **options))
        auth = (config.account_sid, config.auth_token)
        async with httpx.AsyncClient(auth=auth, trust_env=False, verify=NO_TLS) as client:
            yield Simulator(url, config, world, clock, client)
        tasks.cancel_scope.cancel()
