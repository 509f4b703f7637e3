"""What every test shares: the anyio backend, and a guard against blocking calls on the loop."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Core code is written against anyio and runs on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """Fail an async test whose code blocks the event loop, the way a slow disk would in production."""
    with blockbuster_ctx("poller"):
        yield
