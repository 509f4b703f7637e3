"""Hints that come to one daemon, about what another one has registered."""

from datetime import UTC, datetime

import httpx

from poller.text import parse_instant
from tests.cluster.fleet import Fleet, Member
from tests.fakes.api import FakeApi, operation, operation_id
from tests.fakes.process import eventually
from tests.fakes.pushes import PASSWORD, USER, batch

SETTINGS = {
    "polling__min_interval": "200ms",
    "polling__max_interval": "600s",
    "polling__sweep": "off",
    "server__hints": "127.0.0.1:0",
    "server__hints_user": USER,
    "server__hints_password": PASSWORD,
}


def test_a_hint_to_any_daemon_wakes_the_poll(fleet: Fleet, api: FakeApi) -> None:
    """Long before its time and once, though both get the hint; one of them writes the event."""
    first, second = fleet.start(2, **SETTINGS)
    one = operation_id(1)
    api.script(one, [operation(one, "PROCESSING", total=9, queued=9)])
    first.register([one])
    # each poll without news doubles the wait
    eventually(lambda: seconds_left(first, one) > 5)
    api.script(one, [operation(one, "COMPLETED", updated=9, total=9, delivered=9)])
    polls = api.count(one)
    for daemon in (second, first):
        [listening] = daemon.process.logged("server.listening")
        url = f"{listening['hints']}/v1/hints"
        answer = httpx.post(url, content=batch(one), auth=(USER, PASSWORD), trust_env=False)
        assert answer.status_code == 204
    for daemon in (first, second):
        eventually(lambda each=daemon: phase(each, one) == "ended", timeout=4)  # type: ignore[misc]
    assert api.count(one) <= polls + 2
    written = [event for daemon in (first, second) for event in daemon.process.events]
    assert [event["type"] for event in written if event["data"]["final"]] == ["operation.completed"]


def seconds_left(daemon: Member, one: str) -> float:
    """Return how long it is until the next poll of an operation; 0 before the first."""
    due = parse_instant(daemon.ask("GET", f"/v1/operations/{one}")["nextLookAt"])
    return 0.0 if due is None else (due - datetime.now(UTC)).total_seconds()


def phase(daemon: Member, one: str) -> str:
    """Return the phase of an operation as a daemon shows it."""
    return str(daemon.ask("GET", f"/v1/operations/{one}")["phase"])
