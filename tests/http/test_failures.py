"""What is said when a request brings no answer: real failures of real sockets, in plain words."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from poller.http.failures import (
    WANTS_HTTP,
    WANTS_HTTPS,
    Failure,
    describe_answer,
    describe_failure,
    describe_timeout,
)
from poller.http.route import Route, find_route
from poller.http.transport import TROUBLE, open_transport

pytestmark = pytest.mark.anyio

LOCALHOST = Path(__file__).parents[1] / "comms" / "localhost.pem"
DIRECT = Route.direct("https://hooks.example.com/x")
PROXIED = find_route("https://hooks.example.com", {"HTTPS_PROXY": "http://me:sesame@proxy:3128"})
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@asynccontextmanager
async def served(
    handle: Callable[[ByteStream], Awaitable[None]], *, tls: bool = False
) -> AsyncIterator[str]:
    """Serve on a port of its own; yields host and port."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as plain,
        anyio.create_task_group() as tasks,
    ):
        port = plain.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - a socket's, not Django's
        listener: TLSListener | anyio.abc.Listener[anyio.abc.SocketStream] = plain
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(LOCALHOST)
            listener = TLSListener(plain, ssl_context=context, standard_compatible=False)
        tasks.start_soon(listener.serve, handle)
        yield f"127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


def answers(data: bytes) -> Callable[[ByteStream], Awaitable[None]]:
    """Read something, send `data`, and close."""

    async def handle(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(data)

    return handle


async def failure(url: str, **environ: str) -> Failure:
    """Ask `url` over a real transport; return what is said about the failure."""
    route = find_route(url, environ)
    transport = open_transport(route, max_connections=1)
    try:
        response = await transport.handle_async_request(httpx.Request("GET", url))
        await response.aread()
    except TROUBLE as error:
        return describe_failure(error, route)
    finally:
        await transport.aclose()
    found = describe_answer(response.status_code, response.content, route)
    assert found is not None, response.status_code
    return found


def closed_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_a_refused_connection() -> None:
    """By the server, or by the proxy, which is then what must be looked at."""
    port = closed_port()
    for scheme in ("http", "https"):
        found = await failure(f"{scheme}://127.0.0.1:{port}")
        assert found == Failure(happened=f"connection refused by 127.0.0.1:{port}")
        variable = f"{scheme.upper()}_PROXY"
        found = await failure(
            f"{scheme}://app.invalid", **{variable: f"http://me:sesame@127.0.0.1:{port}"}
        )
        assert str(found) == (
            f"connection refused by the proxy 127.0.0.1:{port} ({variable}); "
            f"check {variable} and the proxy, or name app.invalid in NO_PROXY"
        )


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        ("407 Whatever", "wants credentials (407)", "HTTPS_PROXY as http://user:password@"),
        ("403 Forbidden", "does not connect to app.invalid:443: 403 Forbidden", "HTTPS_PROXY"),
        ("502 <b>", "does not connect to app.invalid:443: 502 Bad Gateway", "HTTPS_PROXY"),
    ],
)
async def test_a_proxy_that_refuses_a_tunnel(status: str, said: str, hint: str) -> None:
    """The variable is the one that named it."""
    async with served(answers(f"HTTP/1.1 {status}\r\n\r\n".encode())) as proxy:
        found = await failure("https://app.invalid", HTTPS_PROXY=f"http://{proxy}")
    assert found.happened == f"the proxy {proxy} (HTTPS_PROXY) {said}"
    assert hint in str(found.hint)
    assert found.is_configuration == status.startswith("407")


async def test_a_proxy_that_wants_other_credentials() -> None:
    """Those that it has are not repeated."""
    reply = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    async with served(answers(reply)) as proxy:
        found = await failure("http://app.invalid", all_proxy=f"http://me:sesame@{proxy}")
    assert found.happened == f"the proxy {proxy} (all_proxy) refuses the credentials (407)"
    assert "sesame" not in str(found)


@pytest.mark.parametrize(
    ("scheme", "reply", "said", "hint"),
    [
        ("http", b"", "closed the connection without a complete answer", WANTS_HTTPS),
        ("http", TLS_ALERT, "answered, but not in HTTP/1.1", WANTS_HTTPS),
        ("http", b"SSH-2.0-OpenSSH_9\r\n\r\n", "answered, but not in HTTP/1.1", WANTS_HTTPS),
        (
            "http",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            "closed the connection in the middle of the answer",
            None,
        ),
        (
            "http",
            b"HTTP/1.1 400 Bad Request\r\n\r\n<p>The plain HTTP request was sent to HTTPS port</p>",
            "expects TLS",
            WANTS_HTTPS,
        ),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS", WANTS_HTTP),
        ("https", b"", "closed the connection during the TLS handshake", WANTS_HTTP),
    ],
)
async def test_what_a_server_does_instead(
    scheme: str, reply: bytes, said: str, hint: str | None
) -> None:
    """A scheme that does not fit the port is asked about."""
    async with served(answers(reply)) as server:
        found = await failure(f"{scheme}://{server}/")
    assert (found.happened, found.hint) == (f"{server} {said}", hint)


