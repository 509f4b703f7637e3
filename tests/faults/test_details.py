"""What is read besides operations: schedules, receipts, and what failed, each with its faults."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.api import Reply, envelope, operation, operation_id
from tests.fakes.process import Poller, eventually
from tests.faults.conftest import Witness
from tests.faults.stage import FAST, ODD, WELL, Event, Show, Stage, campaign, of, registration
from tests.faults.wild import Raw, WildApi
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

READING: Final = replace(FAST, breakdown=True)
HTML: Final = Reply(body=b"<html></html>", headers={"content-type": "text/html"})
GROUP: Final = ODD.replace("operation", "message")
FAILED: Final = [f"comms_message_0{number:025d}" for number in range(2)]
ERRORS: Final = {
    "errors": [{"code": 30003, "message": "Unreachable", "context": name} for name in FAILED]
}


def message(name: str, status: str, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Make a message as a list shows it, of the operations that `campaign` makes."""
    made = operation(operation_id(1), "COMPLETED")["createdAt"]
    sender = {"address": "+12065550100", "channel": "SMS"}
    return {"id": name, "status": status, "from": sender, "createdAt": made, **members}


def page(*messages: Mapping[str, Any], token: str | None = None) -> dict[str, Any]:
    """Answer one page of messages."""
    return {"messages": list(messages), "pagination": {"next": token}}


LISTED: Final = page(message(FAILED[0], "FAILED"), message(FAILED[1], "FAILED"))


def breakdowns(show: Show, name: str = ODD) -> list[Event]:
    """Return the breakdowns that were emitted for an operation."""
    found = [event["data"] for event in of(name, show.events) if "breakdown" in event["type"]]
    return [data["breakdown"] for data in found]


async def explain(
    stage: Stage,
    errors: Sequence[Reply | Event],
    messages: Sequence[Reply | Event],
    *,
    hours: float = 0,
) -> Event:
    """Let both operations end, these be the answers to what is read then; the breakdown.

    `hours` pass after ten requests for the errors.
    """
    stage.script(ODD, campaign(ODD))
    stage.script(WELL, [operation(WELL, "COMPLETED", total=5, delivered=5)])
    stage.script("Errors", errors)
    stage.script("Messages", messages)
    async with stage.running(policy=READING) as show:
        if hours:
            await show.until(lambda: sum("/Errors" in path for path in stage.api.requests) > 10)
            assert breakdowns(show) == []
            stage.clock.jump(hours * 3600)
        await show.until(lambda: bool(breakdowns(show)) and show.has_ended())
    [found] = breakdowns(show)
    assert of(ODD, show.events)[-1]["type"] == "operation.breakdown"
    assert [event["data"]["final"] for event in of(ODD, show.events)[-2:]] == [True, False]
    return found


async def test_errors_that_are_refused(stage: Stage) -> None:
    """With 404, 400, or three times with nonsense: the breakdown says that it is without them."""
    not_found = Reply(status=404, body=envelope(20404, "no such thing"))
    rejected = Reply(status=400, body=envelope(20400, "no such thing"))
    nonsense = Reply(body={"errors": {"code": 30003}})
    stage.script("Errors", [not_found, rejected, nonsense])
    stage.script("Messages", [LISTED])
    names = [operation_id(number) for number in range(10, 13)]
    for name in names:
        stage.script(name, campaign(name))
    async with stage.running(*map(registration, names), policy=READING) as show:
        await show.until(lambda: all(breakdowns(show, name) for name in names))
    for name in names:
        [found] = breakdowns(show, name)
        assert (found["complete"], found["missing"], found["errors"]) == (False, ["errors"], [])
        assert found["messages"] == [{"status": "FAILED", "channel": "SMS", "count": 2}]
    assert sum("/Errors" in path for path in stage.api.requests) == 5


async def test_errors_that_fail_for_an_hour(stage: Stage) -> None:
    """With 500, a gateway's page or HTML: asked for again and again, and after an hour left out."""
    error, gateway = Reply(status=500, body=envelope(20500, "later")), Reply(status=404, body=b"")
    found = await explain(stage, [error, gateway, HTML] * 20, [LISTED], hours=1.01)
    assert (found["complete"], found["missing"]) == (False, ["errors"])


