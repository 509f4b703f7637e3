"""What every test shares: the anyio backend, a guard against blocking calls, and the long runs."""

import logging
from collections.abc import Iterator, Sequence

import pytest
import structlog
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from poller.cli.logs import LibraryLogs
from tests.fakes import defects

defects.listen()
# a machine may be shared: how long an example takes says nothing about the code
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Leave out what runs for minutes, unless `-m` speaks of it."""
    if "soak" in config.getoption("markexpr", ""):
        return
    skip = pytest.mark.skip(reason="runs for minutes; `make soak` runs it")
    for item in items:
        if item.get_closest_marker("soak") is not None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Core code is written against anyio and runs on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_defects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which a `*.defect` or a traceback is logged, here or in a process it started.

    A test that provokes one on purpose is marked `@pytest.mark.defects("the reason")`.
    """
    yield
    found = defects.taken()
    if request.node.get_closest_marker("defects") is None:
        assert not found, "\n".join(found)


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """Fail an async test whose code blocks the event loop, as a slow disk would in production."""
    with blockbuster_ctx("poller"):
        yield


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Take back how a command set up the logs: the stream it chose is closed when its test ends."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, LibraryLogs)]
