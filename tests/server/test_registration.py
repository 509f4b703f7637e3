"""Registration over the control API."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.server.served import ServedDaemon
from tests.store.scenes import op

pytestmark = pytest.mark.anyio

PATH = "/v1/operations"


async def post(server: ServedDaemon, document: object) -> tuple[int, Any]:
    """Post a document; returns the status and the answer."""
    headers = {"Content-Type": "application/json"}
    answer = await server.client.post(PATH, content=json.dumps(document), headers=headers)
    return answer.status_code, answer.json()


async def test_a_new_operation_is_created_and_a_known_one_answered(server: ServedDaemon) -> None:
    """201 the first time, 200 after it, the same operation in both."""
    document = {"id": op(1), "kind": "emails", "labels": {"campaign": "autumn"}}
    status, created = await post(server, document)
    assert status == 201
    assert created["id"] == op(1)
    assert created["kind"] == "emails"
    assert created["labels"] == {"campaign": "autumn"}
    assert created["phase"] == "active"
    assert created["status"] is None
    assert created["registeredAt"] == "2026-11-22T10:00:00.000Z"
    assert await post(server, document) == (200, created)


async def test_acknowledged_is_durable(server: ServedDaemon, tmp_path: Path) -> None:
    """When the answer is there, another process can read the operation from the disk."""
    await post(server, {"id": op(1)})
    with closing(sqlite3.connect(tmp_path / "poller.db")) as other:
        assert other.execute("SELECT id, kind FROM watches").fetchall() == [(op(1), "messages")]


async def test_labels_are_merged(server: ServedDaemon) -> None:
    """A repeated registration adds its labels, and the new value of one wins."""
    await post(server, {"id": op(1), "labels": {"a": "1", "b": "2"}})
    _, known = await post(server, {"id": op(1), "labels": {"b": "3", "c": "4"}})
    assert known["labels"] == {"a": "1", "b": "3", "c": "4"}


async def test_labels_are_bounded_over_all_requests(server: ServedDaemon) -> None:
    """409 for what would exceed 32 in all, alone and as an item of many; nothing changes."""
    many = {f"l{number}": "" for number in range(32)}
    await post(server, {"id": op(1), "labels": many})
    more = {"id": op(1), "labels": {"one more": ""}}
    status, problem = await post(server, more)
    assert (status, problem["type"]) == (409, "urn:comms-poller:problem:conflict")
    assert problem["detail"].startswith(f"labels: {op(1)} has 32 and would have 33")
    items = [{"id": op(2), "labels": many}, {**more, "id": op(2)}, more]
    _, answer = await post(server, {"operations": items})
    assert [result["status"] for result in answer["results"]] == [201, 409, 409]
    for watched in (op(1), op(2)):
        assert (await server.get(f"{PATH}/{watched}"))["labels"] == many


async def test_the_trace_is_shown(server: ServedDaemon) -> None:
    """Null without one; the latest that was registered, alone and in the list."""
    _, created = await post(server, {"id": op(1)})
    assert (created["traceparent"], created["tracestate"]) == (None, None)
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=value",
    }
    _, known = await post(server, {"id": op(1), **trace})
    [listed] = (await server.get(PATH))["operations"]
    for found in (known, listed, await server.get(f"{PATH}/{op(1)}")):
        assert {name: found[name] for name in trace} == trace


async def test_another_kind_is_taken_over_until_something_was_seen(server: ServedDaemon) -> None:
    """200 with the new kind before the first answer of the API, 409 after it."""
    await post(server, {"id": op(1)})
    status, known = await post(server, {"id": op(1), "kind": "emails"})
    assert (status, known["kind"]) == (200, "emails")
    await server.record(op(1), "PROCESSING", kind="emails")
    status, problem = await post(server, {"id": op(1), "kind": "messages"})
    assert status == 409
    assert problem["type"] == "urn:comms-poller:problem:conflict"
    assert "emails" in problem["detail"]


async def test_what_was_forgotten_is_watched_again(server: ServedDaemon) -> None:
    """201 after DELETE; sequence numbers go on."""
    await post(server, {"id": op(1)})
    await server.record(op(1), "PROCESSING")
    await server.client.delete(f"{PATH}/{op(1)}")
    status, again = await post(server, {"id": op(1)})
    assert (status, again["phase"], again["sequence"]) == (201, "active", 1)


async def test_what_has_ended_answers_its_end(server: ServedDaemon) -> None:
    """200 and no new watch for a completed operation."""
    await post(server, {"id": op(1)})
    await server.record(op(1), "COMPLETED")
    status, ended = await post(server, {"id": op(1)})
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
        ({"id": op(1), "labels": {"\udc00x": "a"}}, "labels"),
        ({"id": op(1), "labels": {"a": "\ud800"}}, "labels.a"),
        ({"id": op(1), "labels": {"a": "\0"}}, "labels.a"),
        ({"id": op(1), "\ud800": 1}, "\ud800"),
        ({"id": op(1), "label": {}}, "label"),
        ([], "operations"),
        (None, "registration"),
        ({"operations": {}}, "operations"),
        ({"operations": [{"id": op(1)}] * 10_001}, "operations"),
        ({"operations": [], "id": op(1)}, "operations"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_mistake_names_its_field(
    shared_server: ServedDaemon, document: object, field: str
) -> None:
    """422 problem details that say which member is wrong; nothing is registered."""
    status, problem = await post(shared_server, document)
    assert status == 422
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await shared_server.get(PATH))["operations"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"id": 1e}'])
async def test_what_is_no_json_is_said_so(shared_server: ServedDaemon, body: bytes) -> None:
    """400 for a body that cannot be read, however deep or odd."""
    headers = {"Content-Type": "application/json"}
    answer = await shared_server.client.post(PATH, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[" * 100_000, "not valid JSON: nested too deeply"),
        (b'{"id": ' + b"1" * 5_000 + b"}", "not valid JSON: a number with too many digits"),
        (b'{"id": "\xff"}', "not valid JSON: not UTF-8"),
    ],
    ids=["deep", "digits", "latin-1"],
)
async def test_unreadable_json_is_described_without_python(
    shared_server: ServedDaemon, body: bytes, detail: str
) -> None:
    """The interpreter's own messages name its types and functions."""
    headers = {"Content-Type": "application/json"}
    answer = await shared_server.client.post(PATH, content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (400, detail)


async def test_a_member_given_twice_is_refused(server: ServedDaemon) -> None:
    """422 that names it; of many registrations only that one is refused."""
    headers = {"Content-Type": "application/json"}
    twice = f'{{"id": "{op(1)}", "kind": null, "id": "{op(2)}"}}'
    label = f'{{"id": "{op(3)}", "labels": {{"a": "1", "a": "2"}}}}'
    for content, field in ((twice, "id"), (label, "labels.a")):
        answer = await server.client.post(PATH, content=content, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"field": field, "message": "is given twice"}]
    many = f'{{"operations": [{twice}, {label}, {{"id": "{op(4)}"}}]}}'
    answer = await server.client.post(PATH, content=many, headers=headers)
    assert [result["status"] for result in answer.json()["results"]] == [422, 422, 201]
    assert [one["id"] for one in (await server.get(PATH))["operations"]] == [op(4)]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_taken(shared_server: ServedDaemon, media_type: str) -> None:
    """415 for what a form in a browser could send across origins."""
    answer = await shared_server.client.post(
        PATH, content=b'{"id": "x"}', headers={"Content-Type": media_type}
    )
    assert answer.status_code == 415


