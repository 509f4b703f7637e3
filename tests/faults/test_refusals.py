"""Answers that say no: 404, 400, 403, 429, 503, and credentials that are missing at a probe."""

from dataclasses import replace
from typing import Final

import pytest
from pydantic import SecretStr

from poller.comms.credentials import Credentials
from poller.settings import SettingsError, SettingsProblem
from tests.fakes.api import ACCOUNT, TOKEN, Reply, envelope, operation, operation_id
from tests.faults.stage import (
    FAST,
    ODD,
    WELL,
    Event,
    Show,
    Stage,
    campaign,
    of,
    registration,
)
from tests.oracle import check_promises

pytestmark = pytest.mark.anyio

Script = list[Reply | Event]

NOT_FOUND: Final = Reply(status=404, body=envelope(20404, "The resource was not found"))
REJECTED: Final = Reply(status=400, body=envelope(20001, "The request is bad"))
_MISSING: Final = SettingsProblem(
    field="api.auth_token", what="is missing", fix="set TWILIO_AUTH_TOKEN"
)
FORBIDDEN: Final = Reply(status=403, body=envelope(20403, "Not for you"))


def refusal(status: int, retry_after: str | None, **headers: str) -> Reply:
    """Answer 429 or 503."""
    given = headers if retry_after is None else {"retry-after": retry_after, **headers}
    return Reply(status=status, headers=given, body=envelope(20429, "Too many requests"))


def last_of(show: Show, name: str = ODD) -> tuple[str, str | None]:
    """Return type and reason of an operation's last event."""
    event = of(name, show.events)[-1]
    return event["type"], event["data"]["reason"]


async def test_not_found_in_the_first_minute(stage: Stage) -> None:
    """Replicas lag behind: a new operation may be unknown for as long as the grace lasts."""
    events = await stage.play([*[NOT_FOUND] * 5, *campaign(ODD)])
    assert events[-1]["type"] == "operation.completed"


async def test_not_found_once_in_mid_run(stage: Stage) -> None:
    """One 404 between good answers changes nothing, and neither does another one later."""
    first, second, third, last = campaign(ODD)
    script: Script = [first, NOT_FOUND, second, NOT_FOUND, NOT_FOUND, third, NOT_FOUND, last]
    events = await stage.play(script, policy=replace(FAST, not_found_grace=0.0))
    assert [event["type"] for event in events][-1] == "operation.completed"
    assert len(events) == 4


async def test_not_found_three_times_over_the_grace(stage: Stage) -> None:
    """The watch ends with `operation.lost`, the last snapshot in it; the other one goes on."""
    stage.script(ODD, [campaign(ODD)[1], NOT_FOUND])
    async with stage.running() as show:
        await show.until(lambda: stage.api.count(ODD) > 5 and show.has_ended(WELL))
        assert not show.has_ended(ODD)
        stage.clock.jump(61)
        await show.until(show.has_ended)
        assert last_of(show) == ("operation.lost", "not_found")
        assert of(ODD, show.events)[-1]["data"]["operation"]["status"] == "PROCESSING"
    check_promises(show.events)


async def test_a_gateways_404_says_nothing(stage: Stage) -> None:
    """Without the vendor's envelope it is a failure like any other, however often it comes."""
    page = Reply(status=404, body=b"<h1>Not found</h1>", headers={"content-type": "text/html"})
    script: Script = [campaign(ODD)[1], *[page] * 6, campaign(ODD)[3]]
    events = await stage.play(script, policy=replace(FAST, not_found_grace=0.0))
    assert [event["type"] for event in events][-1] == "operation.completed"


async def test_rejected_once(stage: Stage) -> None:
    """A single 400 is not believed."""
    first, second, third, last = campaign(ODD)
    events = await stage.play([first, REJECTED, second, REJECTED, third, last])
    assert len(events) == 4


async def test_rejected_twice(stage: Stage) -> None:
    """A 400 that a second fetch confirms ends the watch with `operation.lost`."""
    events = await stage.play([campaign(ODD)[1], REJECTED])
    assert (events[-1]["type"], events[-1]["data"]["reason"]) == ("operation.lost", "rejected")
    assert stage.api.count(ODD) == 3


