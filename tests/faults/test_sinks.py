"""Places that events go to, when they are in trouble: a moved file, webhooks that say no."""

from pathlib import Path

import pytest

from tests.fakes.event_files import read_events
from tests.fakes.receiver import Answer, Receiver
from tests.faults.stage import (
    ODD,
    SECRET,
    WELL,
    Stage,
    accepted,
    campaign,
    of,
    registration,
    webhook_plan,
)
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

HOUR = 3600.0


async def test_a_moved_file(stage: Stage, tmp_path: Path) -> None:
    """As logrotate does it, without a signal: the rest is in a new file, each event once."""
    stage.script(ODD, campaign(ODD)[:2])
    moved = tmp_path / "events.ndjson.1"
    async with stage.running() as show:
        await show.until(lambda: show.has_ended(WELL) and len(of(ODD, show.events)) == 2)
        show.path.rename(moved)
        stage.script(ODD, campaign(ODD)[2:])
        await show.until(lambda: show.has_ended(ODD))
    check_promises([*read_events(moved), *show.events])
    assert {event["subject"] for event in show.events} == {ODD}


async def test_a_webhook_that_is_down(stage: Stage) -> None:
    """It delays nobody else, is probed now and then, and gets everything in order at its return."""
    stage.script(ODD, campaign(ODD))
    with Receiver(secret=SECRET, default=Answer(reset=True)) as receiver:
        async with stage.running(sinks=[webhook_plan(receiver, stage.clock)]) as show:
            await show.until(lambda: show.has_ended() and len(show.logged("delivery.failed")) >= 3)
            stage.clock.jump(15)
            await show.until(lambda: bool(show.logged("sink.down")))
            receiver.answer_always(Answer())
            stage.clock.jump(300)
            await show.until(lambda: len(accepted(receiver.received)) == 8)
            await show.until(lambda: bool(show.logged("sink.recovered")))
        check_promises(show.events)
        check_promises(accepted(receiver.received))


async def test_a_webhook_that_is_gone(stage: Stage) -> None:
    """A 410 stops it until a reload; its events wait, the others go on."""
    stage.script(ODD, campaign(ODD))
    with Receiver(secret=SECRET, default=Answer(status=410)) as receiver:
        async with stage.running(sinks=[webhook_plan(receiver, stage.clock)]) as show:
            await show.until(lambda: show.has_ended() and bool(show.logged("sink.disabled")))
            tried = len(receiver.received)
            stage.clock.jump(HOUR)
            receiver.answer_always(Answer())
            await show.daemon.register([registration(ODD)])
            assert len(receiver.received) == tried
            await show.daemon.reload(show.configuration)
            await show.until(lambda: len(accepted(receiver.received)) == 8)
        check_promises(accepted(receiver.received))


async def test_a_webhook_that_refuses(stage: Stage) -> None:
    """What was answered 400 for an hour is a dead letter; it lets the next event pass."""
    stage.script(ODD, campaign(ODD))
    with Receiver(secret=SECRET, default=Answer(status=400, body=b"no such customer")) as receiver:
        sinks = [webhook_plan(receiver, stage.clock, team="red")]
        async with stage.running(
            registration(ODD, team="red"), registration(WELL), sinks=sinks
        ) as show:
            await show.until(lambda: show.has_ended() and bool(show.logged("delivery.failed")))
            assert {request.event["sequence"] for request in receiver.received} == {"0000000001"}
            stage.clock.jump(HOUR)
            await show.until(lambda: bool(show.logged("delivery.dead")))
            receiver.answer_always(Answer())
            stage.clock.jump(60)
            await show.until(lambda: len(accepted(receiver.received)) == 3)
        check_promises(show.events)
    arrived = [event["sequence"][-1] for event in accepted(receiver.received)]
    assert arrived == ["2", "3", "4"]


async def test_a_webhook_that_redirects(stage: Stage) -> None:
    """Nobody follows, for the signature was meant for this address; it is tried again there."""
    stage.script(ODD, campaign(ODD))
    with Receiver(secret=SECRET) as receiver:
        elsewhere = receiver.url.replace("/hook", "/elsewhere")
        receiver.answer_always(Answer(status=307, headers={"location": elsewhere}))
        async with stage.running(sinks=[webhook_plan(receiver, stage.clock)]) as show:
            await show.until(lambda: show.has_ended() and bool(show.logged("delivery.failed")))
            assert all("redirects" in line["error"] for line in show.logged("delivery.failed"))
            receiver.answer_always(Answer())
            stage.clock.jump(300)
            await show.until(lambda: len(accepted(receiver.received)) == 8)
        assert {request.path for request in receiver.received} == {"/hook"}
        check_promises(accepted(receiver.received))


async def test_a_webhook_that_echoes_the_secret(stage: Stage) -> None:
    """What a receiver says is shown without our secret, in the log and in the store."""
    stage.script(ODD, campaign(ODD))
    said = f"cannot verify with {SECRET} or {SECRET.removeprefix('whsec_')}".encode()
    with Receiver(secret=SECRET, default=Answer(status=422, body=said)) as receiver:
        async with stage.running(sinks=[webhook_plan(receiver, stage.clock)]) as show:
            await show.until(lambda: show.has_ended() and bool(show.logged("delivery.failed")))
            assert all("cannot verify" in line["error"] for line in show.logged("delivery.failed"))
            receiver.answer_always(Answer())
            stage.clock.jump(300)
            await show.until(lambda: len(accepted(receiver.received)) == 8)
