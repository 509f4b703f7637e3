"""The client over real sockets, against a server that answers as badly as servers do."""

import json
import logging
import socket
import struct
from datetime import timedelta, timezone
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream
from pydantic import SecretStr

from poller import __version__
from poller.comms import errors
from poller.comms.client import MOST_CONNECTIONS, CommsClient
from poller.comms.credentials import Credentials
from poller.comms.errors import Fault
from poller.comms.ids import InvalidId
from poller.comms.kinds import DEFAULT_KIND, KINDS, kind_named
from tests.comms.conftest import ClientMaker
from tests.comms.scripted import (
    CREDENTIALS,
    MESSAGE_ID,
    NOW,
    OPERATION_ID,
    Api,
    Script,
    brief,
    envelope,
    gzipped,
    http_answer,
    operation,
)

pytestmark = pytest.mark.anyio

EMAILS = kind_named("emails")


def drips(head: bytes) -> Script:
    """Send a head, then a byte at a time, for as long as anybody listens."""

    async def script(stream: SocketStream) -> None:
        await stream.send(head)
        while True:
            await stream.send(b" ")
            await anyio.sleep(0.01)

    return script


def cuts(answer: bytes) -> Script:
    """Send an answer and hang up."""

    async def script(stream: SocketStream) -> None:
        if answer:
            await stream.send(answer)
        await stream.aclose()

    return script


async def goes_on(stream: SocketStream) -> None:
    """Send a body without an end, as fast as it is taken."""
    await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def resets(stream: SocketStream) -> None:
    """Reset the connection instead of an answer."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - a socket's, not Django's
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def says_nothing(stream: SocketStream) -> None:
    """Take the request and never answer."""
    await stream.receive()


async def fetch(client: CommsClient) -> Any:  # noqa: ANN401 - mypy knows, the tests do not care
    """Fetch the operation that all of these tests are about."""
    return await client.fetch_operation(DEFAULT_KIND, OPERATION_ID)


async def test_fetches_an_operation(api: Api, client: CommsClient) -> None:
    """One GET at the kind's path, with Basic authentication, for JSON."""
    api.will(http_answer(operation()))
    fetched = await client.fetch_operation(EMAILS, OPERATION_ID)
    assert fetched.raw == operation()
    lines = api.requests[0].split("\r\n")
    assert lines[0] == f"GET /v1/Emails/Operations/{OPERATION_ID} HTTP/1.1"
    assert "Accept: application/json" in lines
    assert f"Authorization: {CREDENTIALS.authorization()}" in lines
    assert f"User-Agent: comms-poller/{__version__}" in lines


async def test_lists_operations_with_every_filter(api: Api, client: CommsClient) -> None:
    """Only the filters that are given are sent; instants in UTC."""
    api.will(http_answer({"operations": [operation()], "pagination": {"next": "a b&c"}}))
    page = await client.list_operations(DEFAULT_KIND)
    assert [item.id for item in page.operations] == [OPERATION_ID]
    await client.list_operations(
        DEFAULT_KIND,
        start_date=NOW.astimezone(timezone(timedelta(hours=2))),
        end_date=NOW + timedelta(milliseconds=5),
        status="PROCESSING",
        page_token=page.next_token,
        page_size=7,
    )
    assert [httpx.URL(head.split()[1]).path for head in api.requests] == [
        "/v1/Messages/Operations"
    ] * 2
    assert [dict(httpx.URL(head.split()[1]).params) for head in api.requests] == [
        {"pageSize": "1000"},
        {
            "startDate": "2026-11-22T10:00:00Z",
            "endDate": "2026-11-22T10:00:00.005000Z",
            "status": "PROCESSING",
            "pageToken": "a b&c",
            "pageSize": "7",
        },
    ]


async def test_fetches_and_lists_messages(api: Api, client: CommsClient) -> None:
    """The same for messages, of one operation."""
    document = {"id": MESSAGE_ID, "status": "SENT"}
    api.will(http_answer(document), http_answer({"messages": [document]}))
    assert (await client.fetch_message(MESSAGE_ID)).status == "SENT"
    page = await client.list_messages(
        DEFAULT_KIND, operation_id=OPERATION_ID, status="SENT", page_size=5
    )
    assert [message.id for message in page.messages] == [MESSAGE_ID]
    assert [head.split()[1] for head in api.requests] == [
        f"/v1/Messages/{MESSAGE_ID}",
        f"/v1/Messages?operationId={OPERATION_ID}&status=SENT&pageSize=5",
    ]


