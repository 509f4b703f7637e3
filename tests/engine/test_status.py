"""What is in trouble, in words for people."""

from datetime import timedelta

import pytest

from poller.comms.caller import Failing
from poller.comms.gate import Pause, Reason
from poller.engine.status import (
    api_trouble,
    foreign_trouble,
    pause_trouble,
    sink_trouble,
)
from poller.store.sinks import SinkReport
from poller.tracking.sink_health import SinkHealth, SinkState
from tests.store.scenes import NOW

LATER = NOW + timedelta(minutes=1)


def pause(reason: Reason) -> Pause:
    """Pause for a minute."""
    return Pause(reason=reason, since=NOW, set_at=NOW, until=LATER, level=1)


def report(state: SinkState, *, configured: bool = True, waiting: int = 0) -> SinkReport:
    """Report on the sink `app`."""
    health = SinkHealth(
        state=state, since=LATER, error=None if state is SinkState.OK else "no route"
    )
    return SinkReport(
        name="app",
        health=health,
        is_configured=configured,
        waiting=waiting,
        refused=2,
        answered=12,
        next_attempt=NOW,
        dead=0,
        oldest=NOW,
    )


def test_pauses_are_named_by_what_mends_them() -> None:
    """Credentials, permission of a kind, throttle; with the next try."""
    [account] = pause_trouble(pause(Reason.UNAUTHORIZED), {})
    assert (account.what, account.since) == ("credentials", NOW)
    assert "SIGHUP" in account.hint
    assert account.hint.endswith("next try at 2026-11-22T10:01:00.000Z")
    [throttled] = pause_trouble(pause(Reason.THROTTLED), {})
    assert throttled.what == "throttle"
    kinds = {"push": pause(Reason.FORBIDDEN), "emails": pause(Reason.FORBIDDEN)}
    assert [found.what for found in pause_trouble(None, kinds)] == [
        "permission of emails",
        "permission of push",
    ]


def test_an_api_that_cannot_be_used_is_trouble() -> None:
    """Since when, and what the last request met."""
    [trouble] = api_trouble(Failing(since=NOW, error="fetch x: no route"))
    assert (trouble.what, trouble.since, trouble.hint) == ("api", NOW, "fetch x: no route")
    assert api_trouble(None) == []


def test_a_sink_in_order_is_no_trouble() -> None:
    """Nor is one that nobody configures and nothing waits for."""
    reports = [report(SinkState.OK), report(SinkState.OK, configured=False)]
    assert sink_trouble(reports, closed=(), started_at=NOW) == []


@pytest.mark.parametrize("state", [SinkState.FAILING, SinkState.DOWN, SinkState.DISABLED])
def test_a_sink_in_trouble_says_why(state: SinkState) -> None:
    """With its last error, since when, and what happens next."""
    [trouble] = sink_trouble([report(state)], closed=(), started_at=NOW)
    assert (trouble.what, trouble.since) == ("sink app", LATER)
    assert trouble.hint.startswith("no route; ")


def test_a_closed_sink_waits_for_the_next_start() -> None:
    """Since this process began, whatever the store says of it."""
    [trouble] = sink_trouble([report(SinkState.OK)], closed={"app"}, started_at=NOW)
    assert trouble.since == NOW
    assert "next start" in trouble.hint


def test_events_for_a_sink_that_is_gone_are_counted() -> None:
    """They wait three days, from the oldest on."""
    found = report(SinkState.OK, configured=False, waiting=7)
    [trouble] = sink_trouble([found], closed=(), started_at=LATER)
    assert trouble.since == NOW
    assert "7 events" in trouble.hint


def test_operations_of_another_home_are_counted() -> None:
    """They wait for their own daemon."""
    assert foreign_trouble(0, started_at=NOW) == []
    [trouble] = foreign_trouble(3, started_at=NOW)
    assert trouble.hint.startswith("3 belong to another account")


def test_a_rejecting_sink_says_how_many_it_refused() -> None:
    """With its last answer: a sink whose every event gets 400 is trouble."""
    [found] = sink_trouble([report(SinkState.REJECTING)], closed=(), started_at=NOW)
    assert found.hint.startswith("no route; refused 2 of 12 events")
