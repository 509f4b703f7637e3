"""What breaks on the way: TLS, proxies, names. Each hint says where to look."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener

from poller.comms.errors import Fault, NetworkError
from poller.comms.kinds import DEFAULT_KIND
from tests.comms.conftest import ClientMaker
from tests.comms.scripted import OPERATION_ID, Api, http_answer, operation

pytestmark = pytest.mark.anyio

LOCALHOST = Path(__file__).parent / "localhost.pem"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR".split():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def _answer(stream: ByteStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(http_answer(operation()))


@pytest.fixture
async def secure_url() -> AsyncIterator[str]:
    """Serve an operation over TLS, with a certificate that nobody knows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(LOCALHOST)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as plain,
        anyio.create_task_group() as tasks,
    ):
        port = plain.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - a socket's, not Django's
        secure = TLSListener(plain, ssl_context=context, standard_compatible=False)
        tasks.start_soon(secure.serve, _answer)
        yield f"https://127.0.0.1:{port}/v1"
        tasks.cancel_scope.cancel()


@pytest.mark.defects("the listener of the test logs the handshake that the client broke off")
async def test_an_unknown_certificate_is_refused(secure_url: str, make_client: ClientMaker) -> None:
    """The hint is the variable."""
    with pytest.raises(NetworkError, match=r"not trusted: self.signed certificate") as raised:
        await make_client(base_url=secure_url).fetch_operation(DEFAULT_KIND, OPERATION_ID)
    assert "SSL_CERT_FILE" in raised.value.hint
    assert raised.value.fault is Fault.CONFIGURATION


async def test_ssl_cert_file_makes_it_known(
    secure_url: str, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same answer is read."""
    monkeypatch.setenv("SSL_CERT_FILE", str(LOCALHOST))
    client = make_client(base_url=secure_url)
    assert (await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)).id == OPERATION_ID


async def test_https_towards_http_is_said_to_be_so(make_client: ClientMaker) -> None:
    """A server that does not speak TLS."""

    async def hangs_up(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, hangs_up)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - a socket's, not Django's
        client = make_client(base_url=f"https://127.0.0.1:{port}")
        with pytest.raises(NetworkError, match="does not speak TLS") as raised:
            await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)
        tasks.cancel_scope.cancel()
    assert "must begin with http://" in raised.value.hint


async def test_plain_requests_go_through_the_proxy(
    api: Api, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the whole URL, as proxies want it."""
    monkeypatch.setenv("HTTP_PROXY", api.url.removesuffix("/v1"))
    api.will(http_answer(operation()))
    client = make_client(base_url="http://comms.example/v1")
    await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)
    assert api.requests[0].startswith("GET http://comms.example/v1/Messages/Operations/comms_")


async def test_a_proxy_that_refuses_is_said_to_be_so(
    api: Api, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encrypted requests ask it for a tunnel, without the API's credentials."""
    monkeypatch.setenv("HTTPS_PROXY", api.url.removesuffix("/v1"))
    api.will(http_answer(b"", status=407))
    client = make_client(base_url="https://comms.example/v1")
    with pytest.raises(NetworkError, match=r"HTTPS_PROXY\) wants credentials") as raised:
        await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)
    assert "HTTPS_PROXY" in raised.value.hint
    assert raised.value.fault is Fault.CONFIGURATION
    assert api.requests[0].startswith("CONNECT comms.example:443 ")
    assert "authorization" not in api.requests[0].lower()


async def test_a_dead_proxy_is_named(
    api: Api, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not `api.base_url`, which is right."""
    del api
    monkeypatch.setenv("HTTP_PROXY", "http://me:sesame@127.0.0.1:9")
    client = make_client(base_url="http://comms.example/v1")
    with pytest.raises(NetworkError) as raised:
        await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)
    assert "refused by the proxy 127.0.0.1:9 (HTTP_PROXY)" in str(raised.value)
    assert "base_url" not in str(raised.value)
    assert "sesame" not in str(raised.value)


async def test_renewed_connections(api: Api, make_client: ClientMaker) -> None:
    """The next request takes a fresh one, which looks the host up again."""
    client = make_client()
    api.will(*[http_answer(operation())] * 3)
    for _ in range(2):
        await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)
    before = api.connections
    await client.renew_connections()
    await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)
    assert (before, api.connections) == (1, 2)
