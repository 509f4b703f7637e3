"""A scripted server on a port of its own, and clients that ask it."""

from collections.abc import AsyncIterator, Callable

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute

from poller.comms.client import CommsClient
from tests.comms.scripted import CREDENTIALS, NOW, Api, Clock

ClientMaker = Callable[..., CommsClient]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Serve scripted answers on a port of its own."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener,
        anyio.create_task_group() as tasks,
    ):
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - a socket's, not Django's
        server = Api(f"http://127.0.0.1:{port}/v1")
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def make_client(api: Api) -> AsyncIterator[ClientMaker]:
    """Make clients of the scripted server; they are closed afterwards."""
    made: list[CommsClient] = []

    def make(
        *,
        base_url: str = api.url,
        timeout: float = 5.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> CommsClient:
        client = CommsClient(
            base_url=base_url,
            credentials=CREDENTIALS,
            timeout=timeout,
            max_connections=4,
            transport=transport,
            now=lambda: NOW,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: ClientMaker) -> CommsClient:
    """Ask the scripted server."""
    return make_client()


@pytest.fixture
def clock() -> Clock:
    """Stand still at a fixed instant."""
    return Clock()
