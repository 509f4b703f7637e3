"""Hints: what is read of a push, and when it brings a poll forward."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.tracking.hint import BadBatch, read_batch, stronger
from poller.tracking.pacing import Policy, most_hinted, take_hint
from poller.tracking.watch import HintStrength
from tests.tracking.story import ID, MESSAGE_ID, Story, at

DIRECT, INDIRECT = HintStrength.DIRECT, HintStrength.INDIRECT
OPERATION = {"type": "com.twilio.comms-api.operation.completed", "data": {"operation_id": ID}}
MESSAGE = {
    "type": "com.twilio.comms-api.message.delivered",
    "data": {"operation_id": ID, "message_id": MESSAGE_ID, "error_code": None},
}


def push(*events: object) -> bytes:
    """Write a batch as the vendor does; an event gets an id and a source unless it has one."""
    return json.dumps(
        [
            {"specversion": "1.0", "id": f"EZ{number}", "source": "/AC1", **event}
            if isinstance(event, dict)
            else event
            for number, event in enumerate(events)
        ]
    ).encode()


def hint(story: Story, strength: HintStrength = DIRECT) -> bool:
    """Take a hint now; return whether it changed the watch."""
    after = take_hint(story.watch, strength, policy=story.policy, now=story.now)
    if after is not None:
        story.watch = after
    return after is not None


def waiting(wait: float = 32, **policy: float) -> Story:
    """Return an operation that shows nothing new, a second before its next poll in `wait`."""
    story = Story(Policy(min_interval=1, max_interval=64, **policy))  # type: ignore[arg-type]
    story.see(queued=5)
    while story.due_in < wait:
        story.wait(story.due_in).see(queued=5)
    return story


def test_an_operation_wakes_itself_and_a_message_both() -> None:
    """A message says that its operation has moved as well, which is a weaker reason."""
    batch = read_batch(push(OPERATION, MESSAGE))
    assert [event.wakes for event in batch.events] == [
        {ID: DIRECT},
        {ID: INDIRECT, MESSAGE_ID: DIRECT},
    ]
    assert len({event.id for event in batch.events}) == 2
    assert (batch.ignored, batch.malformed) == (0, 0)


def test_a_single_event_is_a_batch_of_one() -> None:
    """A sink that does not batch gets one event at a time."""
    [event] = read_batch(json.dumps({"id": "EZ1", **OPERATION}).encode()).events
    assert event.wakes == {ID: DIRECT}


def test_what_cannot_be_read_does_not_spoil_the_rest() -> None:
    """It is counted; what is about other products is no fault."""
    batch = read_batch(
        push(
            OPERATION,
            {"type": "com.twilio.voice.call.started", "data": {}},
            {"type": "com.twilio.comms-api.operation.completed", "data": {"operation_id": "no"}},
            {"type": "com.twilio.comms-api.message.read", "data": None},
            {"type": 7},
            {**OPERATION, "id": ""},
            {**OPERATION, "id": "x" * 257},
            "text",
            None,
        )
    )
    assert len(batch.events) == 1
    assert (batch.ignored, batch.malformed) == (1, 7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"\xff",
        b"{}",
        b"3",
        b"[" * 100_000,
        push("text"),
        push({**OPERATION, "data": {"operation_id": f"{ID}/../x"}}),
        push({**OPERATION, "data": {"operation_id": MESSAGE_ID}}),
    ],
    ids=repr,
)
def test_a_push_without_any_hint_is_refused(body: bytes) -> None:
    """The vendor then discards it, and shows it as an error."""
    with pytest.raises(BadBatch):
        read_batch(body)


def test_an_empty_batch_and_one_of_other_products_are_no_fault() -> None:
    """There is nothing to correct."""
    assert read_batch(b"[]").events == []
    assert read_batch(push({"type": "com.twilio.x"})).ignored == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ID, MESSAGE_ID]),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["id", "type", "source", "data", "operation_id", "message_id"]),
                inner | st.sampled_from([OPERATION["type"], MESSAGE["type"]]),
            )
        ),
    )
)
def test_whatever_comes_is_read_or_refused(document: object) -> None:
    """No push breaks the reader, and it wakes nothing but ids."""
    try:
        batch = read_batch(json.dumps(document).encode())
    except BadBatch:
        return
    assert {name for event in batch.events for name in event.wakes} <= {ID, MESSAGE_ID}


def test_the_stronger_hint_counts() -> None:
    """Whatever their order."""
    assert stronger(None, INDIRECT) is INDIRECT
    assert stronger(INDIRECT, DIRECT) is DIRECT
    assert stronger(DIRECT, INDIRECT) is DIRECT


def test_a_hint_makes_it_due_now() -> None:
    """It need not wait for its turn."""
    story = waiting().wait(5)
    assert hint(story)
    assert story.due_in == 0


def test_polls_for_hints_keep_their_distance() -> None:
    """However many there are: `min_interval` after the last poll."""
    story = waiting().wait(0.25)
    for _ in range(3):
        hint(story)
        assert story.due_in == 0.75
    story.wait(0.5)
    hint(story)
    assert story.due_in == 0.25


def test_a_message_wakes_its_operation_once_in_a_progress_interval() -> None:
    """Thousands of messages of an operation cost few polls of it."""
    story = waiting(progress_interval=10).wait(4)
    assert hint(story, INDIRECT)
    assert story.due_in == 6
    assert not hint(story, INDIRECT)
    story.wait(1)
    assert hint(story, DIRECT)
    assert story.due_in == 0
    assert not hint(story, INDIRECT)


def test_a_hint_delays_nothing() -> None:
    """What is due sooner stays so."""
    story = waiting(wait=1, progress_interval=10)
    before = story.due_in
    assert not hint(story, INDIRECT)
    assert story.due_in == before


def test_a_woken_poll_without_news_keeps_the_wait() -> None:
    """Else false hints would make the poller slower than none."""
    story = waiting(wait=8)
    wait = story.watch.next_poll.wait
    hint(story.wait(2))
    story.see(queued=5)
    assert story.watch.next_poll.wait == story.due_in == wait
    assert story.watch.hint is None
    story.wait(story.due_in).see(queued=5)
    assert story.watch.next_poll.wait == 2 * wait


def test_a_hint_during_a_poll_asks_for_another_one() -> None:
    """The answer under way may be older than its news: it is polled again after `min_interval`."""
    story = waiting()
    begun_at = story.wait(story.due_in).now
    story.wait(0.5)
    assert hint(story)
    story.wait(0.5).see(queued=5, begun_at=begun_at)
    assert story.due_in == 1
    assert story.watch.hint is not None
    story.wait(1).see(queued=5)
    assert story.watch.hint is None
    assert story.due_in > 1


def test_a_message_during_a_poll_asks_for_none() -> None:
    """Messages come all the time."""
    story = waiting(progress_interval=10)
    story.wait(story.due_in)
    assert not hint(story, INDIRECT)


@pytest.mark.parametrize("how", ["fail", "nonsense", "not_found", "rejected"])
def test_a_hint_never_shortens_a_backoff(how: str) -> None:
    """What fails is left alone, also where the hint came during the request that failed."""
    story = waiting(not_found_grace=1000)
    hint(story.wait(story.due_in))
    getattr(story.wait(-0.5), how)()
    due_in = story.due_in
    assert due_in == 64
    assert story.watch.hint is None
    assert not hint(story.wait(1))
    assert story.due_in == due_in - 1
    story.see(queued=5)
    assert hint(story.wait(2))


def test_what_has_ended_is_not_woken() -> None:
    """Nor what nobody watches."""
    story = waiting()
    hint(story.wait(2))
    begun_at = story.now - timedelta(seconds=1)
    story.wait(1).see("COMPLETED", begun_at=begun_at, delivered=5)
    assert story.watch.hint is None
    assert not hint(story.wait(5))
    other = waiting()
    other.forget()
    assert not hint(other.wait(5))


def test_what_settles_is_woken() -> None:
    """Its receipts are what hints tell of."""
    story = Story(Policy(settle=600))
    story.see("COMPLETED", sent=5)
    assert hint(story.wait(30))
    assert story.due_in == 0


def test_what_sleeps_until_its_send_time_is_woken() -> None:
    """It may have been sent before the time that is known."""
    story = Story(Policy(schedule_checks=900))
    story.see("SCHEDULED", scheduled=5)
    story.schedule(600)
    assert hint(story.wait(30))
    assert story.due_in == 0


def test_a_clock_that_went_back_delays_no_hint() -> None:
    """A last poll in the future says nothing."""
    story = waiting()
    story.now = at(-3600)
    assert hint(story)
    assert story.due_in == 0


def test_hints_fill_ten_seconds_of_the_rate_at_most() -> None:
    """Both strengths together; one at least, however slow the account."""
    assert most_hinted(5) == 25
    assert most_hinted(0.1) == 1


def test_hints_change_no_event_and_no_counter() -> None:
    """The same answers make the same events, hinted or not."""
    plain, hinted = waiting(), waiting()
    hint(hinted.wait(3))
    hinted.now -= timedelta(seconds=3)
    for story in (plain, hinted):
        story.wait(40).see("COMPLETED", delivered=5)
    assert [event.data for event in plain.events] == [event.data for event in hinted.events]
