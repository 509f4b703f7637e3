"""Connections that misbehave, byte by byte."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import ByteStream
from structlog.testing import capture_logs

from poller.addresses import UnixAddress
from poller.server.control import ClientLimits
from poller.store.errors import StoreUnavailable
from tests.server.conftest import Build
from tests.server.served import ServedDaemon

pytestmark = pytest.mark.anyio

ODD_HOSTS = (b"[", b"a b", b"@", b"x:y", b"\xff", b"http://x/", b"")
ODD_TARGETS = (
    b"/page",
    b"//",
    b"*",
    b"http://x:y/",
    b"/%ff%00",
    b"/v1/operations/%ff?%ff=%00",
    b"/page?x",
)
REFUSALS = {400, 404, 405, 422}
UNKNOWN_PATHS = (
    "/v1",
    "/page",
    "/page/none.js",
    "/v2/operations",
    "/v1/operations/",
    "/docs",
    "/..%2f",
)
UNKNOWN_METHODS = (
    ("PUT", "/v1/operations", "GET, HEAD, POST"),
    ("PATCH", "/v1/operations/x", "DELETE, GET, HEAD"),
    ("GET", "/v1/events/x/replay", "POST"),
    ("OPTIONS", "/v1/sinks", "GET, HEAD"),
    ("TRACE", "/healthz", "GET, HEAD"),
    ("BREW", "/v1/events", "GET, HEAD"),
)
HASTY = ClientLimits(head_seconds=0.3, body_seconds=0.2, keep_alive_seconds=1)


async def connect(server: ServedDaemon) -> ByteStream:
    """Open a connection of our own."""
    url = httpx.URL(str(server.bound.address))
    return await anyio.connect_tcp("127.0.0.1", url.port or 0)


async def read_to_end(stream: ByteStream) -> bytes:
    """Read until the other side hangs up."""
    received = b""
    with anyio.fail_after(20):
        try:
            while True:
                received += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return received


def problem(received: bytes) -> tuple[int, Any]:
    """Split the first answer into its status and its problem details."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    return int(head.split()[1]), json.loads(body[:length])


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 100_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["words", "no-host", "header", "tls", "endless", "length", "chunks", "http2"],
)
async def test_what_is_no_http_is_answered_and_dropped(
    shared_server: ServedDaemon, sent: bytes
) -> None:
    """400 problem details where an answer is possible, and the line is cut."""
    async with await connect(shared_server) as stream:
        await stream.send(sent)
        if sent.startswith(b"\x16"):
            await stream.send(b"\r\n\r\n")
        received = await read_to_end(stream)
    status, details = problem(received)
    assert status in {400, 403, 404}
    assert details["type"].startswith("urn:comms-poller:problem:")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: local"])
async def test_a_request_that_never_comes_is_not_waited_for(build: Build, sent: bytes) -> None:
    """A client that sends nothing, or half a request, loses the connection."""
    async with build(limits=HASTY) as server, await connect(server) as stream:
        if sent:
            await stream.send(sent)
        assert await read_to_end(stream) == b""


async def test_a_trickle_does_not_lengthen_the_wait(build: Build) -> None:
    """The time runs from the first byte, however many come after it."""
    async with build(limits=HASTY) as server, await connect(server) as stream:
        with anyio.fail_after(20), pytest.raises(anyio.BrokenResourceError):
            await trickle(stream)


async def trickle(stream: ByteStream) -> None:
    """Send a byte now and then, for ever."""
    while True:
        await stream.send(b"G")
        await anyio.sleep(0.05)