async def test_a_page_may_be_named_by_its_url(api: Api, client: CommsClient) -> None:
    """It is asked for as it is, with the credentials, for it is at the same origin."""
    there = f"{api.url}/Messages/Operations?cursor=2&pageSize=9"
    api.will(http_answer({"operations": [], "pagination": {"next": there}}))
    page = await client.list_operations(DEFAULT_KIND)
    await client.list_operations(DEFAULT_KIND, page_token=page.next_token)
    assert api.requests[1].startswith("GET /v1/Messages/Operations?cursor=2&pageSize=9 HTTP/1.1")
    assert CREDENTIALS.authorization() in api.requests[1]


@pytest.mark.parametrize(
    "there",
    [
        "http://example.test/v1/Messages/Operations?pageToken=2",
        "http://127.0.0.1:1/v1/Messages/Operations",
        "http://127.0.0.1/v1/Messages/Operations",
        "HTTPS://127.0.0.1:{port}/v1/Messages/Operations",
        "http://127.0.0.1:{port}@example.test/v1",
        "http://user@127.0.0.1:{port}/v1",
        "http://127.0.0.1.example.test:{port}/v1",
        "http://[",
    ],
)
async def test_a_page_elsewhere_is_not_asked_for(api: Api, client: CommsClient, there: str) -> None:
    """Another scheme, host or port must not see the credentials; the error says why it ends."""
    token = there.replace("{port}", str(httpx.URL(api.url).port))
    with pytest.raises(errors.NonsensicalAnswer, match="next page outside of http://127"):
        await client.list_operations(DEFAULT_KIND, page_token=token)
    assert api.requests == []


async def test_lists_the_messages_of_every_kind(api: Api, client: CommsClient) -> None:
    """At its path and under its name; a kind that lists none is never asked."""
    item = {"id": "any_id_1", "status": "FAILED"}
    for kind in KINDS.values():
        if not kind.items:
            with pytest.raises(ValueError, match=f"{kind.name} list no messages"):
                await client.list_messages(kind)
            continue
        api.scripts.clear()
        api.will(http_answer({kind.items[0]: [item], "pagination": {"next": "t"}}))
        page = await client.list_messages(kind, page_token="s")
        assert ([message.raw for message in page.messages], page.next_token) == ([item], "t")
    assert [head.split()[1] for head in api.requests] == [
        f"/v1/{kind.path}?pageToken=s&pageSize=1000" for kind in KINDS.values() if kind.items
    ]


async def test_lists_the_receipts_of_a_message(api: Api, client: CommsClient) -> None:
    """A status for each recipient."""
    api.will(http_answer({"receipts": [{"status": "READ"}], "pagination": {"next": "t"}}))
    page = await client.list_receipts(MESSAGE_ID, page_token="s", page_size=2)
    assert (page.statuses, page.problems, page.next_token) == (["READ"], [], "t")
    path = f"/v1/Messages/{MESSAGE_ID}/Receipts?pageToken=s&pageSize=2"
    assert api.requests[0].split()[1] == path


async def test_lists_the_errors_of_an_operation(api: Api, client: CommsClient) -> None:
    """They are read as they come."""
    api.will(http_answer({"errors": [{"code": 30003}], "pagination": {"next": "t"}}))
    page = await client.list_errors(DEFAULT_KIND, OPERATION_ID, page_token="s")
    assert (page.errors, page.next_token) == ([{"code": 30003}], "t")
    path = f"/v1/Messages/Operations/{OPERATION_ID}/Errors?pageToken=s&pageSize=1000"
    assert api.requests[0].split()[1] == path


async def test_what_is_no_id_is_never_asked_for(client: CommsClient) -> None:
    """It would be part of a URL."""
    for wrong in ("../Messages", f"{OPERATION_ID}?x", ""):
        with pytest.raises(InvalidId):
            await client.fetch_operation(DEFAULT_KIND, wrong)
        with pytest.raises(InvalidId):
            await client.list_errors(DEFAULT_KIND, wrong)
        with pytest.raises(InvalidId):
            await client.fetch_message(wrong)
        with pytest.raises(InvalidId):
            await client.list_receipts(wrong)
        with pytest.raises(InvalidId):
            await client.list_messages(DEFAULT_KIND, operation_id=wrong)


async def test_a_connection_is_used_again(api: Api, client: CommsClient) -> None:
    """Refusals and nonsense included, as long as they end."""
    api.will(
        http_answer(operation()),
        http_answer(envelope(), status=404),
        http_answer(b"<html>"),
        http_answer(operation()),
    )
    await fetch(client)
    with pytest.raises(errors.NotFound):
        await fetch(client)
    with pytest.raises(errors.Unexpected):
        await fetch(client)
    await fetch(client)
    assert not api.hung_up.is_set()


@pytest.mark.parametrize(
    "script",
    [
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nX-Long: "),
        says_nothing,
    ],
    ids=["body", "head", "silence"],
)
async def test_the_deadline_is_for_the_whole(
    api: Api, make_client: ClientMaker, script: Script
) -> None:
    """A byte now and then buys no more time, and the connection is given up."""
    api.will(script)
    with anyio.fail_after(2), pytest.raises(errors.DeadlineExceeded, match=r"0\.1 s"):
        await fetch(make_client(timeout=0.1))
    with anyio.fail_after(2):
        await api.hung_up.wait()


