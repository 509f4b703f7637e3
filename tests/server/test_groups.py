"""Groups over the control API: joined by registration, sealed, listed, shown and followed."""

from typing import Any

import pytest

from tests.server.served import ServedDaemon
from tests.server.test_openapi import validator
from tests.store.scenes import op

pytestmark = pytest.mark.anyio

PATH = "/v1/groups"


async def join(server: ServedDaemon, group: str, *ids: str, **labels: str) -> list[dict[str, Any]]:
    """Register members over the control API."""
    items = [{"id": one, "group": group, "labels": labels} for one in ids]
    answer = await server.client.post("/v1/operations", json={"operations": items})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def seal(server: ServedDaemon, group: str, **body: object) -> tuple[int, Any]:
    """Seal a group."""
    answer = await server.client.post(f"{PATH}/{group}/seal", json=body)
    return answer.status_code, answer.json()


async def names(server: ServedDaemon, **params: object) -> list[str]:
    """Name the groups of one page."""
    return [found["name"] for found in (await server.get(PATH, **params))["groups"]]


async def test_a_group_from_its_first_member_to_its_end(server: ServedDaemon) -> None:
    """Its sums, its members, its seal, and the events with what became of them."""
    answer = await server.client.post("/v1/operations", json={"id": op(1), "group": "autumn"})
    assert (answer.status_code, answer.json()["group"]) == (201, "autumn")
    await join(server, "autumn", op(2))
    await join(server, "other", op(3))
    await server.record(op(1), "PROCESSING", stats={"total": 100, "queued": 90, "delivered": 10})
    server.scene.clock.advance(10)
    await server.record(op(1), "PROCESSING", stats={"total": 100, "queued": 40, "delivered": 60})
    shown = await server.get(f"{PATH}/autumn")
    assert shown["operations"] == {
        "total": 2,
        "completed": 0,
        "canceled": 0,
        "lost": 0,
        "watching": 2,
    }
    assert shown["counters"] == {"total": 100, "queued": 40, "delivered": 60}
    assert shown["progress"] == {
        "total": 100,
        "done": 60,
        "failed": 0,
        "stages": {"queued": 40, "delivered": 60},
        "perSecond": 5.0,
        "secondsLeft": 8.0,
    }
    [listed, _] = reversed((await server.get(PATH))["groups"])
    assert listed.items() <= shown.items()
    members = await server.get("/v1/operations", group="autumn")
    assert [one["id"] for one in members["operations"]] == [op(2), op(1)]
    status, sealed = await seal(server, "autumn")
    assert (status, sealed["state"], sealed["expected"]) == (200, "sealed", 2)
    await server.record(op(1), "COMPLETED", stats={"total": 100, "delivered": 97, "failed": 3})
    await server.record(op(2), "CANCELED")
    ended = await server.get(f"{PATH}/autumn", events=2)
    assert (ended["state"], ended["endedAt"] is not None) == ("ended", True)
    assert ended["events"][-1]["type"] == "group.completed"
    assert ended["events"][-1]["final"]
    assert ended["events"][-1]["operations"] == ended["operations"]
    assert ended["earlierEvents"] > 0
    assert ended["progress"]["failed"] == 3
    assert (await seal(server, "autumn"))[0] == 200


async def test_what_is_refused_says_what_to_do(server: ServedDaemon) -> None:
    """404 for a group that is not known; 409 where it contradicts what is there."""
    status, problem = await seal(server, "autumn")
    assert (status, problem["type"]) == (404, "urn:comms-poller:problem:unknown-group")
    assert "expected" in problem["detail"]
    unknown = await server.client.get(f"{PATH}/autumn")
    assert unknown.status_code == 404
    # the command line prints it too
    assert "GET" not in unknown.json()["hint"]
    await join(server, "autumn", op(1), op(2))
    status, problem = await seal(server, "autumn", expected=1)
    assert (status, "2 members, more than 1" in problem["detail"]) == (409, True)
    assert (await seal(server, "autumn", expected=2))[1]["state"] == "sealed"
    assert (await seal(server, "autumn", expected=3))[0] == 409
    known, new = await join(server, "autumn", op(1), op(3))
    assert known["status"] == 200
    assert (new["status"], new["problem"]["status"]) == (409, 409)
    assert "seal a group only when all of it is registered" in new["problem"]["detail"]
    answer = await server.client.post("/v1/operations", json={"id": op(1), "group": "winter"})
    assert answer.status_code == 409
    assert "in the group autumn" in answer.json()["detail"]
    assert (await server.client.get(f"/v1/operations/{op(3)}")).status_code == 404


