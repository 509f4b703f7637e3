"""A house of its own for every test: its store, its door on a free port."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from tests.server.house import House, house


class Build(Protocol):
    """Builds a house; the arguments are those of `house`."""

    def __call__(self, **options: object) -> AbstractAsyncContextManager[House]:
        """Build."""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return what builds the house of this test, with a door as it wants it."""
    return partial(house, tmp_path)


@pytest.fixture(scope="module")
async def shared_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Serve what `door` serves once for the tests of a module that change nothing."""
    async with house(tmp_path_factory.mktemp("shared")) as built:
        yield built


@pytest.fixture
async def door(build: Build) -> AsyncIterator[House]:
    """Open a house with the usual door: loopback, no token."""
    async with build() as built:
        yield built
