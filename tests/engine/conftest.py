"""A store, its clock, and stages on which dispatchers run."""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest
from structlog.testing import capture_logs

from tests.engine.scripted import FickleStore, ScriptedSink, Stage, TickingClock, open_store
from tests.store.scenes import Clock


class Running(Protocol):
    """Runs a dispatcher for a sink until the end of the block."""

    def __call__(self, sink: ScriptedSink) -> AbstractAsyncContextManager[Stage]:
        """Configure the sink and run."""


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the test."""
    return TickingClock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[FickleStore]:
    """Open an empty store."""
    store = await open_store(tmp_path / "poller.db", clock)
    yield store
    await store.aclose()


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect the log lines of the test."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def running(
    store: FickleStore,
    clock: Clock,
    logs: object,  # noqa: ARG001 - kept from the terminal
) -> Running:
    """Return what runs dispatchers."""

    @asynccontextmanager
    async def run(sink: ScriptedSink) -> AsyncIterator[Stage]:
        stage = await Stage.build(store, clock, sink)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stage.run)
            yield stage
            tasks.cancel_scope.cancel()

    return run
