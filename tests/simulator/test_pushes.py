"""What the simulator pushes: all that happens, once; and how it arrives."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import anyio
import pytest

from poller.simulator import SimulatorConfig, World, check_push_url
from poller.simulator.pusher import Pusher, signature
from poller.simulator.pushes import Announcer, Disorder
from tests.fakes.served import Served
from tests.simulator.conftest import Clock

pytestmark = pytest.mark.anyio


def count(events: list[dict[str, Any]]) -> Mapping[str, int]:
    """Count events by the last part of their type."""
    return Counter(event["type"].removeprefix("com.twilio.comms-api.") for event in events)


def test_everything_that_happens_is_announced_once() -> None:
    """However often one looks: each status of an operation, each move of a message."""
    clock = Clock()
    world = World(SimulatorConfig(seed=3), clock=clock)
    announcer = Announcer(world)
    operation = world.send(recipients=200, fate="troubled")
    world.send(recipients=50, kind="emails")
    events = []
    for _ in range(400):
        events += announcer.news()
        clock.advance(1)
    counted = count(events)
    assert counted["operation.processing"] == counted["operation.completed"] == 1
    expected = world.expected(operation.id).statuses
    assert counted["message.failed"] == expected["FAILED"]
    assert counted["message.undelivered"] == expected["UNDELIVERED"]
    assert counted["message.delivered"] == expected["DELIVERED"] + expected.get("READ", 0)
    assert len({event["id"] for event in events}) == len(events)
    assert {event["data"].get("operation_id") for event in events} == {operation.id}
    assert announcer.news() == []


def test_what_is_scheduled_canceled_and_received() -> None:
    """There is no event of a cancellation, as the vendor has none."""
    clock = Clock()
    world = World(SimulatorConfig(seed=3), clock=clock)
    announcer = Announcer(world)
    operation = world.send(recipients=5, scheduled_for=clock.now.replace(hour=11))
    assert count(announcer.news()) == {"operation.scheduled": 1}
    world.cancel(operation.id)
    assert announcer.news() == []
    message_id = world.receive()
    [event] = announcer.news()
    assert event["type"].endswith("message.inbound")
    assert event["data"] == {"message_id": message_id}


def test_disorder() -> None:
    """Out of order, some twice, some never, and no more than fit; repeatable by its seed."""
    events: list[dict[str, Any]] = [{"id": number} for number in range(1000)]
    runs = []
    for _ in range(2):
        disorder = Disorder(random.Random(1), most=900)  # noqa: S311 - repeatable
        disorder.add(events, 0)
        runs.append([event["id"] for event in disorder.take(100, limit=5000)])
    assert runs[0] == runs[1]
    assert runs[0] != sorted(runs[0])
    assert len(runs[0]) == 900
    assert len(set(runs[0])) < 900
    missing = set(range(max(runs[0]))) - set(runs[0])
    assert missing


async def test_pushes_are_signed_and_repeated_until_they_are_accepted() -> None:
    """A 503 is pushed again, a 4xx is not."""
    world = World(SimulatorConfig(seed=3))
    bodies: list[bytes] = []
    answers = iter([503, 204])

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
            signed = signature(world.config.auth_token, f"http://127.0.0.1:{port}/v1/hints?{query}")
            is_signed = self.headers["x-twilio-signature"] == signed
            bodies.append(body)
            self.send_response(next(answers, 400) if is_signed else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with Served(Receiver) as served:
        port = served.port
        async with anyio.create_task_group() as tasks:
            disorder = Disorder(random.Random(1), lost=0, doubled=0, delay=0)  # noqa: S311 - as above
            world.send(recipients=1)
            url = f"http://user:pass@127.0.0.1:{port}/v1/hints"
            tasks.start_soon(Pusher(world, url, disorder=disorder).run)
            with anyio.fail_after(20):
                while len(bodies) < 3:  # noqa: ASYNC110 - what it waits for is in another thread
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
    first = json.loads(bodies[0])
    assert first[0]["type"].endswith("operation.processing")
    assert first[0]["id"] in {event["id"] for event in json.loads(bodies[1])}


@pytest.mark.parametrize("url", ["", "ftp://h/", "http://", "http://h/?a=1", "h:80"])
def test_a_url_that_cannot_be_pushed_to_is_refused(url: str) -> None:
    """With an example of one that can."""
    with pytest.raises(ValueError, match="such as http"):
        check_push_url(url)
