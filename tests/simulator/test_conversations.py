"""Messages to groups, with a receipt for each recipient, and received messages."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from poller.simulator import Scenario
from poller.simulator.kinds import KINDS
from tests.simulator.conftest import Simulator, listed

pytestmark = pytest.mark.anyio

BODY: dict[str, Any] = {
    "to": [
        [{"address": "+14155550100"}, {"address": "+14155550101"}, {"address": "+14155550102"}],
        [{"address": "+14155550103"}],
    ],
    "content": {"text": "Hi all"},
}


async def receipts(simulator: Simulator, message_id: str, **query: str | int) -> list[Any]:
    """Return all receipts of a message, page by page."""
    return await listed(simulator, f"/Messages/{message_id}/Receipts", **query)


async def test_a_list_of_recipients_is_a_group(simulator: Simulator) -> None:
    """One message goes to each group; the operation counts messages, and recipients apart."""
    sent = await simulator.client.post(f"{simulator.url}/Messages", json=BODY)
    path = f"/Messages/Operations/{sent.json()['operationId']}"
    stats = (await simulator.get(path))["stats"]
    assert (stats["total"], stats["recipients"], stats["queued"]) == (2, 4, 2)
    first, second = await listed(simulator)
    assert (first["status"], second["status"]) == ("QUEUED", "QUEUED")
    assert [to["address"][-1] for to in first["to"]] == ["0", "1", "2"]
    assert [each["to"] for each in await receipts(simulator, first["id"])] == [
        [to] for to in first["to"]
    ]
    assert len(second["to"]) == len(await receipts(simulator, second["id"])) == 1
    simulator.clock.advance(300)
    assert {each["status"] for each in await listed(simulator, status="GROUP")} == {"GROUP"}
    stats = (await simulator.get(path))["stats"]
    assert (stats["delivered"], stats["attempts"]) == (2, 2)
    (attempt,) = (await simulator.get(f"/Messages/{first['id']}"))["attempts"]
    assert attempt["to"] == first["to"]


@pytest.mark.parametrize(
    ("to", "context"),
    [
        ([[]], "to"),
        ([[{"address": "+14155550100"}], []], "to"),
        ([[{"address": "+14155550100"}] * 10_001], "to"),
        ([[{"address": "+14155550100"}, {"address": "1"}]], "to[0][1]"),
        ([[{"address": "+14155550100"}], {"address": "+14155550101"}], "to[0]"),
    ],
)
async def test_a_wrong_group_is_refused(simulator: Simulator, to: object, context: str) -> None:
    """All are groups or none is, and none is empty."""
    sent = await simulator.client.post(f"{simulator.url}/Messages", json={**BODY, "to": to})
    assert sent.status_code == 400
    assert sent.json()["errors"][0]["context"] == context


async def test_receipts_fare_as_the_fate_says(simulator: Simulator) -> None:
    """Each recipient goes his own way; together they have the fate's shares, in pages."""
    fate = Scenario(read=0.3, undelivered=0.2, unaddressable=0.1, seconds=1.0)
    operation = simulator.world.send(recipients=1000, fate=fate, group=1000)
    (message,) = await listed(simulator)
    assert message["status"] == "QUEUED"
    simulator.clock.advance(3)
    before = await receipts(simulator, message["id"], pageSize=300)
    assert Counter(each["status"] for each in before) == {"SENT": 900, "FAILED": 100}
    simulator.clock.advance(300)
    after = await receipts(simulator, message["id"], pageSize=300)
    assert [each["to"] for each in after] == [each["to"] for each in before]
    counts = {"DELIVERED": 400, "READ": 300, "UNDELIVERED": 200, "FAILED": 100}
    assert Counter(each["status"] for each in after) == counts
    failed = [each for each in after if each["error"] is not None]
    assert Counter(each["error"]["code"] for each in failed) == {30003: 100, 30005: 100, 21612: 100}
    assert {each["status"] for each in failed} == {"UNDELIVERED", "FAILED"}
    (message,) = await listed(simulator)
    assert message["status"] == "GROUP"
    assert message["updatedAt"] == max(each["updatedAt"] for each in after)
    assert simulator.world.expected(operation.id).receipts == counts
    assert simulator.world.expected(operation.id).statuses == {"GROUP": 1}


async def test_a_canceled_group_is_canceled(simulator: Simulator) -> None:
    """It and every receipt of it."""
    operation = simulator.world.send(recipients=5, group=2)
    simulator.world.cancel(operation.id)
    messages = await listed(simulator)
    assert [len(each["to"]) for each in messages] == [2, 2, 1]
    assert {each["status"] for each in messages} == {"CANCELED"}
    assert {each["status"] for each in await receipts(simulator, messages[0]["id"])} == {"CANCELED"}


async def test_only_messages_are_conversations(simulator: Simulator) -> None:
    """No other kind has groups or lets people write back."""
    for kind in KINDS.values():
        if kind.conversations:
            assert simulator.world.send(recipients=4, group=2, kind=kind.name).timeline.total == 2
            continue
        with pytest.raises(ValueError, match="group"):
            simulator.world.send(recipients=4, group=2, kind=kind.name)
        with pytest.raises(ValueError, match="no received messages"):
            simulator.world.receive(kind=kind.name)
    with pytest.raises(ValueError, match="group"):
        simulator.world.send(recipients=4, group=0)


async def test_a_message_comes_in(simulator: Simulator) -> None:
    """It is INBOUND from the beginning, listed and fetched as the others, of no operation."""
    operation = simulator.world.send(recipients=3, tags={"a": "b"})
    body = {"text": "Stop", "from": "+14155550142"}
    message_id = (await simulator.control("POST", "inbound", body))["messageId"]
    (item,) = await listed(simulator, status="INBOUND")
    message = await simulator.get(f"/Messages/{message_id}")
    assert message == {**item, "content": {"text": "Stop", "media": []}, "attempts": []}
    assert (item["id"], item["status"]) == (message_id, "INBOUND")
    assert item["from"] == {"address": "+14155550142", "channel": "PHONE"}
    assert item["createdAt"] == item["updatedAt"] == "2026-11-22T10:00:00.000Z"
    (receipt,) = await receipts(simulator, message_id)
    assert (receipt["status"], receipt["to"]) == ("INBOUND", item["to"])
    everything = await listed(simulator, pageSize=1)
    assert [each["status"] for each in everything] == ["QUEUED"] * 3 + ["INBOUND"]
    assert item not in await listed(simulator, operationId=operation.id)
    assert item not in await listed(simulator, tags="a:b;")
    assert await listed(simulator, sessionId=item["related"][0]["id"]) == [item]
    assert len((await simulator.get("/Messages/Operations"))["operations"]) == 1
    simulator.clock.now += timedelta(days=7, seconds=1)
    await simulator.get(f"/Messages/{message_id}", expect=404)
    assert await listed(simulator) == []


async def test_every_message_that_comes_in_is_its_own(simulator: Simulator) -> None:
    """In the order in which they came, in pages, and the same again from the same seed."""
    made = [simulator.world.receive(text=str(each)) for each in range(5)]
    assert [each["id"] for each in await listed(simulator, pageSize=2)] == made
    fetched = [await simulator.get(f"/Messages/{each}") for each in made]
    assert [each["content"]["text"] for each in fetched] == list("01234")
    late = [each["id"] for each in await listed(simulator, startDate="2026-11-22T10:00:01Z")]
    assert late == []
