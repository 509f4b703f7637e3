"""Messages through the real command line: what became of each, attempt by attempt."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from poller.simulator.messages import MessageView
from poller.simulator.operations import SimulatedOperation
from poller.simulator.scenarios import Scenario
from poller.tracking.event import load_event_schema
from tests.acceptance.breakdowns import verify
from tests.fakes.api import FakeApi
from tests.fakes.process import Poller, eventually, poller
from tests.fakes.proxy import ApiProxy
from tests.fakes.simulated import Simulated
from tests.fakes.tls import NO_TLS
from tests.oracle import check_promises

pytestmark = pytest.mark.acceptance

DOCUMENTS = Path(__file__).parents[1] / "comms" / "documents"
VALIDATOR = jsonschema.Draft202012Validator(load_event_schema())
FAST = {
    "POLLER_POLLING__MIN_INTERVAL": "50ms",
    "POLLER_POLLING__MAX_INTERVAL": "200ms",
    "POLLER_POLLING__PROGRESS_INTERVAL": "0s",
    "POLLER_POLLING__NOT_FOUND_GRACE": "300ms",
}
Event = dict[str, Any]


@pytest.fixture
def simulator() -> Iterator[Simulated]:
    """Give a simulator in which time stands still until a test moves it."""
    with Simulated() as simulated:
        yield simulated


def environment(simulator: Simulated, **more: str) -> dict[str, str]:
    """Point a fast poller at the simulator."""
    return {**simulator.environment, **FAST, **more}


def message_of(simulator: Simulated, operation: SimulatedOperation, index: int = 0) -> str:
    """Return the id of one message of an operation."""
    now, seed = simulator.world.now(), simulator.config.seed
    return MessageView.of(operation, seed=seed, now=now, base_url="").id_of(index)


def gone(operation: SimulatedOperation, index: int = 0) -> float:
    """Return how many seconds after its beginning a message leaves the queue."""
    return operation.timeline.leaves_at(index)


def check(lines: Sequence[str], cwd: Path) -> list[Event]:
    """Hold what was printed against the schema and the promises; the events, repeated ones once."""
    events = list({event["id"]: event for event in map(json.loads, lines)}.values())
    for event in events:
        VALIDATOR.validate(event)
    check_promises(events)
    verify("".join(line.rstrip("\n") + "\n" for line in lines), cwd=cwd)
    return events


def types(events: Sequence[Event], subject: str) -> list[str]:
    """Return the types of the events of one thing."""
    return [event["type"] for event in events if event["subject"] == subject]


def post(daemon: Poller, name: str) -> None:
    """Register through the control API."""
    eventually(lambda: bool(daemon.logged("server.listening")))
    address = daemon.logged("server.listening")[0]["address"]
    answer = httpx.post(
        f"{address}/v1/operations", json={"id": name}, trust_env=False, verify=NO_TLS
    )
    assert answer.status_code == 201, answer.text


def test_a_fallback_is_reported_attempt_by_attempt(simulator: Simulated, tmp_path: Path) -> None:
    """RCS fails with 61337 and SMS delivers; stopped and started in the middle.

    Registered by argument, on standard input and through the control API.
    """
    sends = [simulator.world.send(recipients=1, fate=Scenario(fallback=1.0)) for _ in range(3)]
    names = [message_of(simulator, operation) for operation in sends]
    by_argument, by_line, by_post = names
    variables = environment(simulator, POLLER_SERVER__LISTEN="127.0.0.1:0")
    arguments = ("run", by_argument, "--stdin")
    with Poller(*arguments, cwd=tmp_path, environment=variables, stdin=True) as daemon:
        daemon.say(by_line)
        post(daemon, by_post)
        eventually(lambda: len(daemon.out) == 3)
        simulator.advance(max(map(gone, sends)) + 0.5)
        eventually(lambda: len(daemon.out) == 6)
        assert daemon.stop() == 0
    with Poller("run", "--until-idle", cwd=tmp_path, environment=variables) as again:
        eventually(lambda: bool(again.logged("daemon.started")))
        simulator.advance(3)
        eventually(lambda: len(again.out) == 3)
        simulator.advance(8)
        assert again.wait() == 0
    events = check([*daemon.out, *again.out], tmp_path)
    for name in names:
        check_fallback([event for event in events if event["subject"] == name], name)


def check_fallback(events: Sequence[Event], name: str) -> None:
    """Check the events of a message that RCS did not deliver and SMS did."""
    assert types(events, name) == [
        "message.queued", "message.sent", "message.progress", "message.delivered"
    ]  # fmt: skip
    queued, sent, fallen, delivered = [event["data"] for event in events]
    assert (queued["changes"], queued["message"]["attempts"]) == ([], [])
    assert [_step(one) for one in sent["changes"]] == [(1, "RCS", None, "SENT", None)]
    assert [_step(one) for one in fallen["changes"]] == [
        (1, "RCS", "SENT", "FAILED", 61337),
        (2, "SMS", None, "SENT", None),
    ]
    assert [_step(one) for one in delivered["changes"]] == [(2, "SMS", "SENT", "DELIVERED", None)]
    assert delivered["message"]["stats"] == {"attempts": 2, "failed": 1, "delivered": 1}
    assert delivered["final"]
    assert delivered["kind"] == "messages"
    assert events[0]["source"].endswith(f"/v1/Messages/{name}")


def _step(change: Event) -> tuple[int, str, str | None, str, int | None]:
    error = change["error"]
    code = None if error is None else error["code"]
    number, channel = change["attempt"], change["channel"]
    return number, channel, change["previousStatus"], change["status"], code


def test_every_end_of_a_message(simulator: Simulated, tmp_path: Path) -> None:
    """Delivered, failed, canceled, received, not to be found and others: each once, at once."""
    world = simulator.world
    ends = {
        "message.delivered": Scenario(),
        "message.read": Scenario(read=1.0),
        "message.undelivered": Scenario(codes=((30003, 1.0),)),
        "message.failed": Scenario(codes=((30006, 1.0),)),
        "message.canceled": Scenario(canceled_at=0.0),
    }
    names = {
        message_of(simulator, world.send(recipients=1, fate=fate)): end
        for end, fate in ends.items()
    }
    names[world.receive(text="hello")] = "message.inbound"
    stranger = "comms_message_01h9krwprkeee8fzqspvwy6nq8"
    simulator.advance(600)
    done = poller(
        "run", "--until-idle", *names, stranger, cwd=tmp_path, environment=environment(simulator)
    )
    assert done.returncode == 3, done.stderr
    events = check(done.stdout.splitlines(), tmp_path)
    by_subject = {event["subject"]: event for event in events}
    assert len(events) == len(by_subject) == len(names) + 1
    assert {name: by_subject[name]["type"] for name in names} == names
    lost = by_subject[stranger]
    assert (lost["type"], lost["data"]["reason"]) == ("message.lost", "not_found")
    assert all(event["data"]["final"] for event in events)


def test_a_delivered_message_is_watched_until_it_is_read(
    simulator: Simulated, tmp_path: Path
) -> None:
    """With `polling.settle` a later receipt is reported, and then that it is settled."""
    operation = simulator.world.send(recipients=1, fate=Scenario(read=1.0))
    name = message_of(simulator, operation)
    variables = environment(simulator, POLLER_POLLING__SETTLE="1h")
    simulator.advance(gone(operation) + 5)
    with Poller("run", "--until-idle", name, cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(daemon.out) == 1)
        simulator.advance(60)
        assert daemon.wait() == 0
    events = check(daemon.out, tmp_path)
    assert types(events, name)[0] == "message.delivered"
    assert types(events, name)[-2:] == ["message.read", "message.settled"]
    assert [event["data"]["final"] for event in events] == [False, False, True]


def test_a_group_is_followed_through_its_receipts(simulator: Simulated, tmp_path: Path) -> None:
    """How each recipient fared adds up to `message.settled`."""
    operation = simulator.world.send(
        recipients=5, group=5, fate=Scenario(read=0.4, undelivered=0.2)
    )
    name = message_of(simulator, operation)
    variables = environment(simulator)
    with Poller("run", "--until-idle", name, cwd=tmp_path, environment=variables) as daemon:
        eventually(lambda: len(daemon.out) == 1)
        simulator.advance(gone(operation) + 1)
        eventually(lambda: any('"sent":5' in line for line in list(daemon.out)))
        simulator.advance(100)
        assert daemon.wait() == 0
    events = check(daemon.out, tmp_path)
    assert types(events, name)[:2] == ["message.queued", "message.group"]
    assert set(types(events, name)[2:-1]) <= {"message.progress"}
    assert types(events, name)[-1] == "message.settled"
    receipts = simulator.world.expected(operation.id).receipts
    stats = {key.upper(): value for key, value in events[-1]["data"]["message"]["stats"].items()}
    assert stats == {**receipts, "RECIPIENTS": 5}


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def test_what_is_scheduled_is_left_alone_until_its_schedule(tmp_path: Path) -> None:
    """A look, for operations one for the schedule; then nothing before it, and then the end."""
    with Simulated(clock=utc_now) as simulator, ApiProxy(simulator.base_url) as api:
        # each look is a request of its own
        off = {"POLLER_POLLING__SWEEP": "off"}
        variables = {**environment(simulator), **api.environment, **off}
        with Poller(
            "run", "--stdin", "--until-idle", cwd=tmp_path, environment=variables, stdin=True
        ) as daemon:
            eventually(lambda: bool(daemon.logged("daemon.started")))
            at = utc_now() + timedelta(seconds=3)
            _, canceled = sends = [
                simulator.world.send(recipients=2, scheduled_for=at, fate=Scenario(seconds=0.2))
                for _ in range(2)
            ]
            messages = [message_of(simulator, operation) for operation in sends]
            for name in (*(operation.id for operation in sends), *messages):
                daemon.say(name)
            # all were seen, and the schedules of the operations were read
            eventually(lambda: len(daemon.out) == 4 and len(api.answered) == 6)
            simulator.world.cancel(canceled.id)
            daemon.end_input()
            assert daemon.wait() == 0
        asked = list(zip(api.moments, api.requests, strict=True))
    early = [path.partition("?")[0] for moment, path in asked if moment < at]
    assert sorted(early) == sorted(
        [
            *(f"/v1/Messages/Operations/{operation.id}" for operation in sends),
            *["/v1/Messages"] * 2,
            *(f"/v1/Messages/{message}" for message in messages),
        ]
    )
    events = check(daemon.out, tmp_path)
    for operation, message, ends in zip(
        sends,
        messages,
        [
            ("operation.completed", "message.delivered"),
            ("operation.canceled", "message.canceled"),
        ],
        strict=True,
    ):
        own, of_message = types(events, operation.id), types(events, message)
        assert (own[0], of_message[0]) == ("operation.scheduled", "message.scheduled")
        assert (own[-1], of_message[-1]) == ends


def test_the_vendors_documents_make_the_right_events(tmp_path: Path) -> None:
    """Its operation and its message, as the reference prints them."""
    operation = json.loads((DOCUMENTS / "operation.json").read_text())
    message = json.loads((DOCUMENTS / "message.json").read_text())
    with FakeApi() as api:
        api.script(operation["id"], [operation])
        api.script(message["id"], [message])
        variables = {**api.environment, **FAST, "POLLER_API__REQUESTS_PER_SECOND": "500"}
        done = poller(
            "run",
            "--until-idle",
            operation["id"],
            message["id"],
            cwd=tmp_path,
            environment=variables,
        )
    assert done.returncode == 0, done.stderr
    by_subject = {event["subject"]: event for event in check(done.stdout.splitlines(), tmp_path)}
    completed = by_subject[operation["id"]]
    assert completed["type"] == "operation.completed"
    assert completed["data"]["operation"] == operation
    assert completed["data"]["delta"] == {
        "total": 1,
        "recipients": 1,
        "delivered": 1,
        "attempts": 1,
    }
    delivered = by_subject[message["id"]]
    assert delivered["type"] == "message.delivered"
    assert [_step(one) for one in delivered["data"]["changes"]] == [
        (1, "RCS", None, "FAILED", 61337),
        (2, "SMS", None, "DELIVERED", None),
    ]
    assert delivered["data"]["changes"][0]["error"] == message["attempts"][0]["error"]
    assert delivered["data"]["message"]["stats"] == {"attempts": 2, "failed": 1, "delivered": 1}
    assert delivered["data"]["message"]["related"] == message["related"]
    for hidden in ("+14153901002", "+12065558844", "Thanks for joining", "party-thanks"):
        assert hidden not in done.stdout + done.stderr
