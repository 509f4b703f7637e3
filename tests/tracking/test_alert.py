"""Alerts: each rule fires once, at the first answer that crosses its threshold, and not before."""

import json

import pytest

from poller.audit.event_reader import read_line
from poller.audit.history import History
from poller.tracking.alert import AlertRule, AlertSubject, judge_standstill
from poller.tracking.pacing import Policy
from tests.tracking.story import ID, MESSAGE_ID, Story, at, types_of

BOUNCES = AlertRule(
    name="bounces", counters=("failed", "undelivered"), ratio=0.05, at_least=50, count=100
)
STALLED = AlertRule(name="stalled", stalled=900)


def _story(*rules: AlertRule, settle: float = 0.0, progress: float = 0.0) -> Story:
    return Story(Policy(progress_interval=progress, settle=settle, alerts=rules))


def test_a_rule_fires_once_at_the_first_answer_that_crosses() -> None:
    """Not one short of the threshold, not again after it."""
    story = _story(BOUNCES)
    assert types_of(story.see(total=1000, delivered=96, failed=2, undelivered=2)) == ["processing"]
    crossed = story.see(total=1000, delivered=94, failed=3, undelivered=2)
    assert types_of(crossed) == ["alert"]
    assert crossed.events[0].data["alert"] == {
        "name": "bounces",
        "measure": "ratio",
        "value": 5 / 99,
        "threshold": 0.05,
    }
    assert types_of(story.see(total=1000, delivered=500, failed=400)) == ["progress"]
    assert story.watch.emitted.alerts == ("bounces",)


@pytest.mark.parametrize(("finished", "expected"), [(49, ["processing"]), (50, ["alert"])])
def test_nothing_fires_before_enough_are_finished(finished: int, expected: list[str]) -> None:
    """`at_least` counts what is finished, not what is sent."""
    story = _story(BOUNCES)
    decision = story.see(total=1000, sent=500, delivered=finished - 10, failed=10)
    assert types_of(decision)[:1] == expected


def test_a_count_needs_no_ratio() -> None:
    """The first threshold that is reached counts."""
    story = _story(BOUNCES)
    decision = story.see(total=10_000, delivered=9_900, failed=100)
    assert decision.events[0].data["alert"]["measure"] == "count"
    assert decision.events[0].data["alert"]["value"] == 100


def test_an_alert_comes_before_the_change_of_status_and_takes_its_delta() -> None:
    """The event of the change still comes, with the same previous status and nothing to add."""
    story = _story(BOUNCES)
    story.see(total=100, queued=100)
    alert, completed = story.see("COMPLETED", total=100, delivered=50, failed=50, queued=0).events
    assert (alert.type, completed.type) == ("operation.alert", "operation.completed")
    assert (alert.final, completed.final) == (False, True)
    assert alert.data["delta"] == {"queued": -100, "delivered": 50, "failed": 50}
    assert completed.data["delta"] == {}
    assert alert.data["previousStatus"] == completed.data["previousStatus"] == "PROCESSING"
    assert (alert.sequence, completed.sequence) == (2, 3)


def test_the_first_answer_of_all_may_be_alarming() -> None:
    """There is no status before it."""
    alert, started = _story(BOUNCES).see(total=100, delivered=50, failed=50).events
    assert alert.data["previousStatus"] is started.data["previousStatus"] is None
    assert started.type == "operation.processing"


def test_a_progress_that_is_held_back_goes_with_an_alert() -> None:
    """And there is nothing left to emit when its time comes."""
    story = _story(BOUNCES, progress=60)
    story.see(total=100, queued=100)
    story.wait(1).see(total=100, queued=90, delivered=10)
    story.wait(1).see(total=100, queued=80, delivered=20)
    story.wait(1).see(total=100, queued=0, delivered=50, failed=50)
    assert story.types == ["processing", "progress", "alert"]
    assert story.watch.unemitted == {}


def test_it_fires_once_over_losses_and_registrations() -> None:
    """What fired is part of what was emitted, and survives the snapshot."""
    story = _story(BOUNCES)
    story.see(total=100, delivered=50, failed=50)
    story.forget()
    assert story.register()
    story.wait(1).see(total=100, delivered=20, failed=80)
    assert story.types.count("alert") == 1


