"""Clocks that jump, and operations that are too old."""

from datetime import timedelta

import pytest

from tests.fakes.api import Reply, envelope, operation
from tests.fakes.receiver import Answer, Receiver
from tests.faults.stage import (
    ODD,
    SECRET,
    WELL,
    Stage,
    accepted,
    campaign,
    of,
    webhook_plan,
)
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

HOUR = 3600.0
DAY = 24 * HOUR


async def test_the_clock_goes_back_an_hour(stage: Stage) -> None:
    """What waits since the future is due now: looks, pauses and deliveries."""
    stage.script(ODD, campaign(ODD)[:2])
    with Receiver(secret=SECRET, default=Answer(status=503)) as receiver:
        async with stage.running(sinks=[webhook_plan(receiver, stage.clock)]) as show:
            await show.until(
                lambda: stage.api.count(ODD) > 3 and bool(show.logged("delivery.failed"))
            )
            receiver.answer_always(Answer())
            stage.clock.jump(-HOUR)
            stage.script(ODD, campaign(ODD)[2:])
            await show.until(lambda: show.has_ended() and len(accepted(receiver.received)) == 8)
            await show.until(lambda: bool(show.logged("clock.went_back")))
        check_promises(show.events)
        check_promises(accepted(receiver.received))
    assert {request.signature for request in receiver.received} <= {
        "good",
        "Message timestamp too old",
    }


async def test_the_clock_goes_back_in_a_pause(stage: Stage) -> None:
    """A pause set in the future is over: one request probes."""
    stage.script(ODD, campaign(ODD))
    stage.api.override = Reply(status=429, headers={"retry-after": "250"}, body=envelope(20429, ""))
    async with stage.running() as show:
        await show.until(lambda: bool(show.logged("account.paused")))
        stage.api.override = None
        stage.clock.jump(-HOUR)
        await show.until(lambda: show.has_ended() and bool(show.logged("clock.went_back")))
    check_promises(show.events)


async def test_the_clock_goes_back_while_nobody_runs(stage: Stage) -> None:
    """The next start finds everything due, not an hour from now."""
    stage.script(ODD, campaign(ODD)[:2])
    with Receiver(secret=SECRET, default=Answer(status=503)) as receiver:
        sinks = [webhook_plan(receiver, stage.clock)]
        async with stage.running(sinks=sinks) as show:
            await show.until(lambda: show.has_ended(WELL) and len(of(ODD, show.events)) == 2)
        receiver.answer_always(Answer())
        stage.script(ODD, campaign(ODD)[2:])
        stage.clock.jump(-HOUR)
        async with stage.running(sinks=sinks) as show:
            await show.until(lambda: show.has_ended() and len(accepted(receiver.received)) == 8)
        check_promises(show.events)
        check_promises(accepted(receiver.received))


async def test_a_suspended_machine(stage: Stage) -> None:
    """Hours later a request is still under way, leases are over: nothing is lost or repeated."""
    slow = Reply(body=campaign(ODD)[1], delay=0.5)
    stage.script(ODD, [campaign(ODD)[0], slow, *campaign(ODD)[2:]])
    async with stage.running() as show:
        await show.until(lambda: stage.api.count(ODD) == 2)
        stage.clock.jump(6 * HOUR)
        await show.until(show.has_ended)
    check_promises(show.events)
    assert of(ODD, show.events)[-1]["type"] == "operation.completed"


async def test_a_suspended_machine_in_an_outage(stage: Stage) -> None:
    """Eight days of it expire nothing: only a fetch that shows no end does, and this shows one."""
    stage.script(ODD, [campaign(ODD)[1], Reply(status=500)])
    async with stage.running() as show:
        await show.until(lambda: stage.api.count(ODD) > 3)
        stage.clock.jump(8 * DAY)
        asked = stage.api.count(ODD)
        await show.until(lambda: stage.api.count(ODD) > asked + 2)
        stage.script(ODD, campaign(ODD)[3:])
        await show.until(show.has_ended)
    check_promises(show.events)
    assert of(ODD, show.events)[-1]["type"] == "operation.completed"


@pytest.mark.parametrize(
    ("status", "end"),
    [
        pytest.param("PROCESSING", ("operation.lost", "expired"), id="no-end"),
        pytest.param("COMPLETED", ("operation.completed", None), id="ended-long-ago"),
    ],
)
async def test_an_operation_older_than_seven_days(
    stage: Stage, status: str, end: tuple[str, str | None]
) -> None:
    """The vendor keeps no older records: what shows no end then never will."""
    born = stage.clock() - timedelta(days=8)
    events = await stage.play([operation(ODD, status, created=born, total=4, delivered=4)])
    assert (events[-1]["type"], events[-1]["data"]["reason"]) == end
    assert events[-1]["data"]["operation"]["stats"]["delivered"] == 4