@pytest.mark.defects("the server of the test logs the handshake that fails")
async def test_http_at_a_port_for_tls() -> None:
    """Python's servers close such connections without a word."""
    async with served(answers(b""), tls=True) as server:
        found = await failure(f"http://{server}")
    assert found.hint == WANTS_HTTPS


async def test_a_certificate_that_nobody_knows() -> None:
    """The hint is the variable."""
    async with served(answers(b""), tls=True) as server:
        found = await failure(f"https://{server}")
    assert found.happened.startswith(f"the TLS certificate of {server} is not trusted: self")
    assert "SSL_CERT_FILE" in str(found.hint)
    assert found.is_configuration


@pytest.mark.parametrize(
    ("code", "words", "hint"),
    [(62, "Hostname mismatch.", "host in the URL"), (10, "certificate has expired", "renewed")],
)
def test_a_certificate_that_does_not_fit(code: int, words: str, hint: str) -> None:
    """Another authority would not help."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, words
    found = describe_failure(error, DIRECT)
    assert found.happened.endswith(f"hooks.example.com:443 is not trusted: {words.rstrip('.')}")
    assert hint in str(found.hint)


async def test_a_proxy_that_does_not_speak_tls() -> None:
    """`https://` before the address of a proxy is a usual mistake."""
    async with served(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as proxy:
        found = await failure("https://app.invalid", HTTPS_PROXY=f"https://{proxy}")
    assert str(found) == (
        f"the proxy {proxy} (HTTPS_PROXY) does not speak TLS; "
        "check whether the address in HTTPS_PROXY must begin with http://"
    )


def test_a_name_that_does_not_resolve() -> None:
    """The cause is found under whatever the library wrapped it in."""
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    wrapped = httpx.ConnectError("All connection attempts failed")
    wrapped.__cause__ = ExceptionGroup("all failed", [unknown])
    assert describe_failure(wrapped, DIRECT).happened == (
        "the name hooks.example.com does not resolve"
    )
    assert describe_failure(wrapped, PROXIED).happened == (
        "the name proxy, the host of the proxy proxy:3128 (HTTPS_PROXY), does not resolve"
    )
    silent = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert "no DNS server answers" in describe_failure(silent, DIRECT).happened


def test_a_socket_that_is_not_there() -> None:
    """The path is named, and who may use it."""
    route = Route(scheme="http", host="localhost", port=80, socket="/run/poller.sock")
    assert describe_failure(FileNotFoundError(2, "x"), route).happened == (
        "there is no socket /run/poller.sock"
    )
    assert "may not use" in describe_failure(PermissionError(13, "x"), route).happened


def test_a_timeout_names_the_proxy() -> None:
    """For it may be the one that hangs."""
    assert describe_timeout(DIRECT, 15.0) == Failure(happened="no complete answer within 15 s")
    found = describe_timeout(PROXIED, 2.5)
    assert (
        found.happened
        == "no complete answer within 2.5 s through the proxy proxy:3128 (HTTPS_PROXY)"
    )
    assert "NO_PROXY" in str(found.hint)


@pytest.mark.parametrize("route", [DIRECT, PROXIED], ids=["direct", "proxied"])
def test_no_sentence_holds_a_class_or_a_number(route: Route) -> None:
    """Whatever the library raises, with words or without."""
    errors: list[BaseException] = [
        kind(text)
        for kind in (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.ReadError,
            httpx.ReadTimeout,
            httpx.WriteError,
            httpx.RemoteProtocolError,
            httpx.LocalProtocolError,
            httpx.ProxyError,
        )
        for text in ("", "[Errno 99] banana")
    ]
    errors += [anyio.BrokenResourceError(), anyio.ClosedResourceError(), anyio.EndOfStream()]
    errors += [TimeoutError(), OSError(99, "banana"), ConnectionResetError(104, "banana")]
    for error in errors:
        said = str(describe_failure(error, route))
        assert "hooks.example.com" in said or "proxy:3128" in said or "no complete answer" in said
        assert not any(word in said for word in ("Error", "Errno", "Timeout", "banana", "sesame"))
        assert type(error).__name__ not in said
