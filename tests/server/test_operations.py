"""Reading operations back over the control API, and forgetting them."""

from datetime import timedelta

import pytest

from poller.tracking.delivery import AttemptResult, Subscription
from tests.server.served import ServedDaemon
from tests.store.scenes import APP, declare, op, registration

pytestmark = pytest.mark.anyio

PATH = "/v1/operations"


async def ids(server: ServedDaemon, **params: object) -> list[str]:
    """List ids of one page."""
    return [found["id"] for found in (await server.get(PATH, **params))["operations"]]


async def test_pages_hold_each_operation_once(server: ServedDaemon) -> None:
    """Following `next` shows everything, the newest first, and ends."""
    await server.scene.register(*(op(number) for number in range(25)))
    found: list[str] = []
    params: dict[str, object] = {"limit": 10}
    while True:
        page = await server.get(PATH, **params)
        found += [one["id"] for one in page["operations"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert found == [op(number) for number in reversed(range(25))]


async def test_a_page_that_is_just_full_is_the_last(server: ServedDaemon) -> None:
    """No `next` where nothing comes behind it."""
    await server.scene.register(op(1), op(2))
    assert (await server.get(PATH, limit=2))["next"] is None


async def test_filters(server: ServedDaemon) -> None:
    """By status, kind, phase, outcome and label; several values mean any of them."""
    await server.store.register(
        [
            registration(op(1), "emails"),
            registration(op(2)),
            registration(op(3)),
            registration(op(4)),
        ]
    )
    await server.record(op(2), "PROCESSING")
    await server.record(op(3), "COMPLETED")
    await server.store.forget(op(4))
    assert await ids(server, status="PROCESSING") == [op(2)]
    assert await ids(server, status=["PROCESSING", "COMPLETED"]) == [op(3), op(2)]
    assert await ids(server, kind="emails") == [op(1)]
    assert await ids(server, phase="forgotten") == [op(4)]
    assert await ids(server, phase=["active", "ended"], kind="messages") == [op(3), op(2)]
    assert await ids(server, outcome="completed") == [op(3)]


async def test_a_search_finds_parts_of_ids_and_labels(server: ServedDaemon) -> None:
    """In any case; what a pattern of a database means is only text here."""
    await server.store.register(
        [
            registration(op(1), campaign="Autumn"),
            registration(op(2), note='100%_"x"'),
            registration(op(3)),
        ]
    )
    assert await ids(server, search="autumn") == [op(1)]
    assert await ids(server, search="CAMPAIGN") == [op(1)]
    assert await ids(server, search='%_"x') == [op(2)]
    assert await ids(server, search="%") == [op(2)]
    assert await ids(server, search=op(3)[-6:].upper()) == [op(3)]
    assert await ids(server, search="nothing like it") == []
    assert await ids(server, id=[op(1), op(3)]) == [op(3), op(1)]


async def test_progress_counts_each_message_once(server: ServedDaemon) -> None:
    """Whichever way the vendor counts; the rate is that between the last polls."""
    await server.scene.register(op(1))
    await server.record(op(1), "PROCESSING", stats={"total": 100, "queued": 90, "delivered": 10})
    server.scene.clock.advance(10)
    await server.record(op(1), "PROCESSING", stats={"total": 100, "queued": 40, "delivered": 60})
    assert (await server.get(f"{PATH}/{op(1)}"))["progress"] == {
        "total": 100,
        "done": 60,
        "failed": 0,
        "stages": {"queued": 40, "delivered": 60},
        "perSecond": 5.0,
        "secondsLeft": 8.0,
    }


async def test_a_summary_counts_what_is_known(server: ServedDaemon) -> None:
    """By how it ended; what was forgotten is neither running nor ended."""
    await server.scene.register(*(op(number) for number in range(1, 6)))
    await server.record(op(1), "COMPLETED")
    await server.record(op(2), "CANCELED")
    await server.store.forget(op(5))
    assert await server.get("/v1/summary") == {
        "running": 2,
        "ended": 2,
        "completed": 1,
        "failed": 0,
        "canceled": 1,
        "lost": 0,
    }


async def test_labels_match_exactly(server: ServedDaemon) -> None:
    """A label is a name and a value; all that are asked for must be there; JSON fools nobody."""
    await server.store.register(
        [
            registration(op(1), campaign="autumn", team="a"),
            registration(op(2), campaign="autumn"),
            registration(op(3), campaign="autumn-2"),
            registration(op(4), **{'x","campaign': "autumn", "a:b": "c"}),
            registration(op(5), note='"campaign":"autumn"'),
        ]
    )
    assert await ids(server, label="campaign:autumn") == [op(2), op(1)]
    assert await ids(server, label=["campaign:autumn", "team:a"]) == [op(1)]
    assert await ids(server, label=["campaign:autumn", "campaign:autumn-2"]) == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"kind": "letters"}, "kind"),
        ({"phase": "gone"}, "phase"),
        ({"label": "campaign"}, "label"),
        ({"status": "a b"}, "status"),
        ({"statsu": "PROCESSING"}, "statsu"),
    ],
)
async def test_a_bad_filter_is_refused(
    shared_server: ServedDaemon, params: dict[str, str], field: str
) -> None:
    """422 that names the parameter; a typing mistake never lists everything."""
    answer = await shared_server.client.get(PATH, params=params)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_the_story_answers_why_nothing_arrived(server: ServedDaemon) -> None:
    """Each event with each delivery: delivered, waiting with its last error, blocked behind it."""
    log = Subscription(sink="log")
    await server.store.configure_sinks(declare("app", "log"))
    await server.scene.register(op(1))
    [first] = await server.record(op(1), "PROCESSING", to=(APP, log), stats={"queued": 3})
    [second] = await server.record(op(1), "COMPLETED", to=(APP,), stats={"delivered": 3})
    await server.scene.drain("log")
    [claim] = await server.scene.deliveries("app")
    await server.scene.settle([claim], AttemptResult.FAILED, status=503, error="answered 503")
    story = await server.get(f"{PATH}/{op(1)}")
    assert [event["id"] for event in story["events"]] == [first, second]
    one, two = story["events"]
    assert (one["type"], one["status"], one["delta"]) == (
        "operation.processing", "PROCESSING", {"queued": 3},
    )  # fmt: skip
    assert (two["final"], two["delta"]) == (True, {"queued": -3, "delivered": 3})
    assert two["operations"] is None
    app, other = one["deliveries"]
    assert other["state"] == "delivered"
    assert other["doneAt"] == "2026-11-22T10:00:00.000Z"
    assert (app["state"], app["lastStatus"], app["lastError"]) == ("waiting", 503, "answered 503")
    assert app["attempts"] == 1
    assert app["nextAttemptAt"] > "2026-11-22T10:00:00.000Z"
    assert app["sinkState"] == "failing"
    [blocked] = two["deliveries"]
    assert (blocked["state"], blocked["blockedBy"]) == ("blocked", first)
    assert blocked["nextAttemptAt"] is None


