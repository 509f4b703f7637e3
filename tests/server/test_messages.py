"""Messages over the control API: registered, listed, shown and followed like operations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import anyio
import pytest
from jsonschema import Draft202012Validator

from poller.comms.models import decode_message
from poller.server.bodies import RegistrationBody
from poller.tracking.answer import FoundAnswer
from tests.server.served import ServedDaemon
from tests.store.scenes import POLICY, op, seen

pytestmark = pytest.mark.anyio

PATH: Final = "/v1/operations"
ERROR: Final = {"code": 61337, "message": "No RCS.", "infoUrl": "https://x.test/61337"}


def msg(number: int) -> str:
    """Return the id of a message; a larger number sorts later."""
    return f"comms_message_0{number:025d}"


def attempt(channel: str, status: str, error: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make an attempt as the API shows it, an address included."""
    return {
        "from": {"channel": channel, "address": "+12065550100"},
        "status": status,
        "error": error,
    }


async def record(
    server: ServedDaemon, name: str, status: str, attempts: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """Record an answer about a message; returns the ids of its events."""
    document = {"id": name, "status": status, "attempts": list(attempts), "content": {"text": "x"}}
    at = server.scene.clock()
    answer = FoundAnswer(
        found=decode_message(document, expected_id=name), begun_at=at, arrived_at=at
    )
    [observation] = await server.scene.record((name, answer))
    server.daemon.signals.events.notify()
    return [event.id for event in observation.events]


FALLBACK: Final = [attempt("RCS", "FAILED", ERROR), attempt("SMS", "DELIVERED")]


async def ids(server: ServedDaemon, **params: object) -> list[str]:
    """List ids of one page."""
    return [found["id"] for found in (await server.get(PATH, **params))["operations"]]


async def test_a_message_is_registered_under_its_own_kind(server: ServedDaemon) -> None:
    """201 like an operation; its kind need not be said, and its source is its own place."""
    answer = await server.client.post(PATH, json={"id": msg(1), "labels": {"a": "b"}})
    assert answer.status_code == 201
    created = answer.json()
    assert (created["id"], created["kind"], created["counters"]) == (msg(1), "messages", {})
    assert created["source"].endswith(f"/Messages/{msg(1)}")


async def test_a_contradictory_kind_is_refused(server: ServedDaemon) -> None:
    """422 that names the member, the kind that the id says, and the remedy; in bulk, too."""
    registration = {"id": msg(1), "kind": "emails"}
    answer = await server.client.post(PATH, json=registration)
    assert answer.status_code == 422
    expected = f"{msg(1)} is a message of kind messages, not emails; leave kind out"
    assert answer.json()["detail"] == f"kind: {expected}"
    assert answer.json()["errors"] == [{"field": "kind", "message": expected}]
    bulk = await server.client.post(PATH, json={"operations": [registration, {"id": msg(2)}]})
    first, second = bulk.json()["results"]
    assert (first["status"], first["problem"]["errors"][0]["field"]) == (422, "kind")
    assert second["status"] == 201


def test_the_description_of_a_registration_knows_messages() -> None:
    """Its schema takes a message without a kind or with its own, and no other."""
    check = Draft202012Validator(RegistrationBody.model_json_schema())
    assert check.is_valid({"id": msg(1)})
    assert check.is_valid({"id": msg(1), "kind": "messages"})
    assert not check.is_valid({"id": msg(1), "kind": "emails"})


async def test_a_message_shows_what_its_attempts_came_to(server: ServedDaemon) -> None:
    """Counters, snapshot without addresses, and its events with where they are."""
    await server.scene.register(msg(1))
    [sent] = await record(server, msg(1), "SENT", [attempt("RCS", "SENT")])
    [delivered] = await record(server, msg(1), "DELIVERED", FALLBACK)
    story = await server.get(f"{PATH}/{msg(1)}")
    assert (story["phase"], story["outcome"], story["status"]) == (
        "ended",
        "completed",
        "DELIVERED",
    )
    assert story["counters"] == {"attempts": 2, "failed": 1, "delivered": 1}
    assert story["snapshot"]["attempts"][0]["error"] == ERROR
    assert "+12065550100" not in str(story)
    assert [(event["id"], event["type"], event["status"]) for event in story["events"]] == [
        (sent, "message.sent", "SENT"),
        (delivered, "message.delivered", "DELIVERED"),
    ]
    assert story["events"][1]["deliveries"][0]["state"] == "blocked"


async def test_lists_hold_messages(server: ServedDaemon) -> None:
    """By status and by outcome `failed`; what was registered at once is in the order of ids."""
    await server.scene.register(op(1), msg(1), msg(2), msg(3))
    await record(server, msg(1), "FAILED", [attempt("SMS", "FAILED", ERROR)])
    await record(server, msg(2), "DELIVERED", FALLBACK)
    assert await ids(server) == [op(1), msg(3), msg(2), msg(1)]
    assert await ids(server, status="FAILED") == [msg(1)]
    assert await ids(server, outcome="failed") == [msg(1)]
    assert await ids(server, outcome=["failed", "completed"], limit=1) == [msg(2)]
    page = await server.get(PATH, limit=3)
    assert await ids(server, cursor=page["next"]) == [msg(1)]


async def test_what_is_being_explained_can_be_listed(server: ServedDaemon) -> None:
    """An operation whose end is reported, and whose breakdown is read."""
    await server.scene.register(op(1), op(2))
    counters = {"total": 3, "delivered": 1, "failed": 2}
    for number, wanted in ((1, True), (2, False)):
        answer = seen(op(number), "COMPLETED", at=server.scene.clock(), stats=counters)
        await server.scene.record((op(number), answer), policy=replace(POLICY, breakdown=wanted))
    assert await ids(server, phase="explaining") == [op(1)]
    found = await server.get(f"{PATH}/{op(1)}")
    assert (found["phase"], found["outcome"], found["endedAt"]) == ("explaining", "completed", None)
    assert found["counters"] == counters


async def test_what_was_pruned_still_has_its_last_counters(server: ServedDaemon) -> None:
    """Those that its deltas summed to, though the snapshot is gone."""
    await server.scene.register(msg(1))
    await record(server, msg(1), "DELIVERED", FALLBACK)
    await server.scene.drain()
    server.scene.clock.advance(days=8)
    await server.store.retention.prune(retention_seconds=86_400)
    found = await server.get(f"{PATH}/{msg(1)}")
    assert (found["pruned"], found["snapshot"], found["status"]) == (True, None, "DELIVERED")
    assert found["counters"] == {"attempts": 2, "failed": 1, "delivered": 1}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"operation": msg(1)}, ["message.sent", "message.read"]),
        ({"type": "message.*"}, ["message.sent", "message.failed", "message.read"]),
        ({"type": ["message.failed", "operation.*"]}, ["operation.processing", "message.failed"]),
        ({"type": "final"}, ["message.failed", "message.read"]),
    ],
    ids=["id", "types", "both", "final"],
)
async def test_events_of_messages_are_followed(
    server: ServedDaemon, params: dict[str, Any], expected: list[str]
) -> None:
    """By the message's id, by type, and among all others."""
    await server.scene.register(op(1), msg(1), msg(2))
    async with server.follow(**{"from": "oldest"}, **params) as events:
        await record(server, msg(1), "SENT", [attempt("SMS", "SENT")])
        await server.record(op(1), "PROCESSING")
        await record(server, msg(2), "FAILED", [attempt("SMS", "FAILED", ERROR)])
        await record(server, msg(1), "READ", [attempt("SMS", "READ")])
        found = []
        with anyio.fail_after(10):
            async for event in events:
                found += [event.type] if event.data else []
                if found == expected:
                    break
    assert found == expected


async def test_a_forgotten_message_is_let_go(server: ServedDaemon) -> None:
    """204, also when repeated."""
    await server.scene.register(msg(1))
    for _ in range(2):
        assert (await server.client.delete(f"{PATH}/{msg(1)}")).status_code == 204
    assert await ids(server, phase="forgotten") == [msg(1)]
