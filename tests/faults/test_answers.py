"""Answers that came, and are wrong: stale, nonsensical, or not JSON at all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.fakes.api import Reply, operation, operation_id
from tests.faults.stage import FAST, ODD, Event, Stage, campaign
from tests.faults.wild import Raw, drip, endless, reset

pytestmark = pytest.mark.anyio

BORN: Final = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)


def looks(*answers: tuple[str, int, dict[str, Any]]) -> list[Event]:
    """Script `ODD` as (status, seconds of `updatedAt`, counters), created at one moment."""
    return [
        operation(ODD, status, updated=updated, created=BORN, **stats)
        for status, updated, stats in answers
    ]


def kinds(events: list[Event]) -> list[str]:
    """Return the types of events, without what they have in common."""
    return [event["type"].removeprefix("operation.") for event in events]


async def test_an_older_answer_changes_nothing(stage: Stage) -> None:
    """Counters do not fall because a cache answered."""
    events = await stage.play(
        looks(
            ("PROCESSING", 10, {"total": 9, "delivered": 5}),
            ("PROCESSING", 5, {"total": 9, "delivered": 2}),
            ("PROCESSING", 20, {"total": 9, "delivered": 7}),
            ("COMPLETED", 30, {"total": 9, "delivered": 9}),
        )
    )
    assert [event["data"]["delta"].get("delivered") for event in events] == [5, 2, 2]


async def test_an_older_end_is_believed(stage: Stage) -> None:
    """The first terminal status counts whatever its clock says: an end is never lost."""
    events = await stage.play(
        looks(("PROCESSING", 50, {"total": 1}), ("COMPLETED", 10, {"total": 1, "delivered": 1}))
    )
    assert kinds(events) == ["processing", "completed"]


async def test_an_end_does_not_reopen(stage: Stage) -> None:
    """While a completed operation settles, another status is an old answer."""
    events = await stage.play(
        looks(
            ("COMPLETED", 10, {"total": 4, "sent": 4}),
            ("PROCESSING", 20, {"total": 4, "queued": 4}),
            ("CANCELED", 25, {"total": 4, "canceled": 4}),
            ("COMPLETED", 30, {"total": 4, "delivered": 4}),
        ),
        policy=replace(FAST, settle=60.0),
    )
    assert kinds(events) == ["completed", "settled"]
    assert events[-1]["data"]["delta"] == {"sent": -4, "delivered": 4}


async def test_scheduled_does_not_follow_processing(stage: Stage) -> None:
    """It is an old answer, even with the same `updatedAt`."""
    events = await stage.play(
        looks(
            ("PROCESSING", 10, {"total": 4, "queued": 4}),
            ("SCHEDULED", 10, {"total": 4, "scheduled": 4}),
            ("COMPLETED", 10, {"total": 4, "delivered": 4}),
        )
    )
    assert kinds(events) == ["processing", "completed"]


async def test_counters_may_shrink(stage: Stage) -> None:
    """A negative delta is emitted as it is."""
    events = await stage.play(
        looks(
            ("PROCESSING", 1, {"total": 9, "delivered": 5, "failed": 2}),
            ("PROCESSING", 2, {"total": 8, "delivered": 3, "failed": 2}),
            ("COMPLETED", 3, {"total": 8, "delivered": 8}),
        )
    )
    assert [event["data"]["delta"] for event in events] == [
        {"total": 9, "delivered": 5, "failed": 2},
        {"total": -1, "delivered": -2},
        {"delivered": 5, "failed": -2},
    ]


async def test_an_unknown_status_is_carried_and_never_an_end(stage: Stage) -> None:
    """`operation.changed`, and the operation is watched on."""
    events = await stage.play(
        looks(("PROCESSING", 1, {}), ("DEFERRED", 2, {}), ("DONE_AND_DUSTED", 3, {}))
        + looks(("COMPLETED", 4, {"total": 1, "delivered": 1}))
    )
    assert kinds(events) == ["processing", "changed", "changed", "completed"]
    assert events[1]["data"]["operation"]["status"] == "DEFERRED"


async def test_a_null_counter_is_zero(stage: Stage) -> None:
    """A counter that is null or absent counts as 0."""
    sparse = operation(ODD, "PROCESSING", updated=1, created=BORN)
    sparse["stats"] = {"total": 4, "delivered": None, "queued": 4}
    events = await stage.play(
        [sparse, *looks(("COMPLETED", 2, {"total": 4, "delivered": 4}))],
    )
    assert events[0]["data"]["delta"] == {"total": 4, "queued": 4}
    assert events[1]["data"]["delta"] == {"queued": -4, "delivered": 4}


async def test_a_future_updated_at_is_not_believed(stage: Stage) -> None:
    """It counts as absent, so what comes after it is not stale."""
    far = operation(ODD, "PROCESSING", created=BORN, total=4, queued=4)
    far["updatedAt"] = "2099-01-01T00:00:00Z"
    events = await stage.play(
        [
            far,
            *looks(("PROCESSING", 1, {"total": 4, "sent": 4})),
            *looks(("COMPLETED", 2, {"total": 4, "delivered": 4})),
        ]
    )
    assert kinds(events) == ["processing", "progress", "completed"]
    assert not [line for line in stage.logs if line["event"] == "poll.stale"]


_STATS: Final = {"total": 4, "queued": 4}


def _bent(**changes: object) -> Reply:
    """Answer an operation that is well but for these members."""
    return Reply(body=operation(ODD, "PROCESSING", updated=2, created=BORN) | changes)


def _without(member: str) -> Reply:
    document = operation(ODD, "PROCESSING", updated=2, created=BORN)
    del document[member]
    return Reply(body=document)


@pytest.mark.parametrize(
    ("answer", "fault", "said"),
    [
        pytest.param(_without("stats"), "theirs", "stats is missing", id="stats-missing"),
        pytest.param(_bent(stats=None), "theirs", "stats is missing or null", id="stats-null"),
        pytest.param(
            _bent(stats=_STATS | {"delivered": "4"}), "theirs", "stats.delivered is '4'", id="text"
        ),
        pytest.param(
            _bent(stats=_STATS | {"delivered": -4}), "theirs", "stats.delivered", id="negative"
        ),
        pytest.param(_bent(id=operation_id(7)), "theirs", "asked for", id="wrong-id"),
        pytest.param(
            Reply(
                body=b"<html><h1>Welcome to the hotel</h1>", headers={"content-type": "text/html"}
            ),
            "theirs",
            "is HTML",
            id="html",
        ),
        pytest.param(Reply(body=b""), "theirs", "is empty", id="empty"),
        pytest.param(
            replace(_bent(), cut=True), "network", "closed the connection", id="truncated"
        ),
        pytest.param(Raw(send=endless), "theirs", "over 1048576 bytes", id="endless"),
        pytest.param(Raw(send=drip), "network", "no complete answer within 1 s", id="drip"),
        pytest.param(Raw(send=reset), "network", "closed the connection", id="reset"),
    ],
)
async def test_a_broken_answer_is_asked_for_again(
    stage: Stage, answer: Reply, fault: str, said: str
) -> None:
    """It changes nothing, is logged with its fault, and the operation continues."""
    before, *_, last = campaign(ODD)
    events = await stage.play([before, answer, answer, last])
    assert kinds(events) == ["scheduled", "completed"]
    failures = [line for line in stage.logs if line["event"] == "poll.failed"]
    assert len(failures) == 2
    assert {line["fault"] for line in failures} == {fault}
    assert all(said in line["error"] and line["operation"] == ODD for line in failures)
