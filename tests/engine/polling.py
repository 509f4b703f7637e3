"""A poll loop between a real store and a scripted API, for as long as a block lasts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from poller.comms.errors import CommsError
from poller.engine.poll_loop import PollLoop
from poller.engine.requests import make_caller
from poller.engine.signals import Signals
from poller.engine.supervision import Heartbeats
from tests.engine.scripted import FickleStore, TickingClock
from tests.engine.scripted_api import GOOD, ScriptedApi, configuration

__all__ = ["polling_of"]


@asynccontextmanager
async def polling_of(
    api: ScriptedApi,
    store: FickleStore,
    clock: TickingClock,
    *,
    concurrency: int = 4,
    rate: float = 100_000,
    refused: Callable[[CommsError], None] = lambda _: None,
    has_others: Callable[[], bool] = lambda: False,
) -> AsyncIterator[PollLoop]:
    """Run a poll loop until the end of the block; `refused` is called for every 401 and 403."""
    throttle = api.throttle(clock, concurrency=concurrency, rate=rate)
    async with api.client(clock) as client, anyio.create_task_group() as tasks:
        caller = make_caller(
            client=client,
            throttle=throttle,
            store=store,
            credentials=lambda: GOOD,
            refused=refused,
            now=clock,
        )
        loop = PollLoop(
            store=store,
            caller=caller,
            throttle=throttle,
            configuration=configuration(),
            now=clock,
            signals=Signals(),
            heartbeats=Heartbeats(),
            has_others=has_others,
        )
        tasks.start_soon(loop.run)
        yield loop
        tasks.cancel_scope.cancel()
