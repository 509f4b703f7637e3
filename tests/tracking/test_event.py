"""From a change to a CloudEvent on one line."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.event import event_id, make_event
from poller.tracking.lifecycle import EventType
from poller.tracking.pacing import Policy
from poller.tracking.watch import EmittedState
from tests.tracking.story import ID, START, Story, new_watch

ENTROPY = st.integers(0, 2**74 - 1)


def test_the_whole_event() -> None:
    """Every member as the contract shows it, in its order."""
    story = Story(Policy(progress_interval=0))
    story.register(campaign="autumn")
    story.see("PROCESSING", queued=122)
    story.wait(0.1234).see(
        "COMPLETED", updated="2026-11-22T10:00:00Z", delivered=120, failed=2, queued=0
    )
    text = story.events[-1].render("0190-x")
    assert text == (
        '{"specversion":"1.0","id":"0190-x",'
        f'"source":"https://comms.twilio.com/v1/Messages/Operations/{ID}",'
        f'"type":"operation.completed","subject":"{ID}","time":"2026-11-22T10:00:00.123Z",'
        f'"datacontenttype":"application/json","sequence":"0000000002","partitionkey":"{ID}",'
        f'"data":{{"operation":{{"id":"{ID}","status":"COMPLETED",'
        '"stats":{"delivered":120,"failed":2,"queued":0},"updatedAt":"2026-11-22T10:00:00Z"},'
        '"kind":"messages","previousStatus":"PROCESSING",'
        '"delta":{"delivered":120,"failed":2,"queued":-122},'
        '"observedAt":"2026-11-22T10:00:00.123Z","final":true,"labels":{"campaign":"autumn"},'
        '"reason":null}}'
    )


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("messages", "Messages"),
        ("emails", "Emails"),
        ("push-notifications", "PushNotifications"),
        ("sender-pools", "SenderPools"),
    ],
)
def test_the_source_is_where_the_api_serves_it(kind: str, path: str) -> None:
    """Base URL, path of the kind, id."""
    story = Story(kind=kind)
    story.see()
    assert story.events[0].source == f"https://comms.twilio.com/v1/{path}/Operations/{ID}"


def test_sequences_compare_as_text() -> None:
    """Ten digits, zero-padded."""
    story = Story(Policy(progress_interval=0))
    texts = []
    for number in range(12):
        story.see(total=number)
        texts.append(json.loads(story.events[-1].render("x"))["sequence"])
    assert texts == sorted(texts)
    assert texts[0] == "0000000001"


def test_an_event_does_not_change_with_the_watch() -> None:
    """What was recorded stays: later labels and snapshots do not reach it."""
    story = Story(Policy(progress_interval=0))
    story.see(queued=2)
    before = story.events[0].render("x")
    story.register(team="a")
    story.see(queued=1)
    assert story.events[0].render("x") == before


@given(now=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)), entropy=ENTROPY)  # noqa: DTZ001 - hypothesis wants naive bounds
def test_ids_are_uuids_of_version_7(now: datetime, entropy: int) -> None:
    """RFC 9562: the milliseconds first, then version, variant and 74 random bits; no dot."""
    made = event_id(now.replace(tzinfo=UTC), entropy)
    parsed = uuid.UUID(made)
    assert str(parsed) == made
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == int(now.replace(tzinfo=UTC).timestamp() * 1000)
    assert (parsed.int >> 64 & 0xFFF) << 62 | parsed.int & (2**62 - 1) == entropy


@given(entropies=st.lists(ENTROPY, unique=True, min_size=2, max_size=2))
def test_ids_are_random_and_ordered_by_time(entropies: list[int]) -> None:
    """Same moment, other entropy: another id. A later millisecond sorts after."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    first, second = (event_id(now, entropy) for entropy in entropies)
    assert first != second
    assert event_id(now + timedelta(milliseconds=1), entropies[0]) > max(first, second)


def test_a_stub_shows_what_was_emitted() -> None:
    """Without its snapshot an operation shows its last emitted counters: deltas still add up."""
    watch = new_watch().evolve(
        emitted=EmittedState(status="PROCESSING", counters={"total": 3}, sequence=2)
    )
    event = make_event(watch, EventType.OPERATION_LOST, now=START, final=True, reason="not_found")
    assert event.data["operation"] == {
        "id": watch.id,
        "status": "PROCESSING",
        "stats": {"total": 3},
    }
    assert event.data["delta"] == {}