async def test_a_refusal_that_drips_is_still_that_refusal(
    api: Api, make_client: ClientMaker
) -> None:
    """Its status has said all that matters, Retry-After included."""
    api.will(drips(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 100000\r\n\r\n"))
    with pytest.raises(errors.Throttled) as raised:
        await fetch(make_client(timeout=0.1))
    assert (raised.value.retry_after, raised.value.enveloped) == (7, False)


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(envelope(), status=404)[:-20],
        http_answer(b"x" * 100_000, status=404),
    ],
    ids=["cut", "long"],
)
async def test_a_refusal_that_breaks_is_still_that_refusal(
    api: Api, client: CommsClient, answer: bytes
) -> None:
    """But half an envelope does not count."""
    api.will(cuts(answer))
    with pytest.raises(errors.NotFound) as raised:
        await fetch(client)
    assert not raised.value.enveloped


async def test_an_endless_body_is_given_up(api: Api, client: CommsClient) -> None:
    """Soon after its bound."""
    api.will(goes_on)
    with anyio.fail_after(3), pytest.raises(errors.TooLarge):
        await fetch(client)
    with anyio.fail_after(2):
        await api.hung_up.wait()


async def test_a_bomb_does_not_go_off(api: Api, client: CommsClient) -> None:
    """The bound is on what it inflates to."""
    api.will(gzipped(b" " * 50_000_000))
    with pytest.raises(errors.TooLarge):
        await fetch(client)
    with pytest.raises(errors.TooLarge):
        await client.list_operations(DEFAULT_KIND)


async def test_a_large_page_is_read_whole(api: Api, client: CommsClient) -> None:
    """Plain and compressed, well over the bound for a single document."""
    items = [operation(note="x" * 2000) for _ in range(1000)]
    body = json.dumps({"operations": items}).encode()
    api.will(http_answer(body), gzipped(body))
    for _ in range(2):
        assert len((await client.list_operations(DEFAULT_KIND)).operations) == 1000


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (cuts(http_answer(operation())[:-10]), "closed the connection in the middle of the answer"),
        (cuts(b""), "closed the connection without"),
        (cuts(b"HTTP/1.1 200 OK\r\nContent-"), "closed the connection without"),
        (cuts(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "not in HTTP/1.1"),
        (resets, "closed the connection without"),
    ],
    ids=["truncated", "silent", "head", "garbage", "reset"],
)
async def test_a_broken_connection_is_the_networks_fault(
    api: Api, client: CommsClient, script: Script, says: str
) -> None:
    """It is said in plain words, and no frame of the library comes along."""
    api.will(script)
    with pytest.raises(errors.NetworkError, match=says) as raised:
        await fetch(client)
    assert (raised.value.fault, raised.value.status) == (Fault.NETWORK, None)
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("answer", "cls", "says"),
    [
        (http_answer(b"<html>hello</html>"), errors.Unexpected, "HTML"),
        (http_answer(b""), errors.Unexpected, "empty"),
        (http_answer(b"", status=204), errors.Unexpected, "empty"),
        (http_answer(b"{]"), errors.Unexpected, "not JSON"),
        (http_answer(b"\xff\xfe"), errors.Unexpected, "UTF-8"),
        (http_answer(b"[" * 100_000), errors.Unexpected, "not JSON"),
        (http_answer(b"[]"), errors.NonsensicalAnswer, "not an object"),
        (http_answer(operation(stats=None)), errors.NonsensicalAnswer, "stats"),
        (
            http_answer(operation(id=OPERATION_ID[:-1] + "9")),
            errors.NonsensicalAnswer,
            "was requested",
        ),
        (http_answer(operation(stats={"sent": "1"})), errors.NonsensicalAnswer, r"stats\.sent"),
        (http_answer(operation(), headers={"Content-Encoding": "br"}), errors.Unexpected, "Enc"),
        (http_answer(operation(), headers={"Content-Encoding": "gzip"}), errors.Unexpected, "comp"),
    ],
    ids=brief,
)
async def test_a_wrong_answer_is_the_vendors_fault(
    api: Api, client: CommsClient, answer: bytes, cls: type[errors.CommsError], says: str
) -> None:
    """JSON of the wrong shape is distinguished from an answer of another server."""
    api.will(answer)
    with pytest.raises(errors.Unexpected, match=says) as raised:
        await fetch(client)
    assert type(raised.value) is cls
    assert raised.value.fault is Fault.THEIRS