async def test_many_are_one_transaction_with_a_result_each(server: ServedDaemon) -> None:
    """Good ones are registered; each bad one has its own problem, in its place."""
    await post(server, {"id": op(1)})
    await server.record(op(1), "COMPLETED")
    await post(server, {"id": op(2)})
    await server.record(op(2), "PROCESSING")
    items = [{"id": op(3)}, {"id": "x"}, {"id": op(1)}, {"id": op(2), "kind": "emails"}, 7, None]
    status, answer = await post(server, {"operations": items})
    assert status == 200
    results = answer["results"]
    assert [result["status"] for result in results] == [201, 422, 200, 409, 422, 422]
    assert [result["id"] for result in results] == [op(3), "x", op(1), op(2), None, None]
    assert results[2]["outcome"] == "completed"
    assert results[3]["problem"]["title"] == "It conflicts with what is known"


@pytest.mark.slow
async def test_ten_thousand_at_once(server: ServedDaemon) -> None:
    """The most that one request may hold is registered whole, and again as known."""
    document = {"operations": [{"id": op(number)} for number in range(10_000)]}
    status, answer = await post(server, document)
    assert status == 200
    assert {result["status"] for result in answer["results"]} == {201}
    assert (await server.store.summary(since=server.scene.clock())).watched == 10_000
    _, again = await post(server, document)
    assert {result["status"] for result in again["results"]} == {200}