async def test_a_seal_may_come_before_the_members(server: ServedDaemon) -> None:
    """With their number; the group is sealed by the last of them."""
    status, empty = await seal(server, "autumn", expected=2)
    assert (status, empty["state"], empty["operations"]["total"]) == (200, "open", 0)
    await join(server, "autumn", op(1), op(2))
    assert (await server.get(f"{PATH}/autumn"))["state"] == "sealed"


async def test_a_seal_needs_no_body(server: ServedDaemon) -> None:
    """As a replay; `curl -X POST` sends none."""
    await join(server, "autumn", op(1))
    answer = await server.client.post(f"{PATH}/autumn/seal")
    assert (answer.status_code, answer.json()["state"]) == (200, "sealed")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"expected": 0}, "at least 1"),
        ({"expected": "2"}, "whole number"),
        ({"expected": True}, "whole number"),
        ({"number": 2}, "no such member"),
    ],
    ids=str,
)
async def test_a_wrong_seal(server: ServedDaemon, body: dict[str, object], fault: str) -> None:
    """422 with the member that is wrong, and nothing is sealed."""
    await join(server, "autumn", op(1))
    status, problem = await seal(server, "autumn", **body)
    assert status == 422
    assert fault in problem["detail"]
    assert (await server.get(f"{PATH}/autumn"))["state"] == "open"


async def test_lists_by_state_and_text_page_by_page(server: ServedDaemon) -> None:
    """The latest first."""
    for number, name in enumerate(["a", "b", "autumn:1", "d"]):
        server.scene.clock.advance(1)
        await join(server, name, op(number), campaign=f"C_{name}")
    await seal(server, "b")
    await seal(server, "d")
    await server.record(op(3), "COMPLETED")
    assert await names(server) == ["d", "autumn:1", "b", "a"]
    assert await names(server, state="open") == ["autumn:1", "a"]
    assert await names(server, state=["sealed", "ended"]) == ["d", "b"]
    assert await names(server, search="AUTUMN") == ["autumn:1"]
    assert await names(server, search="c_b") == ["b"]
    assert await names(server, search="_") == ["d", "autumn:1", "b", "a"]
    first = await server.get(PATH, limit=3)
    assert await names(server, limit=3, cursor=first["next"]) == ["a"]


async def test_the_stream_of_a_group(server: ServedDaemon) -> None:
    """Its own events and those of its members, or its own alone."""
    await join(server, "a", op(1))
    await join(server, "b", op(2))
    await server.record(op(2), "PROCESSING")
    await server.record(op(1), "COMPLETED", stats={"delivered": 1})
    for wanted, found in [
        ({"group": "a"}, ["a", op(1), "a"]),
        ({"group": "a", "type": "group.*"}, ["a", "a"]),
        ({"group": "b", "operation": op(1), "type": "operation.*"}, [op(2), op(1)]),
    ]:
        async with server.follow(**{"from": "oldest"}, **wanted) as events:
            subjects = [(await anext(events)).document["subject"] for _ in found]
        assert subjects == found


async def test_a_group_is_answered_as_it_is_described(server: ServedDaemon) -> None:
    """With every member of the description."""
    await join(server, "autumn", op(1))
    document = await server.get("/openapi.json")
    story = await server.get(f"{PATH}/autumn")
    schema = {"$ref": "#/components/schemas/GroupStory"}
    validator(document, schema).validate(story)
    described = document["components"]["schemas"]["GroupStory"]["properties"]
    assert story.keys() == described.keys()
