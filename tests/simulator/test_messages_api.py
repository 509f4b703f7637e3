"""The routes of messages: listed without content, fetched with attempts, filtered, receipts."""

from collections import Counter

import pytest

from poller.simulator import Scenario
from poller.simulator.kinds import KINDS
from poller.simulator.messages import MessageView
from tests.simulator.conftest import Simulator, listed

pytestmark = pytest.mark.anyio


async def test_messages_agree_with_the_counters(simulator: Simulator) -> None:
    """At any time the messages in a status are as many as its counter says."""
    operation = simulator.world.send(recipients=300, fate="troubled")
    for seconds in (0, 11, 11, 11, 11, 300):
        simulator.clock.advance(seconds)
        stats = (await simulator.get(f"/Messages/Operations/{operation.id}"))["stats"]
        messages = await listed(simulator, operationId=operation.id)
        counted = Counter(each["status"].lower() for each in messages)
        for name in "sent delivered read undelivered failed canceled".split():
            assert counted[name] == stats[name]
        # Recipients without a usable address never become messages, and count as queued till then.
        waiting = stats["queued"] + stats["unaddressable"]
        assert len(messages) + waiting >= stats["total"] >= len(messages) + stats["unaddressable"]


async def test_a_message_in_full(simulator: Simulator) -> None:
    """A fetch adds content and attempts to what a list shows; RCS fails, SMS delivers."""
    simulator.world.send(recipients=50, fate="troubled", tags={"campaign": "autumn"})
    simulator.clock.advance(600)
    messages = [
        (item, await simulator.get(f"/Messages/{item['id']}")) for item in await listed(simulator)
    ]
    for item, message in messages:
        assert set(message) - set(item) == {"content", "attempts"}
        assert message["content"] == {"text": "Hello from the simulator", "media": []}
        assert message["tags"] == {"campaign": "autumn"}
        assert message["scheduledFor"] is message["deletedAt"] is None
        assert message["related"][0]["name"] == "SESSION"
        assert message["attempts"][-1]["status"] == message["status"]
        failed = message["status"] in ("FAILED", "UNDELIVERED")
        assert (message["attempts"][-1]["error"] is not None) == failed
    first, second = next(each["attempts"] for _, each in messages if len(each["attempts"]) == 2)
    assert (first["from"]["channel"], second["from"]["channel"]) == ("RCS", "SMS")
    assert (first["status"], second["status"]) == ("FAILED", "DELIVERED")
    assert first["error"]["code"] == 61337
    assert first["to"] == second["to"]
    assert set(first) == {"from", "to", "status", "attemptedAt", "infoUrl", "error"}


async def test_a_fallback_is_seen_on_its_way(simulator: Simulator) -> None:
    """RCS is tried, fails while SMS is sent, SMS delivers; attempts and instants say so."""
    simulator.world.send(recipients=1, fate=Scenario(fallback=1.0, seconds=1.0))
    (message,) = await listed(simulator)
    seen = []
    for seconds in (0, 2, 2, 6):
        simulator.clock.advance(seconds)
        message = await simulator.get(f"/Messages/{message['id']}")
        attempts = [
            (each["from"]["channel"], each["status"], each["error"] and each["error"]["code"])
            for each in message["attempts"]
        ]
        seen.append((message["status"], message["updatedAt"][-10:-5], attempts))
        assert message["from"]["channel"] == (attempts[-1][0] if attempts else "SMS")
        made = (await simulator.get("/Messages/Operations"))["operations"][0]["stats"]["attempts"]
        assert made == len(attempts)
    assert seen == [
        ("QUEUED", "00:00", []),
        ("SENT", "00:02", [("RCS", "SENT", None)]),
        ("SENT", "00:04", [("RCS", "FAILED", 61337), ("SMS", "SENT", None)]),
        ("DELIVERED", "00:10", [("RCS", "FAILED", 61337), ("SMS", "DELIVERED", None)]),
    ]
    first, second = message["attempts"]
    assert (first["attemptedAt"][-10:-5], second["attemptedAt"][-10:-5]) == ("00:02", "00:04")


async def test_a_message_is_read_after_it_was_delivered(simulator: Simulator) -> None:
    """SENT, DELIVERED, READ; an email is OPENED."""
    for kind, last in (("messages", "READ"), ("emails", "OPENED"), ("push-notifications", "READ")):
        simulator.world.send(recipients=1, fate=Scenario(read=1.0, seconds=1.0), kind=kind)
        path = f"/{KINDS[kind].path}"
        (message,) = await listed(simulator, path)
        seen = []
        for seconds in (0, 2, 5, 60):
            simulator.clock.advance(seconds)
            seen.append((await simulator.get(f"{path}/{message['id']}"))["status"])
        assert seen == ["QUEUED", "SENT", "DELIVERED", last]