@pytest.mark.parametrize("location", ["/v1/elsewhere", "http://[broken", "https://evil.example/"])
async def test_redirects_are_not_followed(api: Api, client: CommsClient, location: str) -> None:
    """The credentials go where they were meant to go, and nowhere else."""
    api.will(http_answer(b"", status=302, headers={"Location": location}))
    with pytest.raises(errors.Unexpected, match="redirects are not followed"):
        await fetch(client)
    assert len(api.requests) == 1


async def test_a_refusal_carries_what_the_api_said(api: Api, client: CommsClient) -> None:
    """Code, text and Retry-After, measured from the answer's own date."""
    headers = {
        "Retry-After": "Sun, 22 Nov 2037 10:00:30 GMT",
        "Date": "Sun, 22 Nov 2037 10:00:00 GMT",
    }
    api.will(http_answer(envelope(20429, "Too many"), status=429, headers=headers))
    with pytest.raises(errors.Throttled, match="20429: Too many") as raised:
        await fetch(client)
    assert raised.value.retry_after == 30


async def test_credentials_are_swapped(api: Api, client: CommsClient) -> None:
    """The next request is asked as the new ones."""
    api.will(http_answer(operation()))
    await fetch(client)
    renewed = Credentials(username="SK9", password=SecretStr("pässwörd"))
    client.use(renewed)
    await fetch(client)
    assert CREDENTIALS.authorization() in api.requests[0]
    assert renewed.authorization() in api.requests[1]


async def test_cookies_are_not_kept(api: Api, client: CommsClient) -> None:
    """Each request says only what it must."""
    api.will(http_answer(operation(), headers={"Set-Cookie": "a=b"}))
    await fetch(client)
    await fetch(client)
    assert "cookie" not in api.requests[1].lower()


async def test_nothing_is_logged_and_nothing_leaks(
    api: Api, client: CommsClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by us, and by the HTTP library nothing above DEBUG and no credential."""
    caplog.set_level(logging.DEBUG)
    api.will(http_answer(operation()), http_answer(envelope(1, "open-sesame-42"), status=401))
    await fetch(client)
    with pytest.raises(errors.Unauthorized) as raised:
        await fetch(client)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    shown = caplog.text + str(raised.value) + repr(raised.value.__dict__) + repr(client)
    assert "open-sesame" not in shown
    assert CREDENTIALS.authorization().removeprefix("Basic ") not in shown


async def test_a_cancelled_request_gives_its_connection_back(
    api: Api, make_client: ClientMaker
) -> None:
    """Cancellation passes through, and the slot in the pool is free again."""
    client = make_client()
    api.will(*[says_nothing] * 20, http_answer(operation()))
    for _ in range(20):
        with anyio.move_on_after(0.01) as scope:
            await fetch(client)
        assert scope.cancelled_caught
    while len(api.scripts) > 1:
        api.scripts.pop(0)
    with anyio.fail_after(2):
        await fetch(client)


async def test_an_unreachable_api_is_said_to_be_so(make_client: ClientMaker) -> None:
    """Nobody listens there."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - a socket's, not Django's
    with pytest.raises(errors.NetworkError, match="connection refused by 127"):
        await fetch(make_client(base_url=f"http://127.0.0.1:{port}"))


async def test_another_transport_can_be_given(make_client: ClientMaker) -> None:
    """It answers in place of the network, and is closed with the client."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=operation()))
    async with make_client(base_url="https://comms.example/v1/", transport=transport) as client:
        assert (await fetch(client)).id == OPERATION_ID
    with pytest.raises(RuntimeError, match="closed"):
        await fetch(client)


@pytest.mark.parametrize(
    "base_url",
    [
        "comms.example/v1",
        "ftp://comms.example/v1",
        "https://",
        "https://user:open-sesame@comms.example/v1",
        "https://comms.example/v1?key=open-sesame",
        "https://comms.example/v1#open-sesame",
        "https://comms.example:open-sesame/v1",
    ],
)
def test_a_base_url_is_plain(base_url: str) -> None:
    """The message repeats nothing of it, for it may hold a secret."""
    with pytest.raises(ValueError, match="base_url") as refused:
        CommsClient(
            base_url=base_url,
            credentials=CREDENTIALS,
            timeout=1,
            max_connections=1,
            now=lambda: NOW,
        )
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("timeout", "connections", "name"),
    [(0, 1, "timeout"), (float("nan"), 1, "timeout"), (1, 0, "max_connections"), (1, 31, "max_c")],
)
def test_bounds_are_checked(timeout: float, connections: int, name: str) -> None:
    """One pool stays within what it can serve."""
    assert MOST_CONNECTIONS == 30
    with pytest.raises(ValueError, match=name):
        CommsClient(
            base_url="https://comms.example",
            credentials=CREDENTIALS,
            timeout=timeout,
            max_connections=connections,
            now=lambda: NOW,
        )
