"""The event stream: nothing missed, nothing twice, nobody waited for."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx_sse as sse
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from poller.engine.event_feed import EventFeed
from poller.server.control import ClientLimits, Control
from poller.server.stream import EventStream, StreamFilter
from poller.tracking.event import load_event_schema
from tests.server.conftest import Build
from tests.server.served import ServedDaemon, ServerSentEvent
from tests.store.scenes import op, registration

pytestmark = pytest.mark.anyio

REQUIRED = set(load_event_schema()["required"])
QUICK = ClientLimits(heartbeat_seconds=0.1, slow_seconds=0.5)


async def take(events: AsyncIterator[ServerSentEvent], number: int) -> list[ServerSentEvent]:
    """Take that many events."""
    found: list[ServerSentEvent] = []
    with anyio.fail_after(20):
        while len(found) < number:
            event = await anext(events)
            found.append(event)
    return found


async def grow(server: ServedDaemon, operation: str, *counts: int) -> list[str]:
    """Record progress; the ids of the events."""
    ids = []
    for count in counts:
        server.scene.clock.advance(60)
        ids += await server.record(operation, "PROCESSING", stats={"delivered": count})
    return ids


async def test_events_come_as_they_are_recorded(server: ServedDaemon) -> None:
    """From now on, whole CloudEvents on one line, in commit order."""
    await server.scene.register(op(1))
    await grow(server, op(1), 1)
    async with server.follow() as events:
        ids = await grow(server, op(1), 2, 3)
        found = await take(events, 2)
    assert [event.id for event in found] == ids
    assert [event.type for event in found] == ["operation.progress"] * 2
    assert found[0].document["id"] == ids[0]
    assert found[0].document.keys() >= REQUIRED
    assert found[1].document["data"]["delta"] == {"delivered": 1}


async def test_from_the_oldest_that_is_kept(server: ServedDaemon) -> None:
    """Everything so far, then what is new."""
    ids = await server.scene.run_through(op(1))
    async with server.follow(**{"from": "oldest"}) as events:
        assert [event.id for event in await take(events, 3)] == ids
        await server.scene.register(op(2))
        later = await grow(server, op(2), 1)
        assert [event.id for event in await take(events, 1)] == later


async def test_a_client_cut_off_ten_times_misses_and_repeats_nothing(server: ServedDaemon) -> None:
    """It comes back with its last id each time, while events go on being recorded."""
    operations = [op(number) for number in range(4)]
    await server.scene.register(*operations)
    recorded: list[str] = []

    async def go_on() -> None:
        for number in range(1, 19):
            for operation in operations:
                recorded.extend(await grow(server, operation, number))

    seen: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with server.follow(**{"from": "oldest"}) as events:
            tasks.start_soon(go_on)
            seen += [event.id for event in await take(events, 1)]
        for cut in range(10):
            async with server.follow(seen[-1]) as events:
                seen += [event.id for event in await take(events, 2 + cut // 2)]
        rest = 72 - len(seen)
        async with server.follow(seen[-1]) as events:
            seen += [event.id for event in await take(events, rest)]
    assert len(recorded) == 72
    assert seen == recorded


async def test_even_a_client_that_saw_nothing_can_come_back(server: ServedDaemon) -> None:
    """The head names the id that the stream begins after: a cut before any event is no loss."""
    await server.scene.register(op(1))
    async with server.client.stream("GET", "/v1/events") as answer:
        assert "last-event-id" not in answer.headers  # nothing was emitted yet
    [before] = await grow(server, op(1), 1)
    async with server.client.stream("GET", "/v1/events") as answer:
        assert answer.headers["last-event-id"] == before
    missed = await grow(server, op(1), 2)
    async with server.follow(before) as events:
        assert [event.id for event in await take(events, 1)] == missed


async def test_clients_see_events_and_nothing_else(build: Build) -> None:
    """Not at the start, not while it is quiet, not at the end: each blank line is reported."""
    async with build(limits=QUICK) as server:
        await server.scene.register(op(1))
        first = await grow(server, op(1), 1)
        strict: list[sse.ServerSentEvent] = []
        received = b""
        async with (
            server.client.stream("GET", "/v1/events", params={"from": "oldest"}) as answer,
            server.client.stream("GET", "/v1/events", params={"from": "oldest"}) as raw,
        ):
            with anyio.fail_after(20):
                pieces = raw.aiter_bytes()
                while received.count(b": last-event-id") < 3:  # it was quiet for two heartbeats
                    received += await anext(pieces)
                ids = first + await grow(server, op(1), 2)
                server.stop()
                async for piece in pieces:
                    received += piece
                strict = [event async for event in sse.EventSource(answer).aiter_sse()]
        assert [event.id for event in strict] == ids
        assert [event.json()["id"] for event in strict] == ids
        # the naive way: blocks end with a blank line, each line is a name and a value
        blocks = [
            dict(line.split(": ", 1) for line in block.splitlines())
            for block in received.decode().split("\n\n")[:-1]
        ]
        assert [json.loads(block["data"])["id"] for block in blocks] == ids


@pytest.mark.parametrize("pruned", [False, True], ids=["unknown", "pruned"])
async def test_an_id_that_is_not_kept_is_gone(server: ServedDaemon, pruned: bool) -> None:  # noqa: FBT001
    """410, never a silent gap; also where only a later event was pruned."""
    await server.scene.register(op(2))
    [kept] = await grow(server, op(2), 1)
    unknown = "00000000-0000-7000-8000-000000000000"
    if pruned:
        await server.scene.run_through(op(1))
        await server.scene.drain()
        server.scene.clock.advance(days=2)
        await server.store.retention.prune(retention_seconds=60)
    answer = await server.client.get(
        "/v1/events", headers={"Last-Event-ID": kept if pruned else unknown}
    )
    assert answer.status_code == 410
    assert answer.json()["type"] == "urn:comms-poller:problem:gone"
    assert "without Last-Event-ID or with ?from=oldest" in answer.json()["hint"]


async def test_what_was_pruned_under_a_stream_ends_it(server: ServedDaemon) -> None:
    """Events that went before they were sent are reported as an error, not passed over."""
    start = await server.store.last_cursor()
    await server.scene.run_through(op(1))
    await server.scene.drain()
    server.scene.clock.advance(days=2)
    await server.store.retention.prune(retention_seconds=60)
    control = Control(
        daemon=server.daemon,
        store=server.store,
        version="1",
        metrics=None,
        limits=QUICK,
        stopping=anyio.Event(),
        free_streams=anyio.Semaphore(1),
    )
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Message:
        await anyio.sleep_forever()
        return {}

    with anyio.fail_after(20):
        feed = EventFeed(server.store, control.daemon.signals, start)
        stream = EventStream(control, StreamFilter(), feed)
        await stream({"type": "http"}, receive, send)
    assert sent[-1].startswith(b"event: error\n")
    assert b"urn:comms-poller:problem:gone" in sent[-1]


async def test_filters(server: ServedDaemon) -> None:
    """By operation, by type pattern and by label; all of them must hold."""
    await server.store.register([registration(op(1), team="a"), registration(op(2), team="b")])
    one = [
        *await server.record(op(1), "PROCESSING"),
        *await server.record(op(1), "COMPLETED"),
    ]
    two = [
        *await server.record(op(2), "PROCESSING"),
        *await server.record(op(2), "CANCELED"),
    ]
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"operation": op(2)}, two),
        ({"operation": [op(1), op(2)], "type": "final"}, [one[1], two[1]]),
        ({"type": ["operation.comp*", "operation.canceled"]}, [one[1], two[1]]),
        ({"type": "*", "label": "team:a"}, one),
        ({"label": ["team:a", "team:b"]}, []),
    ]
    for params, wanted in cases:
        async with server.follow(**{"from": "oldest"}, **params) as events:
            found = [event.id for event in await take(events, len(wanted))]
        assert found == wanted


async def test_heartbeats_name_the_last_event(build: Build) -> None:
    """A client that wants few events learns ids that it can come back with later."""
    async with build(limits=QUICK) as server:
        await server.scene.register(op(1), op(2))
        async with server.client.stream("GET", "/v1/events", params={"operation": op(2)}) as answer:
            [other] = await grow(server, op(1), 1)
            with anyio.fail_after(20):
                lines = answer.aiter_lines()
                while await anext(lines) != f": last-event-id {other}":
                    pass


@pytest.mark.parametrize(
    "params",
    [{"from": "newest"}, {"type": "Operation"}, {"operation": "x"}, {"label": "x"}, {"types": "x"}],
    ids=str,
)
async def test_a_bad_filter_is_refused(shared_server: ServedDaemon, params: dict[str, Any]) -> None:
    """422 before anything is streamed."""
    answer = await shared_server.client.get("/v1/events", params=params)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_slow_client_is_warned_and_dropped(build: Build) -> None:
    """What it does not read is not buffered, even of one page; it is disconnected with an error."""
    async with build(limits=QUICK) as server:
        await server.scene.register(op(1))
        padding = "x" * 200_000
        for count in range(1, 41):
            server.scene.clock.advance(60)
            await server.record(
                op(1), "PROCESSING", stats={"delivered": count}, padding=f"{count}{padding}"
            )
        with socket.socket() as client, capture_logs() as logs:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = httpx.URL(str(server.bound.address))
            await anyio.to_thread.run_sync(_connect, client, address.port)
            with anyio.fail_after(30):
                # a line of the log is all that tells it
                while not any(line["event"] == "stream.dropped" for line in logs):  # noqa: ASYNC110
                    await anyio.sleep(0.05)
            received = await anyio.to_thread.run_sync(_read_all, client)
        assert b"event: error" in received
        assert b"urn:comms-poller:problem:slow-client" in received
        # the page has 40 events of 200 kB; the kernel takes some of them
        assert len(received) < 40 * 200_000


def _connect(client: socket.socket, port: int | None) -> None:
    client.settimeout(20)
    client.connect(("127.0.0.1", port or 0))
    client.sendall(b"GET /v1/events?from=oldest HTTP/1.1\r\nHost: localhost\r\n\r\n")
    # the head: only then it is sure that the stream stands
    client.recv(16)


def _read_all(client: socket.socket) -> bytes:
    received = bytearray()
    try:
        while chunk := client.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return bytes(received)


async def test_there_are_only_so_many_streams(build: Build) -> None:
    """503 with problem details for one too many; a place is free when one leaves."""
    async with build(limits=ClientLimits(streams=1)) as server:
        async with server.follow():
            answer = await server.client.get("/v1/events")
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:comms-poller:problem:crowded"
        with anyio.fail_after(20):
            while True:
                async with server.client.stream("GET", "/v1/events") as again:
                    if again.status_code == 200:
                        break


async def test_the_end_of_the_daemon_ends_streams_in_order(server: ServedDaemon) -> None:
    """What was recorded so far is sent, the answer is whole, and nobody waits long."""
    await server.scene.register(op(1))
    async with server.follow() as events:
        ids = await grow(server, op(1), 1, 2)
        with anyio.CancelScope(shield=True), anyio.fail_after(10):
            server.stop()
            found = [event.id async for event in events]
    assert found == ids


async def test_a_store_in_trouble_ends_the_stream_with_its_words(
    build: Build, tmp_path: Path
) -> None:
    """An error event with problem details; the client comes back with its id."""
    async with build() as server:
        async with server.follow() as events, aclosing(events):  # type: ignore[type-var]
            await anyio.to_thread.run_sync(_break, tmp_path / "poller.db")
            with anyio.fail_after(20):
                [last] = [event async for event in events]
        assert last.type == "error"
        assert json.loads(last.data)["type"] == "urn:comms-poller:problem:store"


def _break(path: Path) -> None:
    import sqlite3  # noqa: PLC0415 - one use
    from contextlib import closing  # noqa: PLC0415 - as above

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE events RENAME TO moved")
        connection.commit()