def test_labels_choose_what_is_judged() -> None:
    """A rule for one campaign says nothing about the others, nor one for groups."""
    for_autumn = AlertRule(name="a", counters=("failed",), count=1, labels={"campaign": "autumn"})
    of_groups = AlertRule(name="g", counters=("failed",), count=1, of=AlertSubject.GROUP)
    story = _story(for_autumn, of_groups)
    story.see(total=2, failed=1)
    assert story.types == ["processing"]
    story.register(campaign="autumn")
    story.see(total=2, failed=2)
    assert story.types == ["processing", "alert"]


def test_a_message_is_not_judged() -> None:
    """Its counters are its attempts."""
    story = Story(
        Policy(alerts=(AlertRule(name="a", counters=("failed",), count=1),)), watched=MESSAGE_ID
    )
    story.see_message("SENT", ("SMS", "FAILED", 30007))
    assert story.types == ["sent"]


def test_nothing_fires_on_an_old_answer() -> None:
    """What is stale changes nothing."""
    story = _story(BOUNCES)
    story.see(total=100, updated="2026-11-22T10:00:09Z")
    story.see(total=100, delivered=50, failed=50, updated="2026-11-22T10:00:01Z")
    assert story.types == ["processing"]


def test_late_failures_fire_while_receipts_are_waited_for() -> None:
    """A completed operation settles, and its receipts may still say that it failed."""
    story = _story(BOUNCES, settle=600)
    story.see("COMPLETED", total=100, sent=100, delivered=0, undelivered=0)
    story.wait(20).see("COMPLETED", total=100, sent=40, delivered=20, undelivered=40)
    story.wait(700).see("COMPLETED", total=100, sent=0, delivered=60, undelivered=40)
    assert story.types == ["completed", "alert", "settled"]


def test_the_audit_takes_alerts_for_what_they_are() -> None:
    """No broken chain of statuses, no second start, deltas that add up."""
    story = _story(BOUNCES)
    story.see(total=100, delivered=50, failed=50)
    story.see("COMPLETED", total=100, delivered=40, failed=60)
    history = History(allow_gaps=False)
    faults: list[object] = []
    for event in story.events:
        line = read_line(event.render(f"e{event.sequence}").encode())
        assert (line.misshapen, line.contradictions) == ((), ())
        assert line.event is not None
        faults += history.add(line.event)
    assert story.types == ["alert", "processing", "completed"]
    assert faults == []
    assert history.has_ended
    late = json.loads(story.events[0].render("late"))
    late |= {"sequence": "0000000004"}
    line = read_line(json.dumps(late).encode())
    assert line.event is not None
    assert next(iter(history.add(line.event)))[0] == "end"


def _stalled_after(story: Story, seconds: float) -> float | None:
    alert = judge_standstill(STALLED, story.watch, now=at(seconds))
    return None if alert is None else alert.value


def test_standstill_is_judged_from_what_answers_show() -> None:
    """As long as no answer after the threshold shows it, nobody knows that nothing moved."""
    story = _story()
    story.see(total=10, queued=10)
    story.wait(899).see(total=10, queued=10)
    assert _stalled_after(story, 5000) is None
    story.wait(1).fail()
    assert _stalled_after(story, 5000) is None
    story.see(total=10, queued=10)
    assert _stalled_after(story, 901) == 901
    story.wait(1).see(total=10, queued=9)
    assert _stalled_after(story, 902) is None
    story.wait(900).see(total=10, queued=9)
    assert _stalled_after(story, 1802) == 901


def test_what_may_stand_still_is_not_judged() -> None:
    """Scheduled operations wait, completed ones wait for receipts, and a new start is one."""
    story = _story(settle=86_400)
    for status in ("SCHEDULED", "PROCESSING", "COMPLETED"):
        story.see(status, total=10, sent=10)
        story.wait(2000).see(status, total=10, sent=10)
        stands = _stalled_after(story, (story.now - at(0)).total_seconds()) is not None
        assert stands is (status == "PROCESSING")
    forgotten = _story()
    forgotten.see(total=10)
    forgotten.forget()
    forgotten.wait(5000).register()
    forgotten.see(total=10)
    assert _stalled_after(forgotten, 5000) is None
    assert forgotten.watch.id == ID
