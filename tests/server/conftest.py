"""A daemon of its own for every test: its store, its control API on a free port."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from tests.server.served import ServedDaemon, serve_daemon


class Build(Protocol):
    """Serves a daemon; the arguments are those of `serve_daemon`."""

    def __call__(self, **options: object) -> AbstractAsyncContextManager[ServedDaemon]:
        """Serve a daemon until the end of the block."""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that serves a daemon with the control API that the test asks for."""
    return partial(serve_daemon, tmp_path)


@pytest.fixture(scope="module")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServedDaemon]:
    """Serve what `server` serves once for the tests of a module that change nothing."""
    async with serve_daemon(tmp_path_factory.mktemp("shared")) as built:
        yield built


@pytest.fixture
async def server(build: Build) -> AsyncIterator[ServedDaemon]:
    """Serve a daemon with the usual control API: loopback, no token."""
    async with build() as built:
        yield built
