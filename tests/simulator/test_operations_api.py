"""The routes of operations, over a real socket: send, fetch, list, errors, for every kind."""

import re
from datetime import timedelta
from typing import Any

import pytest

from poller.simulator import World
from poller.simulator.kinds import KINDS, SimulatedKind
from tests.simulator.conftest import Simulator

pytestmark = pytest.mark.anyio

OPERATION_ID = re.compile(r"comms_operation_[0-7][a-hjkmnpqrstv-z0-9]{25,34}")
BODIES: dict[str, dict[str, Any]] = {
    "messages": {"to": [{"address": "+14155550100"}], "content": {"text": "Hi"}},
    "emails": {
        "from": {"address": "us@example.com"},
        "to": [{"address": "you@example.com"}],
        "content": {"subject": "Hi", "html": "<p>Hi</p>"},
    },
    "push-notifications": {"to": [{"address": "device-1"}], "content": {"text": "Hi"}},
    "sender-pools": {"senders": [{"address": "+12065550100"}]},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
async def test_a_send_becomes_an_operation(simulator: Simulator, kind: SimulatedKind) -> None:
    """202 names the operation in body and headers; it is fetched and listed, and ends."""
    sent = await simulator.client.post(f"{simulator.url}/{kind.path}", json=BODIES[kind.name])
    assert sent.status_code == 202
    operation_id = sent.json()["operationId"]
    assert OPERATION_ID.fullmatch(operation_id)
    assert sent.headers["operationId"] == sent.headers["operation-id"] == operation_id
    location = sent.json()["operationLocation"]
    assert location == f"{simulator.url}/{kind.path}/Operations/{operation_id}"
    document = (await simulator.client.get(location)).json()
    assert document == {
        "id": operation_id,
        "status": "PROCESSING",
        "stats": {name: int(name in ("total", "recipients", "queued")) for name in kind.counters},
        "createdAt": "2026-11-22T10:00:00.000Z",
        "updatedAt": "2026-11-22T10:00:00.000Z",
    }
    listed = await simulator.get(f"/{kind.path}/Operations")
    assert listed["operations"] == [document]
    assert listed["pagination"]["next"] is None
    simulator.clock.advance(300)
    ended = (await simulator.client.get(location)).json()
    assert ended["status"] == "COMPLETED"
    assert ended["updatedAt"] > document["updatedAt"]


async def test_an_operation_belongs_to_its_kind(simulator: Simulator) -> None:
    """The id does not contain the kind, and under another kind it is not found."""
    operation = simulator.world.send(recipients=1)
    await simulator.get(f"/Messages/Operations/{operation.id}")
    await simulator.get(f"/Emails/Operations/{operation.id}", expect=404)


@pytest.mark.parametrize(
    ("change", "context"),
    [
        ({"to": []}, "to"),
        ({"to": [{"address": "+14155550100"}] * 10_001}, "to"),
        ({"to": ["+14155550100"]}, "to[0]"),
        ({"to": [{"address": "+14155550100"}, {"address": "4155550100"}]}, "to[1]"),
        ({"content": None}, "content"),
        ({"content": {"text": 5}}, "content.text"),
        ({"from": "+12065550100"}, "from"),
        ({"from": {"channel": 5}}, "from.channel"),
        ({"tags": {str(each): "x" for each in range(11)}}, "tags"),
        ({"tags": {"k" * 129: "x"}}, "tags"),
        ({"tags": {"k": "x" * 257}}, "tags.k"),
        ({"tags": {"simulator-fate": "none"}}, "tags.simulator-fate"),
        ({"schedule": {"sendAt": ["soon"]}}, "schedule.sendAt"),
        ({"schedule": {}}, "schedule.sendAt"),
    ],
)
async def test_a_wrong_send_is_refused(
    simulator: Simulator, change: dict[str, Any], context: str
) -> None:
    """400 names the member, in the envelope."""
    refused = await simulator.client.post(
        f"{simulator.url}/Messages", json=BODIES["messages"] | change
    )
    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert error.keys() == {"code", "message", "infoUrl", "context"}
    assert error["context"] == context


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(simulator: Simulator, content: bytes) -> None:
    """What is not a JSON object is a 400, never a 500."""
    refused = await simulator.client.post(f"{simulator.url}/Messages", content=content)
    assert refused.status_code == 400
    assert refused.json()["errors"]


async def test_a_body_over_the_limit_is_refused(simulator: Simulator) -> None:
    """More than 10 MB is a 413."""
    body = b'"' + b"x" * (10 * 1024 * 1024) + b'"'
    refused = await simulator.client.post(f"{simulator.url}/Messages", content=body)
    assert refused.status_code == 413


async def test_a_full_send_and_an_ordinary_fate(simulator: Simulator) -> None:
    """10,000 recipients are accepted; tags choose the fate."""
    body = BODIES["messages"] | {
        "to": [{"address": f"+1415555{each:04d}", "variables": {}} for each in range(10_000)],
        "tags": {"simulator-fate": "smooth", "campaign": "autumn"},
    }
    sent = await simulator.client.post(f"{simulator.url}/Messages", json=body)
    simulator.clock.advance(3600)
    document = await simulator.get(f"/Messages/Operations/{sent.json()['operationId']}")
    assert document["stats"]["delivered"] == document["stats"]["total"] == 10_000


async def test_a_scheduled_send_waits(simulator: Simulator) -> None:
    """It is SCHEDULED until the latest of its times, and its messages say when that is."""
    times = ["2026-11-22T10:01:00Z", "2026-11-22T10:02:00"]
    body = BODIES["messages"] | {"schedule": {"sendAt": times}}
    sent = await simulator.client.post(f"{simulator.url}/Messages", json=body)
    path = f"/Messages/Operations/{sent.json()['operationId']}"
    simulator.clock.advance(119)
    assert (await simulator.get(path))["status"] == "SCHEDULED"
    (message,) = (await simulator.get("/Messages"))["messages"]
    assert message["status"] == "SCHEDULED"
    assert message["scheduledFor"] == "2026-11-22T10:02:00.000Z"
    simulator.clock.advance(1)
    assert (await simulator.get(path))["status"] == "PROCESSING"


async def test_pages_hold_every_operation_once(simulator: Simulator) -> None:
    """Following `next` shows each operation once, also while new ones come; `self` repeats."""
    made = {simulator.world.send(recipients=1).id for _ in range(25)}
    seen: list[str] = []
    query: dict[str, str | int] = {"pageSize": 10}
    while True:
        page = await simulator.get("/Messages/Operations", query)
        again = await simulator.get(
            "/Messages/Operations", query | {"pageToken": page["pagination"]["self"]}
        )
        assert again == page
        seen += [each["id"] for each in page["operations"]]
        simulator.world.send(recipients=1)
        if page["pagination"]["next"] is None:
            break
        query["pageToken"] = page["pagination"]["next"]
    assert len(seen) == 25
    assert set(seen) == made


async def test_lists_are_filtered(simulator: Simulator) -> None:
    """Bounds on creation belong to the range; a status is the present one."""
    early = simulator.world.send(recipients=1)
    simulator.clock.advance(60)
    late = simulator.world.send(recipients=1)

    async def ids(**query: str) -> list[str]:
        page = await simulator.get("/Messages/Operations", query)
        return [each["id"] for each in page["operations"]]

    assert await ids() == [late.id, early.id]
    assert await ids(startDate="2026-11-22T10:01:00Z") == [late.id]
    assert await ids(endDate="2026-11-22T12:00:00+02:00") == [early.id]
    assert await ids(status="COMPLETED") == [early.id]
    assert await ids(status="PROCESSING") == [late.id]
    assert await ids(operation_id="ignored", colour="red") == [late.id, early.id]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pageSize", "0"),
        ("pageSize", "1001"),
        ("pageSize", "ten"),
        ("pageSize", "²"),
        ("pageToken", "nonsense"),
        ("pageToken", "bWVzc2FnZXM6MTow"),
        ("startDate", "yesterday"),
        ("endDate", "2026-11-22T10:00:00"),
        ("endDate", "0001-01-01T00:00:00+10:00"),
        ("status", "DONE"),
    ],
)
async def test_a_bad_filter_is_refused(simulator: Simulator, name: str, value: str) -> None:
    """400 names the parameter."""
    refused = await simulator.get("/Messages/Operations", {name: value}, expect=400)
    assert refused["errors"][0]["context"] == name


