"""Registration over the control API."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.server.house import House
from tests.store.scenes import op

pytestmark = pytest.mark.anyio

PATH = "/v1/operations"


async def post(door: House, document: object) -> tuple[int, Any]:
    """Post a document; returns the status and the answer."""
    headers = {"Content-Type": "application/json"}
    answer = await door.client.post(PATH, content=json.dumps(document), headers=headers)
    return answer.status_code, answer.json()


async def test_a_new_operation_is_created_and_a_known_one_answered(door: House) -> None:
    """201 the first time, 200 after it, the same operation in both."""
    document = {"id": op(1), "kind": "emails", "labels": {"campaign": "autumn"}}
    status, created = await post(door, document)
    assert status == 201
    assert created["id"] == op(1)
    assert created["kind"] == "emails"
    assert created["labels"] == {"campaign": "autumn"}
    assert created["phase"] == "active"
    assert created["status"] is None
    assert created["registeredAt"] == "2026-11-22T10:00:00.000Z"
    assert await post(door, document) == (200, created)


async def test_acknowledged_is_durable(door: House, tmp_path: Path) -> None:
    """When the answer is there, another process can read the operation from the disk."""
    await post(door, {"id": op(1)})
    with closing(sqlite3.connect(tmp_path / "poller.db")) as other:
        assert other.execute("SELECT id, kind FROM watches").fetchall() == [(op(1), "messages")]


async def test_labels_are_merged(door: House) -> None:
    """A repeated registration adds its labels, and the new value of one wins."""
    await post(door, {"id": op(1), "labels": {"a": "1", "b": "2"}})
    _, known = await post(door, {"id": op(1), "labels": {"b": "3", "c": "4"}})
    assert known["labels"] == {"a": "1", "b": "3", "c": "4"}


async def test_the_trace_is_shown(door: House) -> None:
    """Null without one; the latest that was registered, alone and in the list."""
    _, created = await post(door, {"id": op(1)})
    assert (created["traceparent"], created["tracestate"]) == (None, None)
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=value",
    }
    _, known = await post(door, {"id": op(1), **trace})
    [listed] = (await door.get(PATH))["operations"]
    for found in (known, listed, await door.get(f"{PATH}/{op(1)}")):
        assert {name: found[name] for name in trace} == trace


async def test_another_kind_is_taken_over_until_something_was_seen(door: House) -> None:
    """200 with the new kind before the first answer of the API, 409 after it."""
    await post(door, {"id": op(1)})
    status, known = await post(door, {"id": op(1), "kind": "emails"})
    assert (status, known["kind"]) == (200, "emails")
    await door.record(op(1), "PROCESSING")
    status, problem = await post(door, {"id": op(1), "kind": "messages"})
    assert status == 409
    assert problem["type"] == "urn:comms-poller:problem:conflict"
    assert "emails" in problem["detail"]


async def test_what_was_forgotten_is_watched_again(door: House) -> None:
    """201 after DELETE; sequence numbers go on."""
    await post(door, {"id": op(1)})
    await door.record(op(1), "PROCESSING")
    await door.client.delete(f"{PATH}/{op(1)}")
    status, again = await post(door, {"id": op(1)})
    assert (status, again["phase"], again["sequence"]) == (201, "active", 1)


async def test_what_has_ended_answers_its_end(door: House) -> None:
    """200 and no new watch for a completed operation."""
    await post(door, {"id": op(1)})
    await door.record(op(1), "COMPLETED")
    status, ended = await post(door, {"id": op(1)})
    assert (status, ended["phase"], ended["outcome"]) == (200, "ended", "completed")
    assert ended["nextLookAt"] is None


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "id"),
        ({"id": "x"}, "id"),
        ({"id": 3}, "id"),
        ({"id": op(1), "kind": "letters"}, "kind"),
        ({"id": op(1), "labels": {"a": 1}}, "labels.a"),
        ({"id": op(1), "labels": []}, "labels"),
        ({"id": op(1), "label": {}}, "label"),
        ([], "operations"),
        (None, "registration"),
        ({"operations": {}}, "operations"),
        ({"operations": [{"id": op(1)}] * 10_001}, "operations"),
        ({"operations": [], "id": op(1)}, "operations"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_mistake_names_its_field(shared_door: House, document: object, field: str) -> None:
    """422 problem details that say which member is wrong; nothing is registered."""
    status, problem = await post(shared_door, document)
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await shared_door.get(PATH))["operations"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"id": 1e}'])
async def test_what_is_no_json_is_said_so(shared_door: House, body: bytes) -> None:
    """400 for a body that cannot be read, however deep or odd."""
    headers = {"Content-Type": "application/json"}
    answer = await shared_door.client.post(PATH, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_taken(shared_door: House, media_type: str) -> None:
    """415 for what a form in a browser could send across origins."""
    answer = await shared_door.client.post(
        PATH, content=b'{"id": "x"}', headers={"Content-Type": media_type}
    )
    assert answer.status_code == 415


async def test_many_are_one_transaction_with_a_result_each(door: House) -> None:
    """Good ones are registered; each bad one has its own problem, in its place."""
    await post(door, {"id": op(1)})
    await door.record(op(1), "COMPLETED")
    await post(door, {"id": op(2)})
    await door.record(op(2), "PROCESSING")
    items = [{"id": op(3)}, {"id": "x"}, {"id": op(1)}, {"id": op(2), "kind": "emails"}, 7, None]
    status, answer = await post(door, {"operations": items})
    assert status == 200
    results = answer["results"]
    assert [result["status"] for result in results] == [201, 422, 200, 409, 422, 422]
    assert [result["id"] for result in results] == [op(3), "x", op(1), op(2), None, None]
    assert results[2]["outcome"] == "completed"
    assert results[3]["problem"]["title"] == "It contradicts what is known"


@pytest.mark.slow
async def test_ten_thousand_at_once(door: House) -> None:
    """The most that one request may hold is registered whole, and again as known."""
    document = {"operations": [{"id": op(number)} for number in range(10_000)]}
    status, answer = await post(door, document)
    assert status == 200
    assert {result["status"] for result in answer["results"]} == {201}
    assert (await door.store.summary(since=door.scene.clock())).watched == 10_000
    _, again = await post(door, document)
    assert {result["status"] for result in again["results"]} == {200}


async def test_half_a_surrogate_pair_is_carried_through(door: House) -> None:
    """What JSON can write and UTF-8 cannot is stored and shown as it came."""
    content = b'{"id": "%s", "labels": {"half": "\\ud800"}}' % op(1).encode()
    headers = {"Content-Type": "application/json"}
    answer = await door.client.post(PATH, content=content, headers=headers)
    assert answer.status_code == 201
    assert b'"half":"\\ud800"' in answer.content
    assert (await door.client.get(f"{PATH}/{op(1)}")).status_code == 200