async def test_a_scheduled_message_waits_and_can_be_canceled(simulator: Simulator) -> None:
    """It is SCHEDULED and says for when; canceled before, it never is attempted."""
    body = {"to": [{"address": "+14155550100"}], "content": {"text": "Hi"}}
    body["schedule"] = {"sendAt": ["2026-11-22T10:30:00Z"]}
    sent = await simulator.client.post(f"{simulator.url}/Messages", json=body)
    other = await simulator.client.post(f"{simulator.url}/Messages", json=body)
    await simulator.control("POST", f"operations/{other.json()['operationId']}/cancel")
    for seconds, status, attempts in (
        (60, "SCHEDULED", 0),
        (1740, "QUEUED", 0),
        (300, "DELIVERED", 1),
    ):
        simulator.clock.advance(seconds)
        (message,) = await listed(simulator, operationId=sent.json()["operationId"])
        assert message["scheduledFor"] == "2026-11-22T10:30:00.000Z"
        assert message["status"] == status
        assert len((await simulator.get(f"/Messages/{message['id']}"))["attempts"]) == attempts
    (canceled,) = await listed(simulator, status="CANCELED")
    assert canceled["scheduledFor"] == "2026-11-22T10:30:00.000Z"
    assert canceled["updatedAt"] == "2026-11-22T10:00:00.000Z"
    assert (await simulator.get(f"/Messages/{canceled['id']}"))["attempts"] == []


async def test_messages_are_filtered(simulator: Simulator) -> None:
    """By operation, status, channel, tags, session, creation; a profile has none."""
    first = simulator.world.send(recipients=20, tags={"a": "1", "b": "2"})
    simulator.clock.advance(300)
    simulator.world.send(recipients=20)
    everything = await listed(simulator)
    old = await listed(simulator, operationId=first.id)
    assert len(everything) == len(old) + 20
    assert await listed(simulator, tags="a:1;b:2;") == old
    assert await listed(simulator, tags="a:2;") == []
    assert await listed(simulator, endDate="2026-11-22T10:04:59Z") == old
    assert len(await listed(simulator, startDate="2026-11-22T10:05:00Z")) == 20
    assert len(await listed(simulator, status="QUEUED")) == 20
    assert await listed(simulator, channel="SMS") == everything
    assert await listed(simulator, channel="WHATSAPP") == []
    assert await listed(simulator, profile="anybody") == []
    assert await listed(simulator, sessionId=old[3]["related"][0]["id"]) == [old[3]]
    assert await listed(simulator, operation_id=first.id) == everything
    assert await listed(simulator, pageSize=7) == everything


@pytest.mark.parametrize(
    ("name", "value"),
    [("operationId", "42"), ("sessionId", ""), ("status", "LOST"), ("tags", "a"), ("pageSize", "")],
)
async def test_a_bad_filter_is_refused(simulator: Simulator, name: str, value: str) -> None:
    """400 names the parameter."""
    refused = await simulator.get("/Messages", {name: value}, expect=400)
    assert refused["errors"][0]["context"] == name


async def test_an_unaddressable_recipient_has_no_message(simulator: Simulator) -> None:
    """It is not listed, and what would be its id is not found."""
    operation = simulator.world.send(recipients=1000, fate="ordinary")
    messages = await listed(simulator, operationId=operation.id)
    assert len(messages) == 990
    view = MessageView.of(operation, seed=7, now=simulator.clock(), base_url=simulator.url)
    missing = {view.id_of(index) for index in range(1000)} - {each["id"] for each in messages}
    assert len(missing) == 10
    await simulator.get(f"/Messages/{missing.pop()}", expect=404)


async def test_receipts_and_sisters(simulator: Simulator) -> None:
    """A message's receipt repeats its status; emails are listed under their own name."""
    simulator.world.send(recipients=1, fate="smooth")
    simulator.world.send(recipients=3, fate="ordinary", kind="emails")
    simulator.clock.advance(300)
    (message,) = await listed(simulator)
    (receipt,) = (await simulator.get(f"/Messages/{message['id']}/Receipts"))["receipts"]
    shown = {name: message[name] for name in ("to", "status", "updatedAt")}
    assert receipt == {**shown, "error": None}
    emails = await listed(simulator, "/Emails")
    assert len(emails) == 3
    assert emails[0]["to"][0]["address"] == "recipient-0@example.com"
    assert (await simulator.get(f"/Emails/{emails[0]['id']}"))["id"] == emails[0]["id"]
