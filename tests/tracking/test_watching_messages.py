"""Messages: the same watch as an operation's, with a lifecycle of its own."""

import json

import pytest

from poller.tracking.pacing import Policy
from poller.tracking.privacy import Addresses
from poller.tracking.watch import NextRequest, Outcome, Phase
from tests.tracking.story import MESSAGE_ID, Story, at, text_at, types_of
from tests.tracking.test_event_schema import VALIDATOR

RCS_FAILED = ("RCS", "FAILED", 61337)


def _story(*, settle: float = 0, addresses: Addresses = Addresses.HIDDEN) -> Story:
    policy = Policy(progress_interval=0, settle=settle, addresses=addresses)
    return Story(policy, watched=MESSAGE_ID)


def test_a_fallback_is_reported_as_it_happens() -> None:
    """Which attempt on which channel failed with which code, then which one delivered."""
    story = _story()
    story.see_message("QUEUED")
    story.wait(2).see_message("SENT", ("RCS", "SENT", None))
    story.wait(2).see_message("SENT", RCS_FAILED, ("SMS", "SENT", None))
    story.wait(2).see_message("DELIVERED", RCS_FAILED, ("SMS", "DELIVERED", None))
    assert story.types == ["queued", "sent", "progress", "delivered"]
    changes = [event.data["changes"] for event in story.events]
    assert [[(one["attempt"], one["status"]) for one in each] for each in changes] == [
        [],
        [(1, "SENT")],
        [(1, "FAILED"), (2, "SENT")],
        [(2, "DELIVERED")],
    ]
    error = {"code": 61337, "message": "no luck", "infoUrl": None}
    assert changes[2][0] == {
        "attempt": 1,
        "channel": "RCS",
        "previousStatus": "SENT",
        "status": "FAILED",
        "error": error,
    }
    assert story.last["final"]
    assert story.last["message"]["stats"] == {"attempts": 2, "failed": 1, "delivered": 1}
    assert (story.watch.phase, story.watch.outcome) == (Phase.ENDED, Outcome.COMPLETED)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("DELIVERED", Outcome.COMPLETED),
        ("READ", Outcome.COMPLETED),
        ("INBOUND", Outcome.COMPLETED),
        ("UNDELIVERED", Outcome.FAILED),
        ("FAILED", Outcome.FAILED),
        ("CANCELED", Outcome.CANCELED),
    ],
)
def test_a_final_status_ends_at_once(status: str, outcome: Outcome) -> None:
    """One event, and it is the final one."""
    story = _story()
    story.see_message(status)
    assert story.types == [status.lower()]
    assert story.last["final"]
    assert (story.watch.phase, story.watch.outcome) == (Phase.ENDED, outcome)


def test_delivered_settles_until_it_is_read() -> None:
    """With `settle` the last word is `message.settled`."""
    story = _story(settle=600)
    assert types_of(story.see_message("DELIVERED")) == ["delivered"]
    assert not story.last["final"]
    assert story.watch.phase is Phase.SETTLING
    assert types_of(story.wait(60).see_message("READ")) == ["read", "settled"]
    assert [event.final for event in story.events] == [False, False, True]


def test_settling_ends_at_its_deadline() -> None:
    """Nobody read it."""
    story = _story(settle=600)
    story.see_message("DELIVERED")
    assert types_of(story.wait(600).see_message("DELIVERED")) == ["settled"]
    assert story.watch.outcome is Outcome.COMPLETED


def test_an_older_status_is_stale() -> None:
    """`DELIVERED` can become `READ`, and nothing else."""
    story = _story(settle=600)
    story.see_message("DELIVERED")
    assert types_of(story.wait(1).see_message("SENT")) == []
    assert story.watch.status == "DELIVERED"


def test_a_group_ends_through_its_receipts() -> None:
    """The message only says `GROUP`: how each recipient fared is read elsewhere."""
    story = _story()
    inquiries = [story.watch.next_request]
    story.see_message("GROUP")
    inquiries.append(story.watch.next_request)
    assert inquiries == [NextRequest.MESSAGE, NextRequest.RECEIPTS]
    story.wait(1).receipts("SENT", "SENT", "DELIVERED")
    story.wait(1).receipts("SENT", "SENT", "DELIVERED")
    story.wait(1).receipts("FAILED", "DELIVERED", "READ")
    assert story.types == ["group", "progress", "settled"]
    assert [event.data["delta"] for event in story.events] == [
        {},
        {"recipients": 3, "sent": 2, "delivered": 1},
        {"sent": -2, "failed": 1, "read": 1},
    ]
    assert story.last["final"]
    assert story.watch.outcome is Outcome.COMPLETED


def test_a_group_that_reached_nobody_has_failed() -> None:
    """Its outcome is that of its best receipt."""
    story = _story()
    story.see_message("GROUP")
    story.receipts("FAILED", "UNDELIVERED")
    assert story.watch.outcome is Outcome.FAILED


def test_no_receipts_are_no_end() -> None:
    """An empty list says nothing."""
    story = _story()
    story.see_message("GROUP")
    story.wait(1).receipts()
    assert story.watch.is_watched


def test_a_scheduled_message_sleeps() -> None:
    """It says itself when it will be sent; a cancellation before is found in time all the same."""
    story = _story()
    story.see_message("SCHEDULED", scheduledFor=text_at(1800))
    assert story.watch.next_poll.due_at == at(story.policy.schedule_checks) == at(900)
    story.wait(900).see_message("SCHEDULED", scheduledFor=text_at(1800))
    assert story.watch.next_poll.due_at == at(1800)
    story = _story()
    story.see_message("SCHEDULED", scheduledFor=text_at(600))
    assert story.watch.next_poll.due_at == at(600)
    assert story.watch.next_request is NextRequest.MESSAGE


def test_a_message_that_is_not_there_is_lost() -> None:
    """Like an operation."""
    story = _story()
    for _ in range(4):
        story.wait(30).not_found()
    assert story.types == ["lost"]
    assert story.last["message"] == {"id": MESSAGE_ID}
    assert story.last["reason"] == "not_found"
    assert story.register()
    story.see_message("DELIVERED")
    assert story.types == ["lost", "delivered"]


@pytest.mark.parametrize("addresses", Addresses)
def test_what_is_reported_holds_no_content(addresses: Addresses) -> None:
    """Nor addresses, unless they are asked for."""
    story = _story(addresses=addresses)
    story.see_message("SENT", RCS_FAILED, to=[{"address": "+14155551002", "channel": "PHONE"}])
    text = json.dumps([event.data for event in story.events]) + json.dumps(story.watch.snapshot)
    assert "hush" not in text
    assert ("+14155551002" in text) is (addresses is Addresses.FULL)
    assert ("1002" in text) is (addresses is not Addresses.HIDDEN)


def test_every_event_is_valid_and_has_its_place() -> None:
    """The source is where the API serves the message."""
    story = _story(settle=60)
    story.see_message("SCHEDULED")
    story.see_message("SENT", RCS_FAILED, ("SMS", "SENT", None))
    story.see_message("DELIVERED")
    story.wait(61).fail()
    assert story.types == ["scheduled", "sent", "delivered", "settled"]
    for event in story.events:
        VALIDATOR.validate(json.loads(event.render("a-b")))
        assert event.source == f"https://comms.twilio.com/v1/Messages/{MESSAGE_ID}"
