"""The client of the control API: what it asks, and every way in which it can be refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from poller.control.address import Address
from poller.control.client import MOST_FILTERED, ControlClient
from poller.control.errors import (
    ControlError,
    NoDaemon,
    NoToken,
    Refused,
    UnknownOperation,
    Unreachable,
)
from tests.control.fake_daemon import A, Asked, FakeDaemon, Reply, event, frame, problem
from tests.fakes.api import operation_id

pytestmark = pytest.mark.anyio


async def collect(items: AsyncIterator[object]) -> list[object]:
    """Take all."""
    return [item async for item in items]


async def test_a_token_is_sent() -> None:
    """As a bearer token, with every request."""
    with FakeDaemon(lambda _: Reply(body={"sinks": []})) as daemon:
        async with ControlClient(daemon.address, token=SecretStr("hunter2")) as client:
            assert await client.sinks() == []
    assert daemon.asked[0].headers["authorization"] == "Bearer hunter2"


async def test_pages_are_followed_to_the_limit() -> None:
    """Filters go with every page; the last one is asked for no more than is wanted."""

    def answer(asked: Asked) -> Reply:
        start = int(asked.query.get("cursor", ["0"])[0])
        size = int(asked.query["limit"][0])
        page = [{"id": number} for number in range(start, start + size)]
        return Reply(body={"operations": page, "next": str(start + size)})

    with FakeDaemon(answer) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            found = await collect(client.operations([("kind", "emails")], limit=2500))
    assert found == [{"id": number} for number in range(2500)]
    assert [asked.query["limit"] for asked in daemon.asked] == [["1000"], ["1000"], ["500"]]
    assert all(asked.query["kind"] == ["emails"] for asked in daemon.asked)


async def test_the_last_page_ends_it() -> None:
    """Without a limit everything is read."""
    replies = iter([{"deadLetters": [{}, {}], "next": "x"}, {"deadLetters": [{}], "next": None}])
    with FakeDaemon(lambda _: Reply(body=next(replies))) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            assert len(await collect(client.dead_letters([], limit=None))) == 3


@pytest.mark.parametrize(
    ("reply", "expected", "words"),
    [
        (problem(401, "unauthorized"), NoToken, "POLLER_SERVER__TOKEN"),
        (problem(404, "unknown-operation"), UnknownOperation, f"poller add {A}"),
        (problem(503, "store"), Refused, "What it is: what happened; do this"),
        (Reply(status=404, body=b"<html>"), NoDaemon, "answered 404"),
        (Reply(status=500, body=[]), NoDaemon, "answered 500"),
        (Reply(status=302, body={}), NoDaemon, "answered 302"),
        (Reply(body=b"<html>"), NoDaemon, "without JSON"),
        (Reply(body={"other": 1}), NoDaemon, "'phase'"),
    ],
)
async def test_what_is_refused(reply: Reply, expected: type[ControlError], words: str) -> None:
    """Each kind of refusal is an error of its own, with the fault and the remedy."""
    with FakeDaemon(lambda _: reply) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            with pytest.raises(expected) as refused:
                await client.operation(A, events=0)
    assert words in str(refused.value)
    assert not refused.value.is_usage


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_a_refused_request_is_described_once(status: int) -> None:
    """By the detail and the hint: the title would say the same in general."""
    with FakeDaemon(lambda _: problem(status, "other")) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            with pytest.raises(Refused) as refused:
                await client.sinks()
    assert str(refused.value) == "what happened; do this"


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_whose_fault_it_is(status: int) -> None:
    """What must be asked differently is a mistake of usage."""
    with FakeDaemon(lambda _: problem(status, "invalid")) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            with pytest.raises(Refused) as refused:
                await client.sinks()
            assert not await client.answers()
    assert refused.value.is_usage


async def test_nobody_there(tmp_path: Path) -> None:
    """The system's own words, the address, and what to do."""
    async with ControlClient(Address(socket=str(tmp_path / "x")), token=None) as client:
        with pytest.raises(
            Unreachable, match=r"unix:.*x: there is no socket .*`poller run`.*--url"
        ):
            await client.sinks()
    async with ControlClient(Address(host="127.0.0.1", port=9), token=None) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9: connection refused by 127"):
            await client.sinks()
        assert not await client.answers()


async def test_no_proxy_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is here is asked directly, whatever the environment says of proxies."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with FakeDaemon(lambda _: Reply(body={"sinks": []})) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            assert await client.answers()


async def test_the_stream_is_asked_for() -> None:
    """From the oldest, or from an event on; of a few operations, or of too many to name."""
    body = frame(event(A, 1), event(A, 2))
    with FakeDaemon(lambda _: Reply(body=body, type="text/event-stream")) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            async with client.events([A], from_oldest=True) as messages:
                assert [message.id async for message in messages] == ["aab-1", "aab-2"]
            many = [operation_id(number) for number in range(MOST_FILTERED + 1)]
            async with client.events(many, after="aab-1") as messages:
                assert [message.event async for message in messages] == ["operation.progress"] * 2
    first, second = daemon.asked
    assert first.query == {"operation": [A], "from": ["oldest"]}
    assert second.query == {}
    assert second.headers["last-event-id"] == "aab-1"


async def test_a_stream_that_is_none() -> None:
    """Refusals are raised as elsewhere, and an answer without events is not a poller's."""
    replies = iter([problem(410, "gone"), Reply(body={})])
    with FakeDaemon(lambda _: next(replies)) as daemon:
        async with ControlClient(daemon.address, token=None) as client:
            with pytest.raises(Refused, match="what happened"):
                async with client.events([A], after="x"):
                    pass
            with pytest.raises(NoDaemon, match="streams no events"):
                async with client.events([A], from_oldest=True):
                    pass
