"""Sinks, dead letters and replays over the control API."""

import pytest

from poller.tracking.delivery import AttemptResult, Subscription
from poller.tracking.registration import Registration
from tests.server.served import ServedDaemon
from tests.store.scenes import APP, declare, op

pytestmark = pytest.mark.anyio


async def bury(server: ServedDaemon, *operations: str, sink: str = "app") -> None:
    """Let the first event of each operation die at a sink."""
    server.scene.clock.advance(days=4)
    claimed = await server.scene.deliveries(sink)
    assert {claim.subject for claim in claimed} == set(operations)
    await server.scene.settle(
        claimed, AttemptResult.FAILED, sink=sink, status=500, error="answered 500"
    )


async def test_a_sink_shows_its_health_and_its_backlog(server: ServedDaemon) -> None:
    """State, since, last error, how many wait and since when."""
    await server.scene.register(op(1))
    await server.record(op(1), "PROCESSING")
    [claim] = await server.scene.deliveries("app")
    await server.scene.settle([claim], AttemptResult.FAILED, status=503, error="answered 503")
    [sink] = (await server.get("/v1/sinks"))["sinks"]
    assert (sink["name"], sink["state"], sink["configured"]) == ("app", "failing", True)
    assert (sink["lastStatus"], sink["lastError"], sink["failures"]) == (503, "answered 503", 1)
    assert (sink["waiting"], sink["dead"]) == (1, 0)
    assert sink["oldest"] == sink["since"] == "2026-11-22T10:00:00.000Z"


async def test_a_sink_whose_every_event_is_refused_is_rejecting(server: ServedDaemon) -> None:
    """With how many of how many, the last answer and the next attempt; and it is degraded."""
    await server.scene.register(op(1), op(2))
    for operation in (op(1), op(2)):
        await server.record(operation, "PROCESSING")
    claimed = await server.scene.deliveries("app")
    await server.scene.settle(claimed, AttemptResult.REFUSED, status=400, error="answered 400")
    [sink] = (await server.get("/v1/sinks"))["sinks"]
    assert (sink["state"], sink["lastError"]) == ("rejecting", "answered 400")
    assert (sink["refused"], sink["answered"], sink["waiting"]) == (2, 2, 2)
    assert sink["nextAttempt"] > "2026-11-22T10:00:00.999Z"


async def test_a_sink_that_was_taken_away_shows_while_something_waits(server: ServedDaemon) -> None:
    """It is no longer configured, and named as long as events wait for it."""
    await server.store.configure_sinks(declare("app", "old"))
    await server.scene.register(op(1))
    await server.record(op(1), "PROCESSING", to=(Subscription(sink="old"),))
    await server.store.configure_sinks(declare("app"))
    sinks = (await server.get("/v1/sinks"))["sinks"]
    assert [(sink["name"], sink["configured"], sink["waiting"]) for sink in sinks] == [
        ("app", True, 0),
        ("old", False, 1),
    ]