async def test_errors_that_fail_for_a_while(stage: Stage) -> None:
    """What is answered in the end is in the breakdown, once."""
    broken = Reply(body=ERRORS, cut=True)
    error = Reply(status=500, body=envelope(20500, "later"))
    found = await explain(stage, [HTML, error, broken, error, ERRORS], [LISTED])
    assert found["complete"]
    assert [(one["code"], one["count"]) for one in found["errors"]] == [(30003, 2)]


async def test_a_storm_of_429_in_a_breakdown(stage: Stage) -> None:
    """Nothing is lost and nothing counted twice."""
    storm = Reply(status=429, body=envelope(20429, "Too many"), headers={"retry-after": "0"})
    first = {**ERRORS, "pagination": {"next": "2"}}
    found = await explain(stage, [storm, first, storm, {"errors": []}], [storm, LISTED])
    assert found["complete"]
    assert [(one["code"], one["count"]) for one in found["errors"]] == [(30003, 2)]
    assert found["messages"] == [{"status": "FAILED", "channel": "SMS", "count": 2}]


async def test_a_list_that_ignores_the_status(stage: Stage) -> None:
    """Messages of other statuses are passed over: each is counted under its own."""
    other = message("comms_message_00000000000000000000000007", "UNDELIVERED")
    fine = message("comms_message_00000000000000000000000008", "DELIVERED")
    everything = page(*LISTED["messages"], other, fine)
    found = await explain(stage, [ERRORS], [everything])
    assert found["complete"]
    assert found["messages"] == [
        {"status": "FAILED", "channel": "SMS", "count": 2},
        {"status": "UNDELIVERED", "channel": "SMS", "count": 1},
    ]


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param([message(FAILED[0], "FAILED", createdAt="2023-08-24T14:15:22Z")], id="older"),
        pytest.param([message(FAILED[0], "FAILED", createdAt="2999-01-01T00:00:00Z")], id="newer"),
        pytest.param(
            [message(f"comms_message_0{number:025d}", "FAILED") for number in range(51)], id="more"
        ),
    ],
)
async def test_a_list_that_ignores_the_operation(
    stage: Stage, strange: list[dict[str, Any]]
) -> None:
    """Messages of other operations are not counted: the breakdown says that it is without."""
    found = await explain(stage, [ERRORS], [page(*LISTED["messages"], *strange)])
    assert found["missing"] == ["messages:FAILED", "messages:UNDELIVERED"][: len(found["missing"])]
    assert found["missing"]
    assert [one for one in found["messages"] if one["status"] == "FAILED"] == []
    assert [(one["code"], one["count"]) for one in found["errors"]] == [(30003, 2)]


async def test_receipts_that_cannot_be_read(stage: Stage) -> None:
    """The group is watched on until they can be."""
    stage.script(GROUP, [message(GROUP, "GROUP")])
    broken: list[Reply | Event] = [
        *(Reply(status=404, body=envelope(20404, "none yet")), Reply(body={"receipts": 7})),
        *(HTML, {"receipts": [{"status": "DELIVERED"}, "no receipt"]}),
    ]
    good = {"receipts": [{"status": "DELIVERED"}, {"status": "READ"}]}
    stage.script("Receipts", [*broken, *broken, good])
    async with stage.running(registration(GROUP), registration(WELL)) as show:
        await show.until(lambda: show.has_ended(GROUP, WELL))
    events = of(GROUP, show.events)
    assert [event["type"] for event in events] == ["message.group", "message.settled"]
    assert events[-1]["data"]["message"]["stats"] == {"recipients": 2, "delivered": 1, "read": 1}