async def test_errors_say_who_was_not_reached(simulator: Simulator) -> None:
    """Every failed, undelivered and unaddressable recipient has one error, in pages."""
    operation = simulator.world.send(recipients=2000, fate="troubled")
    path = f"/Messages/Operations/{operation.id}"
    assert (await simulator.get(f"{path}/Errors"))["errors"] == []
    simulator.clock.advance(600)
    stats = (await simulator.get(path))["stats"]
    first = await simulator.get(f"{path}/Errors", {"pageSize": 500})
    token = first["pagination"]["next"]
    rest = await simulator.get(f"{path}/Errors", {"pageSize": 500, "pageToken": token})
    errors = first["errors"] + rest["errors"]
    assert len({error["context"] for error in errors}) == len(errors)
    assert len(errors) == stats["failed"] + stats["undelivered"] + stats["unaddressable"] == 700
    assert {error["code"] for error in errors} == {21610, 21612, 30003, 30005, 30006, 30007}
    assert all(error["message"] and error["infoUrl"] for error in errors)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/Messages/Operations/comms_operation_01h9krwprkeee8fzqspvwy6nq8", 404),
        ("/Messages/Operations/comms_operation_01h9krwprkeee8fzqspvwy6nq8/Errors", 404),
        ("/Messages/comms_message_01h9krwprkeee8fzqspvwy6nq8", 404),
        ("/Messages/Operations/42", 400),
        ("/Messages/", 404),
        ("/Letters", 404),
        ("/SenderPools", 405),
    ],
)
async def test_what_is_not_there_answers_in_the_envelope(
    simulator: Simulator, path: str, status: int
) -> None:
    """Unknown ids, routes and methods are answered in the vendor's envelope."""
    refused = await simulator.get(path, expect=status)
    assert refused["errors"][0]["code"] == {400: 20001, 404: 20404, 405: 20004}[status]


