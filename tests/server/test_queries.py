"""Query parameters: what is mistyped is refused, with the field, the fault and the fix."""

from typing import Any

import pytest

from tests.server.conftest import Build
from tests.server.served import ServedDaemon
from tests.store.scenes import op, registration

pytestmark = pytest.mark.anyio

NOT_OURS = ("pydantic", "should", "Input", "Value error", "String", "Extra", "permitted", "Enum")


@pytest.mark.parametrize(
    ("path", "params", "field", "fix"),
    [
        ("/v1/events", {"type": "operation.finished"}, "type", "operation.completed"),
        ("/v1/events", {"type": "Operation"}, "type", "operation.*"),
        ("/v1/events", {"from": "newest"}, "from", "must be one of: oldest"),
        ("/v1/events", {"operation": "x"}, "operation", "comms_operation_"),
        ("/v1/events", {"label": "x"}, "label", "campaign=autumn"),
        ("/v1/events", {"types": "final"}, "types", "from, operation, group, type, label"),
        ("/v1/operations", {"status": "FINISHED"}, "status", "COMPLETED"),
        ("/v1/operations", {"status": "a b"}, "status", "PROCESSING"),
        ("/v1/operations", {"kind": "letters"}, "kind", "messages, emails"),
        ("/v1/operations", {"phase": "gone"}, "phase", "active, settling"),
        ("/v1/operations", {"outcome": "won"}, "outcome", "completed"),
        ("/v1/operations", {"limit": "0"}, "limit", "at least 1"),
        ("/v1/operations", {"limit": "many"}, "limit", "whole number"),
        ("/v1/operations", {"label": ["a=b"] * 33}, "label", "32 times"),
        ("/v1/operations", {"group": "comms_x"}, "group", "64 letters"),
        ("/v1/operations", {"sort": "best"}, "sort", "must be one of: registered, failed"),
        ("/v1/operations", {"withFailures": "maybe"}, "withFailures", "must be true or false"),
        ("/v1/operations", {"sort": "failed", "cursor": f"1.{op(1)}"}, "cursor", "of its page"),
        ("/v1/totals", {}, "by", "is missing"),
        ("/v1/totals", {"by": "kind"}, "by", "label:campaign"),
        ("/v1/totals", {"by": "group", "sort": "failed"}, "sort", "there are"),
        ("/v1/groups", {"state": "closed"}, "state", "must be one of: open, sealed, ended"),
        ("/v1/groups", {"cursor": "x"}, "cursor", "next"),
        ("/v1/operations", {"cursor": "x"}, "cursor", "next"),
        (f"/v1/operations/{op(1)}", {"events": "1001"}, "events", "at most 1000"),
        (f"/v1/operations/{op(1)}", {"event": "1"}, "event", "there are: events"),
        ("/v1/sinks", {"sink": "app"}, "sink", "has none"),
        ("/v1/dead-letters", {"sink": "App"}, "sink", "GET /v1/sinks"),
        ("/v1/dead-letters", {"since": "0.0"}, "since", "2026-11-22T10:00:00Z"),
        ("/v1/dead-letters", {"until": "yesterday"}, "until", "2026-11-22T10:00:00Z"),
        (
            "/v1/dead-letters",
            {"since": "2026-11-22T10:00:00Z", "until": "2026-11-22T10:00:00Z"},
            "since",
            "before until",
        ),
        ("/v1/dead-letters", {"cursor": "x"}, "cursor", "next"),
    ],
    ids=str,
)
async def test_a_mistake_is_refused_with_its_fix(
    shared_server: ServedDaemon, path: str, params: dict[str, Any], field: str, fix: str
) -> None:
    """422 that names the parameter and what is allowed, in no library's words."""
    answer = await shared_server.client.get(path, params=params)
    assert answer.status_code == 422
    problem = answer.json()
    [error] = problem["errors"]
    assert error["field"] == field
    assert problem["detail"] == f"{field}: {error['message']}"
    assert fix in error["message"]
    assert not any(word in error["message"] for word in NOT_OURS)


async def test_mistakes_outside_of_the_query(server: ServedDaemon) -> None:
    """Likewise in a path and in a header; other routes refuse parameters, too."""
    cases = [
        ("POST", "/v1/events/a.b/replay", {}, "event_id", "is not the id of an event"),
        ("GET", "/v1/events", {"Last-Event-ID": "x" * 201}, "Last-Event-ID", "200 characters"),
        ("DELETE", f"/v1/operations/{op(1)}?force=1", {}, "force", "has none"),
        ("POST", "/v1/operations?kind=emails", {}, "kind", "has none"),
    ]
    for method, path, headers, field, message in cases:
        answer = await server.client.request(method, path, headers=headers)
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert error["field"] == field
        assert message in error["message"]
        assert not any(word in error["message"] for word in NOT_OURS)


async def test_a_sink_that_nobody_knows_is_named(server: ServedDaemon) -> None:
    """404 with those that there are, not an empty list."""
    answer = await server.client.get("/v1/dead-letters", params={"sink": "ap"})
    assert (answer.status_code, answer.json()["type"]) == (
        404,
        "urn:comms-poller:problem:unknown-sink",
    )
    assert answer.json()["hint"] == "known sinks: app"


async def test_statuses_in_either_case_and_new_ones(server: ServedDaemon) -> None:
    """Documented ones always; one that the vendor invented once something has it."""
    await server.scene.register(op(1), op(2))
    await server.record(op(1), "PROCESSING")
    paused = {"status": "paused"}
    assert (await server.client.get("/v1/operations", params=paused)).status_code == 422
    await server.record(op(2), "PAUSED")
    for status, found in [("processing", [op(1)]), ("paused", [op(2)]), ("FAILED", [])]:
        page = await server.get("/v1/operations", status=status)
        assert [one["id"] for one in page["operations"]] == found


async def test_labels_are_written_as_on_the_command_line(server: ServedDaemon) -> None:
    """With `=`, or with `:` as before; a name may hold a colon, a value anything."""
    await server.store.register(
        [registration(op(1), campaign="autumn"), registration(op(2), **{"a:b": "c=d:e"})]
    )
    for label, found in [
        ("campaign=autumn", [op(1)]),
        ("campaign:autumn", [op(1)]),
        ("a:b=c=d:e", [op(2)]),
    ]:
        page = await server.get("/v1/operations", label=label)
        assert [one["id"] for one in page["operations"]] == found


async def test_a_bare_list_is_answered_with_how_to_register_many(server: ServedDaemon) -> None:
    """422 that shows what to write."""
    answer = await server.client.post("/v1/operations", json=[{"id": op(1)}])
    assert answer.status_code == 422
    assert '{"operations": […]}' in answer.json()["detail"]


@pytest.mark.parametrize("token", [None, "a-token-of-some-length"])
async def test_a_browser_of_another_site_gets_advice_that_works(
    build: Build, token: str | None
) -> None:
    """403 for its preflight, too, with or without a token set: no token would help a browser."""
    async with build(token=token) as server:
        for method, path in [("OPTIONS", "/v1/operations"), ("GET", "/readyz")]:
            answer = await server.client.request(
                method, path, headers={"Origin": "https://app.example", "Authorization": ""}
            )
            assert answer.status_code == 403
            assert "token" not in answer.text
            assert "that site's server" in answer.json()["hint"]
            assert not [name for name in answer.headers if name.startswith("access-control")]
