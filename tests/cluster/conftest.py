"""A PostgreSQL database, an API that counts, and real daemons that share both."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet
from tests.fakes.api import FakeApi
from tests.store.cluster import Cluster


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """Run the API."""
    with FakeApi() as api:
        yield api


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """Return the URL of an empty database."""
    name = cluster.create()
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def fleet(url: str, api: FakeApi, tmp_path: Path) -> Iterator[Fleet]:
    """Return what starts daemons on a database of their own; they are killed at the end."""
    with ExitStack() as stack:
        yield Fleet(url, api, tmp_path, stack)
