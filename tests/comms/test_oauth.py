"""OAuth over real sockets: tokens of the simulator, and a service that misbehaves."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler

import anyio
import httpx
import pytest
from pydantic import SecretStr

from poller.comms.client import CommsClient
from poller.comms.credentials import OAuthCredentials
from poller.comms.errors import CommsError, NetworkError, ServerError, Unauthorized, Unexpected
from poller.comms.kinds import KINDS
from poller.comms.oauth import TokenSource
from poller.simulator import SimulatorConfig, serve
from tests.comms.scripted import Clock
from tests.fakes.served import Served

pytestmark = pytest.mark.anyio

CONFIG = SimulatorConfig(seed=5, token_seconds=300)
SECRET = "client-secret"


@dataclass(frozen=True)
class Account:
    """A simulator, and what OAuth knows of its client."""

    base_url: str
    credentials: OAuthCredentials

    def client(self, credentials: OAuthCredentials | None = None) -> CommsClient:
        """Make a client of the API."""
        return CommsClient(
            base_url=self.base_url,
            credentials=credentials or self.credentials,
            timeout=5,
            max_connections=4,
            now=Clock(),
        )

    async def revoke(self) -> None:
        """End all tokens."""
        url = f"{self.base_url.removesuffix('/v1')}/_simulator/tokens"
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.delete(url)).is_success


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    """Serve a simulator."""
    async with anyio.create_task_group() as tasks:
        base_url: str = await tasks.start(partial(serve, CONFIG))
        credentials = OAuthCredentials(
            client_id=CONFIG.oauth_client_id,
            client_secret=SecretStr(CONFIG.oauth_client_secret),
            token_url=base_url.removesuffix("/v1") + "/v2/token",
        )
        yield Account(base_url, credentials)
        tasks.cancel_scope.cancel()


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note every request of a token."""
    noted: list[float] = []
    request = TokenSource._request

    async def note(source: TokenSource, timeout: float) -> None:  # noqa: ASYNC109 - as the original
        noted.append(timeout)
        await request(source, timeout)

    monkeypatch.setattr(TokenSource, "_request", note)
    return noted


async def ask(client: CommsClient) -> None:
    """Ask the API for anything."""
    await client.list_operations(KINDS["messages"], page_size=1)


async def test_one_token_serves_many_requests(account: Account, requested: list[float]) -> None:
    """Also those that begin together."""
    async with account.client() as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, client)
        await ask(client)
        client.use(replace(account.credentials))
        await ask(client)
    assert len(requested) == 1


async def test_a_token_is_renewed_before_it_ends(
    account: Account, requested: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute or a tenth of its life before, whichever is longer."""
    now = anyio.current_time()
    passed = 0.0
    monkeypatch.setattr(anyio, "current_time", lambda: now + passed)
    source = TokenSource(account.credentials, now=Clock())
    first = await source.authorization(timeout=5)
    passed = 239
    assert await source.authorization(timeout=5) == first
    passed = 241
    assert await source.authorization(timeout=5) != first
    assert len(requested) == 2
    await source.aclose()


async def test_a_revoked_token_is_replaced_once(account: Account, requested: list[float]) -> None:
    """The API answers 401, and the same request goes on with another token."""
    async with account.client() as client:
        await ask(client)
        await account.revoke()
        await ask(client)
    assert len(requested) == 2


async def test_a_client_that_is_refused_pauses_the_account(account: Account) -> None:
    """As wrong Basic credentials do; the message names the settings and no secret."""
    wrong = replace(account.credentials, client_secret=SecretStr(SECRET))
    async with account.client(wrong) as client:
        with pytest.raises(Unauthorized) as refused:
            await ask(client)
        assert "api.oauth_client_secret" in str(refused.value)
        assert SECRET not in f"{refused.value!r} {refused.value} {wrong!r}"
        client.use(account.credentials)
        await ask(client)


def service(status: int, body: bytes) -> type[BaseHTTPRequestHandler]:
    """Make a service that always answers so."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Service


@asynccontextmanager
async def source_of(status: int, body: bytes) -> AsyncIterator[TokenSource]:
    """Give a source whose service answers so."""
    with Served(service(status, body)) as served:
        url = f"http://127.0.0.1:{served.port}/v2/token"
        credentials = OAuthCredentials(
            client_id="OQ1", client_secret=SecretStr(SECRET), token_url=url
        )
        source = TokenSource(credentials, now=Clock())
        yield source
        await source.aclose()


def token(**members: object) -> bytes:
    """Write an answer."""
    return json.dumps({"access_token": "abc", **members}).encode()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error": "invalid_client"}', Unauthorized),
        (403, b"", Unauthorized),
        (404, b"<html>", Unauthorized),
        (500, SECRET.encode(), ServerError),
        (200, b"<html>", Unexpected),
        (200, b"[]", Unexpected),
        (200, b"{}", Unexpected),
        (200, token(access_token=7), Unexpected),
        (200, token(access_token="a b"), Unexpected),
        (200, token(access_token="a\r\nX: y"), Unexpected),
        (200, token(expires_in=0), Unexpected),
        (200, token(expires_in="soon"), Unexpected),
        (200, token(expires_in=1e999), Unexpected),
        (302, b"", Unexpected),
    ],
)
async def test_a_service_that_gives_no_token(
    status: int, body: bytes, error: type[CommsError]
) -> None:
    """Each is an error of its own class: none says anything about what was asked for."""
    async with source_of(status, body) as source:
        with pytest.raises(error) as refused:
            await source.authorization(timeout=5)
        assert type(refused.value) is error
        assert SECRET not in str(refused.value)


async def test_a_service_that_is_not_there() -> None:
    """An outage like any other."""
    credentials = OAuthCredentials(
        client_id="OQ1", client_secret=SecretStr(SECRET), token_url="http://127.0.0.1:9/token"
    )
    source = TokenSource(credentials, now=Clock())
    with pytest.raises(NetworkError):
        await source.authorization(timeout=5)
    await source.aclose()


async def test_an_outage_of_the_service_ends_no_good_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is due for renewal serves until its end, and the service is not asked each time."""
    now, passed = anyio.current_time(), 0.0
    monkeypatch.setattr(anyio, "current_time", lambda: now + passed)
    async with source_of(200, token(expires_in=300)) as source:
        assert await source.authorization(timeout=5) == "Bearer abc"
        tries = []

        async def fail(timeout: float) -> None:  # noqa: ASYNC109 - as the original
            tries.append(timeout)
            raise NetworkError("get an OAuth token", "no connection")

        monkeypatch.setattr(source, "_request", fail)
        passed = 250
        for _ in range(3):
            assert await source.authorization(timeout=5) == "Bearer abc"
        assert len(tries) == 1
        passed = 301
        with pytest.raises(NetworkError):
            await source.authorization(timeout=5)


def test_secrets_are_taken_out_of_what_is_said() -> None:
    """An answer may echo them."""
    credentials = OAuthCredentials(
        client_id="OQ1", client_secret=SecretStr(SECRET), token_url="http://h/token"
    )
    source = TokenSource(credentials, now=Clock())
    source._token = SecretStr("abc")
    redact: Callable[[str], str] = source.redact
    assert redact(f"{SECRET} and abc") == "********** and **********"