async def test_dead_letters_page_through_events_and_sinks(server: ServedDaemon) -> None:
    """Each dead letter once, also where one event died at several sinks."""
    sinks = ("app", "log")
    await server.store.configure_sinks(declare(*sinks))
    await server.scene.register(op(1), op(2))
    for operation in (op(1), op(2)):
        await server.record(operation, "PROCESSING", to=[Subscription(sink=name) for name in sinks])
    await bury(server, op(1), op(2), sink="app")
    await bury(server, op(1), op(2), sink="log")
    found = []
    params: dict[str, object] = {"limit": 1}
    while True:
        page = await server.get("/v1/dead-letters", **params)
        found += [(letter["operationId"], letter["sink"]) for letter in page["deadLetters"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert found == [(op(1), "app"), (op(1), "log"), (op(2), "app"), (op(2), "log")]


async def test_dead_letters_say_why_and_can_be_filtered(server: ServedDaemon) -> None:
    """The last error stays; by sink, operation and time of recording."""
    await server.store.configure_sinks(declare("app", "log"))
    await server.scene.register(op(1))
    [event] = await server.record(op(1), "PROCESSING")
    await bury(server, op(1))
    [letter] = (await server.get("/v1/dead-letters"))["deadLetters"]
    assert (letter["eventId"], letter["attempts"]) == (event, 1)
    assert (letter["lastStatus"], letter["lastError"]) == (500, "answered 500")
    assert letter["diedAt"] == "2026-11-26T10:00:00.000Z"
    for params, number in [
        ({"sink": "app"}, 1),
        ({"sink": "log"}, 0),
        ({"operation": op(1)}, 1),
        ({"operation": op(2)}, 0),
        ({"since": "2026-11-22T10:00:00Z"}, 1),
        ({"until": "2026-11-22T10:00:00Z"}, 0),
    ]:
        assert len((await server.get("/v1/dead-letters", **params))["deadLetters"]) == number


@pytest.mark.parametrize("moment", ["0.0", "yesterday", "2026-11-22T10:00:00", "2026-11-22"])
async def test_a_moment_is_written_out(shared_server: ServedDaemon, moment: str) -> None:
    """RFC 3339 with its offset; no numbers, no guesses."""
    answer = await shared_server.client.get("/v1/dead-letters", params={"since": moment})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "since"


async def test_a_replayed_event_goes_out_again(server: ServedDaemon) -> None:
    """To every sink that it was for: the dead letter is one no more."""
    await server.scene.register(op(1))
    [event] = await server.record(op(1), "PROCESSING")
    await bury(server, op(1))
    answer = await server.client.post(f"/v1/events/{event}/replay")
    assert (answer.status_code, answer.json()) == (202, {"event": event, "sinks": ["app"]})
    assert (await server.get("/v1/dead-letters"))["deadLetters"] == []
    assert [claim.id for claim in await server.scene.drain()] == [event]


@pytest.mark.parametrize("body", [{"sinks": ["log"]}, {"sink": "log"}], ids=str)
async def test_an_event_can_be_sent_to_a_sink_that_never_had_it(
    server: ServedDaemon, body: dict[str, object]
) -> None:
    """A named sink gets it, though it did not want it when it was recorded."""
    await server.store.configure_sinks(declare("app", "log"))
    await server.scene.register(op(1))
    [event] = await server.record(op(1), "PROCESSING", to=(APP,))
    answer = await server.client.post(f"/v1/events/{event}/replay", json=body)
    assert answer.json()["sinks"] == ["log"]
    assert [claim.id for claim in await server.scene.drain("log")] == [event]


@pytest.mark.parametrize(
    ("event", "document", "status", "problem"),
    [
        ("00000000-0000-7000-8000-000000000000", {}, 404, "unknown-event"),
        ("00000000-0000-7000-8000-000000000000", {"sinks": ["nowhere"]}, 404, "unknown-sink"),
        ("not.an.id", {}, 422, "invalid"),
        ("x", {"sinks": []}, 422, "invalid"),
        ("x", {"sinks": "app"}, 422, "invalid"),
        ("x", {"sinks": ["A b"]}, 422, "invalid"),
        ("x", {"sink": "A b"}, 422, "invalid"),
        ("x", {"sink": "app", "sinks": ["app"]}, 422, "invalid"),
        ("x", [], 422, "invalid"),
    ],
)
async def test_a_bad_replay_is_a_problem(
    shared_server: ServedDaemon, event: str, document: object, status: int, problem: str
) -> None:
    """Unknown events and sinks are 404, anything odd is 422."""
    answer = await shared_server.client.post(f"/v1/events/{event}/replay", json=document)
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:comms-poller:problem:{problem}"


async def test_dead_letters_are_replayed_in_bulk(server: ServedDaemon) -> None:
    """Those of the filter alone; what was replayed is no dead letter any more."""
    await server.scene.register(op(1), op(2))
    for operation in (op(1), op(2)):
        await server.record(operation, "PROCESSING")
    await bury(server, op(1), op(2))
    answer = await server.client.post("/v1/dead-letters/replay", json={"operation": op(1)})
    assert (answer.status_code, answer.json()) == (202, {"replayed": {"app": 1}, "next": None})
    assert len((await server.get("/v1/dead-letters"))["deadLetters"]) == 1
    answer = await server.client.post("/v1/dead-letters/replay", json={"all": True})
    assert answer.json() == {"replayed": {"app": 1}, "next": None}
    [sink] = (await server.get("/v1/sinks"))["sinks"]
    assert (sink["waiting"], sink["dead"]) == (2, 0)


async def test_a_dead_letter_of_a_group_names_the_group(server: ServedDaemon) -> None:
    """Not the key under which the store keeps it."""
    await server.store.register([Registration(id=op(1), kind="messages", group="autumn")])
    await server.record(op(1), "COMPLETED")
    await server.daemon.seal("autumn", None)
    server.scene.clock.advance(days=4)
    for _ in range(5):
        if claimed := await server.scene.deliveries("app"):
            await server.scene.settle(claimed, AttemptResult.FAILED, status=500, error="x")
    letters = (await server.get("/v1/dead-letters"))["deadLetters"]
    assert {letter["operationId"] for letter in letters} == {op(1), "autumn"}


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 422, "all"),
        ({"all": True, "sink": "app"}, 422, "all"),
        ({"all": False}, 422, "all"),
        ({"sink": "nope"}, 404, "nope"),
        ({"since": "2026-11-22T10:00:00Z", "until": "2026-11-22T10:00:00Z"}, 422, "before until"),
        ({"sinks": ["app"]}, 422, "sinks"),
    ],
)
async def test_nothing_is_replayed_by_mistake(
    shared_server: ServedDaemon, body: dict[str, object], status: int, word: str
) -> None:
    """An empty body is not everything, and a mistyped filter widens nothing."""
    answer = await shared_server.client.post("/v1/dead-letters/replay", json=body)
    assert (answer.status_code, word in answer.text) == (status, True), answer.text