async def test_old_records_are_not_found(simulator: Simulator) -> None:
    """After seven days the operation and its messages are 404."""
    operation = simulator.world.send(recipients=1)
    (message,) = (await simulator.get("/Messages"))["messages"]
    simulator.clock.now += timedelta(days=7, seconds=1)
    await simulator.get(f"/Messages/Operations/{operation.id}", expect=404)
    await simulator.get(f"/Messages/{message['id']}", expect=404)
    assert (await simulator.get("/Messages"))["messages"] == []


async def test_a_location_can_be_followed(simulator: Simulator) -> None:
    """It is absolute, with the host as the client wrote it."""
    url = simulator.url.replace("127.0.0.1", "localhost")
    sent = await simulator.client.post(f"{url}/Messages", json=BODIES["messages"])
    location = sent.json()["operationLocation"]
    assert location.startswith(url)
    assert (await simulator.client.get(location)).json()["id"] == sent.json()["operationId"]


async def test_the_same_requests_repeat(simulator: Simulator) -> None:
    """Another simulator of the same seed answers the same requests the same."""
    world = World(simulator.config, clock=simulator.clock)
    for kind in KINDS.values():
        sent = await simulator.client.post(f"{simulator.url}/{kind.path}", json=BODIES[kind.name])
        operation = world.send(recipients=1, kind=kind.name)
        assert sent.json()["operationId"] == operation.id
        simulator.clock.advance(20)
        document = await simulator.get(f"/{kind.path}/Operations/{operation.id}")
        assert document == operation.document(simulator.clock())