async def test_receipts_that_are_gone(stage: Stage) -> None:
    """A group whose record was dropped is not watched for ever."""
    stage.script(GROUP, [message(GROUP, "GROUP")])
    stage.script("Receipts", [Reply(status=404, body=envelope(20404, "gone"))])
    async with stage.running(registration(GROUP), registration(WELL)) as show:
        await show.until(lambda: sum("/Receipts" in path for path in stage.api.requests) > 3)
        stage.clock.jump(7 * 86400)
        await show.until(lambda: show.has_ended(GROUP, WELL))
    lost = of(GROUP, show.events)[-1]
    assert (lost["type"], lost["data"]["reason"]) == ("message.lost", "expired")


async def test_a_schedule_that_cannot_be_read(stage: Stage) -> None:
    """The operation is looked at with growing waits, as if nobody knew when it is sent."""
    answers = [
        Reply(status=404, body=envelope(20404, "no such thing")),
        Reply(body={"messages": 7}),
        Reply(status=500, body=envelope(20500, "later")),
        HTML,
        Reply(body=page(), delay=1.2),
    ]
    stage.script("Messages", answers)
    # each meets one of them
    names = [operation_id(number) for number in range(10, 10 + len(answers))]
    for name in names:
        scheduled = operation(name, "SCHEDULED", total=50, scheduled=50)
        stage.script(name, [scheduled, scheduled, scheduled, campaign(name)[-1]])
    async with stage.running(*map(registration, names)) as show:
        await show.until(lambda: show.has_ended(*names))
    check_promises(show.events)
    for name in names:
        events = of(name, show.events)
        assert [event["type"] for event in events] == ["operation.scheduled", "operation.completed"]
        assert sum(f"operationId={name}" in path for path in stage.api.requests) == 1
    assert len(show.logged("schedule.unreadable")) == len(names)


async def test_a_schedule_that_makes_no_sense(stage: Stage) -> None:
    """One in the past, or of a message that is another's, is not slept for."""
    later = (stage.clock() + timedelta(hours=1)).isoformat()
    other = message(FAILED[0], "SCHEDULED", scheduledFor=later, createdAt="2023-08-24T14:15:22Z")
    stage.script("Messages", [page(other)])
    scheduled = operation(ODD, "SCHEDULED", total=50, scheduled=50)
    events = await stage.play([scheduled, scheduled, campaign(ODD)[-1]])
    assert [event["type"] for event in events] == ["operation.scheduled", "operation.completed"]


def test_killed_in_a_breakdown(api: WildApi, tmp_path: Path, witness: Witness) -> None:
    """It goes on at the page where it was: what was read counts, once."""
    held, let_go = threading.Event(), threading.Event()

    def hold(_handler: BaseHTTPRequestHandler) -> None:
        held.set()
        let_go.wait(30)

    first = {**ERRORS, "pagination": {"next": "page-two"}}
    api.script(ODD, campaign(ODD))
    api.script(WELL, [operation(WELL, "COMPLETED", total=5, delivered=5)])
    api.script("Errors", [first, Raw(send=hold), {"errors": [{"code": 30005}]}])
    api.script("Messages", [LISTED])
    variables = {
        **api.environment,
        "POLLER_POLLING__MIN_INTERVAL": "20ms",
        "POLLER_POLLING__MAX_INTERVAL": "100ms",
        "POLLER_POLLING__SWEEP": "off",
    }
    arguments = ("run", "--until-idle", "--breakdown")
    with Poller(*arguments, ODD, WELL, cwd=tmp_path, environment=variables) as daemon:
        eventually(held.is_set)
        daemon.kill()
    let_go.set()
    witness.hear(daemon)
    with Poller("run", "--until-idle", cwd=tmp_path, environment=variables) as again:
        assert again.wait() == 0
    witness.hear(again)
    [found] = [
        event["data"]["breakdown"]
        for event in again.events
        if event["subject"] == ODD and "breakdown" in event["type"]
    ]
    assert found["complete"]
    assert [(one["code"], one["count"]) for one in found["errors"]] == [(30003, 2), (30005, 1)]
    pages = [path.rpartition("pageToken=")[2] for path in api.requests if "pageToken=" in path]
    assert [page.partition("&")[0] for page in pages].count("page-two") == 2
    assert sum("/Errors" in path for path in api.requests if ODD in path) == 3
