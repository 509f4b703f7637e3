"""The contract that every sink keeps, whatever its place is."""

import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import anyio
import pytest
from pydantic import SecretStr

from poller.sinks.base import Sink, SinkVerdict
from poller.sinks.file import FileSink
from poller.sinks.pipe import PipeWriter
from poller.sinks.stdout import StdoutSink
from poller.sinks.webhook import WebhookSink
from tests.fakes.outgoing import outgoing
from tests.fakes.receiver import Answer, Receiver

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Place(Protocol):
    """Where a sink's events arrive, and how to put it out of order."""

    sink: Sink

    def arrived(self) -> list[str]:
        """Return the bodies that arrived so far, in order."""

    def broken(self) -> contextlib.AbstractContextManager[None]:
        """Put the place out of order for a while."""


class FilePlace:
    """A file in a directory that can be swapped for nothing."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "in" / "events.ndjson"
        self.path.parent.mkdir()
        self.sink: Sink = FileSink(name="place", path=self.path)

    def arrived(self) -> list[str]:
        """Return the lines of the file."""
        return self.path.read_text(encoding="utf-8").splitlines()

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Take the directory away."""
        away = self.path.parent.with_name("away")
        self.path.parent.rename(away)
        yield
        away.rename(self.path.parent)


class PipePlace:
    """A pipe whose reader keeps up, but for the time it is out of order."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self.sink: Sink = StdoutSink(name="place", writer=PipeWriter(self._writing), timeout=0.2)
        self._arrived = b""
        self._reader = threading.Thread(target=self._read)
        self._parked = threading.Event()
        self._reads = threading.Event()
        self._reads.set()
        self._reader.start()

    def _read(self) -> None:
        while piece := os.read(self._reading, 1 << 16):
            self._arrived += piece
            if not self._reads.is_set():
                self._parked.set()
                self._reads.wait()

    def arrived(self) -> list[str]:
        """Return the lines that the reader got, once it is at the end."""
        self.close()
        return self._arrived.decode().splitlines()

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Stop reading and fill the pipe."""
        self._parked.clear()
        self._reads.clear()
        filler = outgoing("filler").encoded() + b"\n"
        os.write(self._writing, filler)
        self._parked.wait()
        os.set_blocking(self._writing, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(self._writing, filler) == len(filler):
                pass
        yield
        self._reads.set()

    def close(self) -> None:
        """Close both ends. Idempotent."""
        self._reads.set()
        if self._writing >= 0:
            os.close(self._writing)
            self._reader.join()
            os.close(self._reading)
            self._writing = -1


class WebhookPlace:
    """A receiver that answers 503 while it is out of order."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.sink: Sink = WebhookSink(
            name="place", url=receiver.url, secret=SecretStr(SECRET), timeout=5.0
        )

    def arrived(self) -> list[str]:
        """Return the accepted bodies; every request is signed."""
        assert {request.signature for request in self._receiver.received} <= {"good"}
        return [r.body.decode() for r in self._receiver.received if r.accepted]

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Answer 503, with a body that gives the secret away."""
        self._receiver.answer_always(Answer(status=503, body=SECRET.encode()))
        yield
        self._receiver.answer_always(Answer())


@pytest.fixture(params=["stdout", "file", "webhook"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Every kind of place in turn."""
    with contextlib.ExitStack() as stack:
        made: Place
        match request.param:
            case "file":
                made = FilePlace(tmp_path)
            case "stdout":
                made = pipe = PipePlace()
                stack.callback(pipe.close)
            case _:
                made = WebhookPlace(stack.enter_context(Receiver(secret=SECRET)))
        yield made
        await made.sink.aclose()


async def test_is_a_sink(place: Place) -> None:
    """A sink has a name and limits, and starting it twice is starting it once."""
    assert isinstance(place.sink, Sink)
    assert place.sink.name == "place"
    assert place.sink.concurrency >= 1
    assert place.sink.batch_size == 1 or place.sink.concurrency == 1
    assert place.sink.deadline > 0
    await place.sink.start()
    await place.sink.start()


async def test_everything_arrives_once_in_order_and_unchanged(place: Place) -> None:
    """What was delivered lies at the place, byte for byte and in order."""
    await place.sink.start()
    events = [outgoing(f"e{number}", pad=number) for number in range(40)]
    outcomes = [
        outcome
        for start in range(0, len(events), 8)
        for outcome in await place.sink.deliver(events[start : start + 8])
    ]
    assert [outcome.verdict for outcome in outcomes] == [SinkVerdict.DELIVERED] * 40
    assert [outcome.error for outcome in outcomes] == [None] * 40
    assert place.arrived() == [event.body for event in events]


async def test_needs_no_start(place: Place) -> None:
    """A sink that was not started, or could not, tries at each attempt."""
    (outcome,) = await place.sink.deliver([outgoing("e1")])
    assert outcome.verdict is SinkVerdict.DELIVERED


async def test_an_empty_batch_is_nothing(place: Place) -> None:
    """No events, no outcomes."""
    assert list(await place.sink.deliver([])) == []


async def test_a_place_out_of_order_fails_in_a_sentence(place: Place) -> None:
    """Trouble is an outcome for each event, said for people, with no secret; later it goes on."""
    await place.sink.start()
    events = [outgoing("e1"), outgoing("e2")]
    with place.broken():
        outcomes = await place.sink.deliver(events)
    assert [outcome.verdict for outcome in outcomes] == [SinkVerdict.FAILED] * 2
    for outcome in outcomes:
        assert outcome.error is not None
        assert len(outcome.error) > 20
        assert SECRET.removeprefix("whsec_") not in outcome.error
    again = await place.sink.deliver(events)
    assert [outcome.verdict for outcome in again] == [SinkVerdict.DELIVERED] * 2
    assert [json.loads(body)["id"] for body in place.arrived()][-2:] == ["e1", "e2"]


async def test_recall_returns_only_what_was_asked_and_delivered(place: Place) -> None:
    """An id that was never sent is never recalled."""
    await place.sink.start()
    await place.sink.deliver([outgoing("e1")])
    assert await place.sink.recall({"e1", "e2"}) <= {"e1"}
    assert await place.sink.recall(()) == frozenset()


async def test_reopening_loses_nothing(place: Place) -> None:
    """After a reopen deliveries go on at the same place."""
    await place.sink.deliver([outgoing("e1")])
    await place.sink.reopen()
    await place.sink.deliver([outgoing("e2")])
    assert place.arrived() == [outgoing("e1").body, outgoing("e2").body]


async def test_reopening_a_broken_place_raises_nothing(place: Place) -> None:
    """A reopen that fails is no more than a failed attempt later."""
    await place.sink.start()
    with place.broken():
        await place.sink.reopen()
        (outcome,) = await place.sink.deliver([outgoing("e1")])
    assert outcome.verdict is SinkVerdict.FAILED


async def test_a_cancelled_attempt_leaves_a_sink_that_works(place: Place) -> None:
    """Cancellation ends an attempt soon, and the next event arrives whole."""
    await place.sink.start()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(place.sink.deliver, [outgoing("e1", pad=3000)])
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    (outcome,) = await place.sink.deliver([outgoing("e2")])
    assert outcome.verdict is SinkVerdict.DELIVERED
    assert {json.loads(body)["id"] for body in place.arrived()} in ({"e1", "e2"}, {"e2"})


async def test_a_lone_surrogate_stops_nobody(place: Place) -> None:
    """A body that UTF-8 cannot hold arrives with the JSON escape in its place."""
    event = outgoing("e1")
    odd = type(event)(id="e1", body='{"id":"e1","note":"\ud800"}')
    (outcome,) = await place.sink.deliver([odd])
    assert outcome.verdict is SinkVerdict.DELIVERED
    assert place.arrived() == ['{"id":"e1","note":"\\ud800"}']


async def test_closing_twice_is_closing_once(place: Place) -> None:
    """A sink may be closed at any time, and again."""
    await place.sink.aclose()
    await place.sink.start()
    await place.sink.deliver([outgoing("e1")])
    await place.sink.aclose()
    await place.sink.aclose()
