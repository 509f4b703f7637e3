"""A simulated API in the event loop of the test, and pollers that ask it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

import poller
from poller.library.base import WatchingApi
from poller.simulator import SimulatedOperation, SimulatorConfig, World, serve

UNKNOWN: Final = "comms_operation_01h9krwprkeee8fzqspvwy6nq8"
FAST: Final[Mapping[str, Mapping[str, object]]] = {
    "api": {"requests_per_second": 10_000},
    "polling": {"min_interval": "20ms", "max_interval": "50ms", "progress_interval": "0s"},
}


class Stage:
    """A simulated API, and what makes pollers for it; `world` has its operations."""

    def __init__(self, world: World, base_url: str, directory: Path) -> None:
        self.world = world
        self.base_url = base_url
        self._directory = directory

    @property
    def account(self) -> dict[str, str]:
        """The arguments of a poller that say which account it is."""
        config = self.world.config
        return {"account_sid": config.account_sid, "auth_token": config.auth_token}

    def embedded(self, store: str = "poller", **tables: Any) -> poller.Poller:  # noqa: ANN401 - tables of settings
        """Make a fast poller with a store of that name."""
        return poller.Poller(
            **self.account,
            base_url=self.base_url,
            store=f"sqlite:///{self._directory / store}.db",
            settings={**FAST, **tables},
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[WatchingApi]:
        """Run a poller with a control API, and speak to it through that."""
        async with self.embedded(server={"listen": "127.0.0.1:0"}) as running:
            assert running.address is not None
            async with poller.connect(running.address, patience=5) as connection:
                yield connection

    def send(self, recipients: int = 5, *, fate: str = "smooth") -> SimulatedOperation:
        """Send to that many; it ends within some hundred milliseconds."""
        return self.world.send(recipients=recipients, fate=fate)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Serve a simulated API whose sends take a tenth of a second."""
    config = SimulatorConfig(seed=3, speed=40)
    world = World(config)
    async with anyio.create_task_group() as tasks:
        base_url = await tasks.start(partial(serve, config, world=world))
        yield Stage(world, base_url, tmp_path)
        tasks.cancel_scope.cancel()


@pytest.fixture(params=["embedded", "connected"])
async def api(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[WatchingApi]:
    """Offer the same methods, in the program and over the control API."""
    made: AbstractAsyncContextManager[WatchingApi] = (
        stage.embedded() if request.param == "embedded" else stage.connected()
    )
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(made)