async def test_forbidden_for_one_kind(stage: Stage) -> None:
    """A 403 pauses its kind, the others go on; nothing is lost meanwhile, and it resumes."""
    stage.script(ODD, [campaign(ODD)[0], FORBIDDEN])
    second = operation_id(3)
    stage.script(second, campaign(second))
    async with stage.running(
        registration(ODD, "emails"), registration(second, "emails"), registration(WELL)
    ) as show:
        await show.until(lambda: show.has_ended(WELL) and len(show.logged("kind.paused")) > 1)
        assert {line["kind"] for line in show.logged("kind.paused")} == {"emails"}
        stage.clock.jump(8 * 86_400)  # no pause lets anything expire
        await show.until(lambda: len(show.logged("kind.paused")) > 3)
        assert not show.has_ended(ODD)
        stage.script(ODD, campaign(ODD)[1:])
        await show.until(lambda: show.has_ended(ODD, WELL, second))
        assert last_of(show) == ("operation.completed", None)
    check_promises(show.events)


async def test_a_storm_of_429(stage: Stage) -> None:
    """While it lasts one request a pause goes out, whatever waits; then everything ends."""
    crowd = [operation_id(number) for number in range(10, 18)]
    for name in crowd:
        stage.script(name, campaign(name))
    stage.script(ODD, campaign(ODD))
    stage.api.override = refusal(429, "30")
    async with stage.running(*map(registration, (ODD, WELL, *crowd))) as show:
        await show.until(lambda: bool(show.logged("account.paused")))
        stage.clock.jump(31)
        await show.until(lambda: len(show.logged("account.paused")) > 1)
        # up to four were under way when the storm began; after that only a probe
        assert len(stage.api.requests) <= 4 + 1
        stage.api.override = None
        stage.clock.jump(31)
        await show.until(lambda: show.has_ended(ODD, WELL, *crowd))
    check_promises(show.events)
    assert {line["reason"] for line in show.logged("account.paused")} == {"throttled"}


def _dated(*, seconds: int) -> Reply:
    """Ask for a pause by an HTTP date, of a server whose clock is decades slow."""
    return refusal(
        503,
        f"Mon, 01 Jan 2001 00:{seconds // 60:02}:{seconds % 60:02} GMT",
        date="Mon, 01 Jan 2001 00:00:00 GMT",
    )


async def test_how_long_a_pause_lasts(stage: Stage) -> None:
    """As long as asked, by the answer's own clock, at most five minutes; else from a second on."""
    asked_for = [
        (_dated(seconds=90), 90),
        (refusal(503, str(365 * 86_400)), 300),
        (refusal(429, "31 Feb, maybe"), 1),
        (refusal(429, "-5"), 1),
        (refusal(503, None), 1),
    ]
    running = campaign(ODD)[1]
    script: Script = [running]
    for answer, _ in asked_for:
        script += [answer, running]
    stage.script(ODD, [*script, *campaign(ODD)[2:]])
    async with stage.running(registration(ODD)) as show:
        for number, (_, seconds) in enumerate(asked_for, start=1):
            await show.until(lambda number=number: len(show.logged("account.paused")) == number)  # type: ignore[misc]
            assert show.logged("account.paused")[-1]["seconds"] == seconds
            asked = len(stage.api.requests)
            stage.clock.jump(seconds - 0.9)
            # due at once, had the pause been over
            await show.daemon.register([registration(operation_id(100 + number))])
            assert len(stage.api.requests) == asked
            await show.daemon.forget(operation_id(100 + number))
            stage.clock.jump(1)
        await show.until(lambda: show.has_ended(ODD))
    check_promises(show.events)


async def test_credentials_missing_at_a_probe(stage: Stage) -> None:
    """The old ones stay in force, it is logged, and the next probe reads them again."""
    good = Credentials(username=ACCOUNT, password=SecretStr(TOKEN))
    reads = iter([None, None])

    def read() -> Credentials:
        if next(reads, good) is None:
            raise SettingsError([_MISSING])
        return good

    stage.script(ODD, campaign(ODD))
    stage.api.override = Reply(status=401, body=envelope(20003, "Authenticate"))
    async with stage.running(credentials=read) as show:
        await show.until(lambda: len(show.logged("credentials.unreadable")) == 2)
        stage.api.override = None
        await show.until(show.has_ended)
    check_promises(show.events)


async def test_an_answer_that_echoes_the_credentials(stage: Stage) -> None:
    """What the API says is shown without them."""
    echo = Credentials(username=ACCOUNT, password=SecretStr(TOKEN)).authorization()
    said = envelope(50000, f"no such token: {TOKEN} ({echo})")
    script = [Reply(status=500, body=said), Reply(status=400, body=said)]
    events = await stage.play([*script, operation(ODD, "PROCESSING"), *campaign(ODD)[3:]])
    assert events[-1]["type"] == "operation.completed"
    failures = [line for line in stage.logs if line["event"] == "poll.failed"]
    assert len(failures) == 2
    assert all("no such token: *" in line["error"] for line in failures)