async def test_a_dead_letter_shows_and_blocks_nobody(server: ServedDaemon) -> None:
    """What was given up is `dead`; the next event waits for itself alone."""
    await server.scene.register(op(1))
    await server.record(op(1), "PROCESSING")
    await server.record(op(1), "COMPLETED")
    server.scene.clock.advance(days=4)
    [claim] = await server.scene.deliveries("app")
    await server.scene.settle([claim], AttemptResult.FAILED, error="no route")
    one, two = (await server.get(f"{PATH}/{op(1)}"))["events"]
    assert one["deliveries"][0]["state"] == "dead"
    assert one["deliveries"][0]["lastError"] == "no route"
    assert two["deliveries"][0]["state"] == "waiting"


async def test_nothing_is_tried_for_a_sink_that_is_off(server: ServedDaemon) -> None:
    """Disabled by the receiver, or no longer configured: no next attempt, and it says why."""
    await server.store.configure_sinks(declare("app", "old"))
    await server.scene.register(op(1))
    await server.record(op(1), "PROCESSING", to=(APP, Subscription(sink="old")))
    await server.store.configure_sinks(declare("app"))
    [claim] = await server.scene.deliveries("app")
    await server.scene.settle([claim], AttemptResult.GONE, status=410, error="gone")
    app, old = (await server.get(f"{PATH}/{op(1)}"))["events"][0]["deliveries"]
    assert (app["state"], app["sinkState"], app["nextAttemptAt"]) == ("waiting", "disabled", None)
    assert (old["state"], old["sinkState"], old["nextAttemptAt"]) == ("waiting", None, None)


async def test_long_stories_show_their_end(server: ServedDaemon) -> None:
    """The latest events, and how many came before."""
    await server.scene.register(op(1))
    for number in range(1, 6):
        await server.record(op(1), "PROCESSING", stats={"delivered": number})
        server.scene.clock.advance(60)
    story = await server.get(f"{PATH}/{op(1)}", events=2)
    assert [event["sequence"] for event in story["events"]] == [4, 5]
    assert story["earlierEvents"] == 3
    assert (await server.get(f"{PATH}/{op(1)}", events=0))["events"] == []


async def test_a_stub_still_answers_its_end(server: ServedDaemon) -> None:
    """After retention: the outcome and the status, without events; lists leave it out."""
    await server.scene.run_through(op(1))
    await server.scene.drain()
    server.scene.clock.advance(days=2)
    await server.store.retention.prune(retention_seconds=timedelta(days=1).total_seconds())
    story = await server.get(f"{PATH}/{op(1)}")
    assert (story["pruned"], story["outcome"], story["status"]) == (True, "completed", "COMPLETED")
    assert story["events"] == []
    assert await ids(server) == []


async def test_forgetting_is_idempotent(server: ServedDaemon) -> None:
    """204, also when repeated; the recorded deliveries still go out."""
    await server.scene.register(op(1))
    [event] = await server.record(op(1), "PROCESSING")
    for _ in range(2):
        answer = await server.client.delete(f"{PATH}/{op(1)}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await server.get(f"{PATH}/{op(1)}"))["phase"] == "forgotten"
    assert [claim.id for claim in await server.scene.drain()] == [event]


@pytest.mark.parametrize("name", [op(1), "x", "%00", "comms_message_01h9krwprkeee8fzqspvwy6nq8"])
async def test_an_unknown_operation_is_a_problem(shared_server: ServedDaemon, name: str) -> None:
    """404 problem details for what was never registered, or is no id at all."""
    for method in ("GET", "DELETE"):
        answer = await shared_server.client.request(method, f"{PATH}/{name}")
        assert answer.status_code == 404
        assert answer.json()["type"] == "urn:comms-poller:problem:unknown-operation"
