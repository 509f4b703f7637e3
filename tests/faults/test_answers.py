"""Answers that came, and are wrong: stale, nonsensical, or not JSON at all."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.fakes.api import Reply, operation, operation_id
from tests.faults.stage import FAST, ODD, WELL, Event, Stage, campaign, of, registration
from tests.faults.wild import Raw, drip, endless, reset
from tests.oracle import check_promises

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


def _bent(name: str, **changes: object) -> Reply:
    """Answer an operation that is well but for these members."""
    return Reply(body=operation(name, "PROCESSING", updated=2, created=BORN) | changes)


def _without(name: str, member: str) -> Reply:
    document = operation(name, "PROCESSING", updated=2, created=BORN)
    del document[member]
    return Reply(body=document)


_HTML: Final = Reply(
    body=b"<html><h1>Welcome to the hotel</h1>", headers={"content-type": "text/html"}
)
# what answers for an operation, whose fault it is, and what the log says
_BROKEN: Final[Mapping[str, tuple[Callable[[str], Reply], str, str]]] = {
    "stats-missing": (lambda name: _without(name, "stats"), "theirs", "stats is missing"),
    "stats-null": (lambda name: _bent(name, stats=None), "theirs", "stats is missing or null"),
    "text": (
        lambda name: _bent(name, stats=_STATS | {"delivered": "4"}),
        "theirs",
        "stats.delivered is '4'",
    ),
    "negative": (
        lambda name: _bent(name, stats=_STATS | {"delivered": -4}),
        "theirs",
        "stats.delivered",
    ),
    "wrong-id": (lambda name: _bent(name, id=operation_id(7)), "theirs", "was requested"),
    "html": (lambda _: _HTML, "theirs", "is HTML"),
    "empty": (lambda _: Reply(body=b""), "theirs", "is empty"),
    "truncated": (
        lambda name: replace(_bent(name), cut=True),
        "network",
        "closed the connection",
    ),
    "endless": (lambda _: Raw(send=endless), "theirs", "over 1048576 bytes"),
    "drip": (lambda _: Raw(send=drip), "network", "no complete answer within 1 s"),
    "reset": (lambda _: Raw(send=reset), "network", "closed the connection"),
}


async def test_a_broken_answer_is_asked_for_again(stage: Stage) -> None:
    """Of every kind: it changes nothing, is logged with its fault, and the operation continues."""
    names = {operation_id(number): case for number, case in enumerate(_BROKEN, start=10)}
    for name, case in names.items():
        answer = _BROKEN[case][0](name)
        before, *_, last = campaign(name)
        stage.script(name, [before, answer, answer, last])
    async with stage.running(*map(registration, [*names, WELL])) as show:
        await show.until(lambda: show.has_ended(*names, WELL))
    check_promises(show.events)
    for name, case in names.items():
        _, fault, said = _BROKEN[case]
        assert kinds(of(name, show.events)) == ["scheduled", "completed"], case
        failures = [line for line in show.logged("poll.failed") if line["operation"] == name]
        assert [line["fault"] for line in failures] == [fault] * 2, case
        assert [line["error"] for line in failures if said not in line["error"]] == [], case