async def test_a_body_that_never_comes_is_a_problem(build: Build) -> None:
    """408, and then the connection goes."""
    limits = ClientLimits(body_seconds=0.2, keep_alive_seconds=1)
    async with build(limits=limits) as server, await connect(server) as stream:
        await stream.send(
            b"POST /v1/operations HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        status, details = problem(await read_to_end(stream))
    assert (status, details["type"]) == (408, "urn:comms-poller:problem:slow-body")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_may_not_be_too_large(build: Build, declared: bool) -> None:  # noqa: FBT001
    """413 with how much there may be, said at once or found out on the way."""
    async with build(limits=ClientLimits(body_bytes=1000)) as server:

        async def chunks() -> Any:  # noqa: ANN401 - an iterator of bytes
            for _ in range(20):
                yield b"x" * 100

        answer = await server.client.post(
            "/v1/operations",
            content=b"x" * 2000 if declared else chunks(),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["detail"]
        assert (await server.client.get("/v1/sinks")).status_code == 200


async def test_too_many_connections_are_turned_away(build: Build) -> None:
    """503 problem details instead of a queue without end."""
    async with build(limits=ClientLimits(connections=1)) as server, await connect(server):
        answer = await server.client.get("/v1/sinks")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:comms-poller:problem:crowded"


async def test_an_idle_connection_is_closed(build: Build) -> None:
    """After an answer it is kept for the next request, but not for ever."""
    async with build(limits=HASTY) as server, await connect(server) as stream:
        await stream.send(b"GET /v1/sinks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = await read_to_end(stream)
    assert received.startswith(b"HTTP/1.1 200")


async def test_an_unknown_path_is_a_problem(shared_server: ServedDaemon) -> None:
    """404 problem details, never a page or a redirect."""
    for path in UNKNOWN_PATHS:
        answer = await shared_server.client.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json", path


async def test_no_host_and_no_target_is_too_odd(build: Build, tmp_path: Path) -> None:
    """Where any Host will do, the oddest one breaks nothing."""
    head = b" HTTP/1.1\r\nConnection: close\r\nHost: "
    answers = {}
    async with build(address=UnixAddress(path=tmp_path / "s")):
        for host, target in product(ODD_HOSTS, ODD_TARGETS):
            async with await anyio.connect_unix(tmp_path / "s") as stream:
                await stream.send(b"GET " + target + head + host + b"\r\n\r\n")
                answers[host, target], _ = problem(await read_to_end(stream))
    assert {case: status for case, status in answers.items() if status not in REFUSALS} == {}


async def test_an_unknown_method_is_a_problem(shared_server: ServedDaemon) -> None:
    """405 with all methods that there are."""
    for method, path, allowed in UNKNOWN_METHODS:
        answer = await shared_server.client.request(method, path)
        assert answer.status_code == 405, (method, path)
        assert answer.headers["allow"] == allowed, (method, path)
        assert answer.json()["type"] == "urn:comms-poller:problem:method"


async def test_head_is_answered_as_get_without_a_body(shared_server: ServedDaemon) -> None:
    """Every GET route, also a refusal: the same status and media type, and the stream ends."""
    for path in ("/", "/page/app.js", "/healthz", "/readyz", "/v1/sinks", "/v1/groups/none", "/no"):
        got = await shared_server.client.get(path)
        head = await shared_server.client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
    with anyio.fail_after(5):
        stream = await shared_server.client.head("/v1/events")
    assert stream.headers["content-type"].startswith("text/event-stream")


@pytest.mark.defects("a route that raises")
@pytest.mark.parametrize("path", ["/metrics", "/v1/sinks"])
async def test_a_defect_of_ours_shows_no_inside(
    build: Build, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """500 problem details, with the framework and without; the traceback is in the log alone."""

    async def broken(*_: object) -> tuple[bytes, str]:
        raise RuntimeError("the inside")

    with capture_logs() as logs:
        async with build(metrics=broken) as server:
            monkeypatch.setattr(server.store, "sinks", broken)
            answer = await server.client.get(path)
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:comms-poller:problem:defect"
    assert "inside" not in answer.text
    [defect] = [line for line in logs if line["event"] == "server.defect"]
    assert (defect["method"], defect["path"]) == ("GET", path)


@pytest.mark.parametrize("path", ["/metrics", "/v1/sinks"])
async def test_a_store_that_refuses_is_a_problem(
    build: Build, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """503, with the framework and without, and when to ask again; no defect of ours."""

    async def refused(*_: object) -> tuple[bytes, str]:
        raise StoreUnavailable("store.url: the disk is gone")

    with capture_logs() as logs:
        async with build(metrics=refused) as server:
            monkeypatch.setattr(server.store, "sinks", refused)
            answer = await server.client.get(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:comms-poller:problem:store"
    assert answer.json()["detail"] == "store.url: the disk is gone"
    assert not [line for line in logs if line["event"] == "server.defect"]
