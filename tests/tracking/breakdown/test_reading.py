"""After the end: the breakdown is read page by page, and emitted once."""

import pytest

from poller.comms.models import MessagePage, decode_error_page, decode_message_page
from poller.tracking.answer import BreakdownAnswer, Decision, Verdict
from poller.tracking.breakdown.reading import progress_of
from poller.tracking.breakdown.steps import ReadErrors, Request, begin, request
from poller.tracking.pacing import Policy
from poller.tracking.watch import NextRequest, Phase
from tests.tracking.story import Story, text_at, types_of

MESSAGES = [f"comms_message_0{number:025d}" for number in range(4)]
ERRORS = {
    "errors": [
        *({"code": 30003, "message": "Unreachable", "context": name} for name in MESSAGES[:3]),
        {"code": 30005, "message": "Unknown", "context": MESSAGES[3]},
    ]
}


def _ended(policy: Policy | None = None, *, breakdown: bool | None = None) -> Story:
    story = Story(policy or Policy(breakdown=True), breakdown=breakdown)
    story.see("COMPLETED", created=text_at(0), total=10, delivered=6, failed=4)
    return story


def _request(story: Story) -> Request:
    asked = request(progress_of(story.watch))
    assert asked is not None
    return asked


def _read(story: Story, document: object, *, asked: Request | None = None) -> Decision:
    asked = asked or _request(story)
    is_errors = isinstance(asked, ReadErrors)
    found = decode_error_page(document) if is_errors else _messages(document)
    return story.take(
        BreakdownAnswer(request=asked, found=found, begun_at=story.now, arrived_at=story.now)
    )


def _messages(document: object) -> MessagePage:
    return decode_message_page(document, kind=Story().watch.kind_spec)


def _listed(*ids: str, created: float = 1) -> dict[str, object]:
    items = [
        {"id": one, "status": "FAILED", "from": {"channel": "SMS"}, "createdAt": text_at(created)}
        for one in ids
    ]
    return {"messages": items}


def _refused(story: Story) -> Decision:
    times = {"begun_at": story.now, "arrived_at": story.now}
    return story.take(BreakdownAnswer(request=_request(story), found=None, **times))


def test_the_end_is_reported_first_and_the_breakdown_after_it() -> None:
    """The terminal event is the final one; nothing follows but the breakdown."""
    story = _ended()
    assert story.types == ["completed"]
    assert story.last["final"]
    assert (story.watch.phase, story.watch.next_request) == (
        Phase.EXPLAINING,
        NextRequest.BREAKDOWN,
    )
    assert story.due_in == 0
    assert types_of(_read(story, ERRORS)) == []
    assert types_of(_read(story, _listed(*MESSAGES))) == []
    assert types_of(_read(story, {"messages": []})) == ["breakdown"]
    assert not story.last["final"]
    assert [(one["code"], one["count"]) for one in story.last["breakdown"]["errors"]] == [
        (30003, 3),
        (30005, 1),
    ]
    assert story.last["breakdown"]["messages"] == [
        {"status": "FAILED", "channel": "SMS", "count": 4}
    ]
    assert story.last["breakdown"]["complete"]
    assert (story.last["delta"], story.last["previousStatus"]) == ({}, "COMPLETED")
    assert (story.watch.phase, story.watch.breakdown) == (Phase.ENDED, None)
    assert story.watch.ended_at == story.now


@pytest.mark.parametrize(
    ("setting", "registration", "expected"),
    [
        (True, None, Phase.EXPLAINING),
        (True, False, Phase.ENDED),
        (False, None, Phase.ENDED),
        (False, True, Phase.EXPLAINING),
    ],
)
def test_the_registration_beats_the_settings(
    *, setting: bool, registration: bool | None, expected: Phase
) -> None:
    """Where it says nothing, they hold."""
    story = _ended(Policy(breakdown=setting), breakdown=registration)
    assert story.watch.phase is expected


def test_without_failures_there_is_nothing_to_explain() -> None:
    """It has ended at once."""
    story = Story(Policy(breakdown=True))
    story.see("COMPLETED", total=10, delivered=10)
    assert story.watch.phase is Phase.ENDED


def test_a_canceled_operation_is_explained_as_well() -> None:
    """What failed before it was canceled."""
    story = Story(Policy(breakdown=True))
    story.see("CANCELED", total=10, canceled=9, unaddressable=1)
    assert story.watch.phase is Phase.EXPLAINING


def test_settling_comes_before_the_breakdown() -> None:
    """Late receipts may bring more failures."""
    story = Story(Policy(breakdown=True, settle=600, progress_interval=0))
    story.see("COMPLETED", total=10, delivered=6, failed=3, sent=1)
    phases = [story.watch.phase]
    story.wait(60).see("COMPLETED", total=10, delivered=6, failed=4)
    phases.append(story.watch.phase)
    assert phases == [Phase.SETTLING, Phase.EXPLAINING]
    assert story.types == ["completed", "settled"]


def test_a_page_that_was_read_twice_counts_once() -> None:
    """Two daemons, or a lease that ran out: the second answer is late."""
    story = _ended()
    asked = _request(story)
    _read(story, ERRORS)
    state = story.watch.breakdown
    assert _read(story, ERRORS, asked=asked).verdict is Verdict.LATE
    assert story.watch.breakdown == state


def test_what_is_refused_for_good_is_done_without() -> None:
    """The rest is read, and the event says what is missing."""
    story = _ended()
    _refused(story)
    _read(story, _listed(*MESSAGES))
    _read(story, {"messages": []})
    assert story.types == ["completed", "breakdown"]
    found = story.last["breakdown"]
    assert (found["complete"], found["missing"], found["errors"]) == (False, ["errors"], [])


def test_nonsense_is_given_up_after_three_times() -> None:
    """It makes no more sense tomorrow."""
    story = _ended()
    for _ in range(3):
        assert isinstance(_request(story), ReadErrors)
        story.wait(60).nonsense()
    assert not isinstance(_request(story), ReadErrors)


def test_failures_back_off_and_lose_nothing() -> None:
    """The page is asked for again, later and later."""
    story = _ended()
    waits = []
    for _ in range(4):
        story.wait(60).fail()
        waits.append(story.due_in)
    assert waits == sorted(waits)
    assert waits[-1] > waits[0] >= story.policy.min_interval
    assert isinstance(_request(story), ReadErrors)


def test_what_can_not_be_read_for_a_week_is_given_up() -> None:
    """The vendor drops its records; the breakdown says what it has."""
    story = _ended()
    _read(story, ERRORS)
    story.wait(8 * 86_400).fail()
    assert story.types == ["completed", "breakdown"]
    assert story.last["breakdown"]["missing"] == ["messages:FAILED", "messages:UNDELIVERED"]
    assert story.watch.phase is Phase.ENDED


def test_messages_of_older_operations_are_not_counted() -> None:
    """A server may ignore the filter by operation."""
    story = _ended()
    _read(story, ERRORS)
    _read(story, _listed(*MESSAGES, created=-3600))
    _read(story, {"messages": []})
    found = story.last["breakdown"]
    assert (found["messages"], found["complete"]) == ([], False)


def test_forgetting_ends_the_reading() -> None:
    """Its end was emitted: it stays ended, also when it is registered again."""
    story = _ended()
    story.forget()
    assert (story.watch.phase, story.watch.breakdown) == (Phase.ENDED, None)
    assert not story.register()
    assert story.types == ["completed"]


def test_a_state_that_can_not_be_read_begins_anew() -> None:
    """The store may hold what a later version wrote."""
    story = _ended()
    story.watch = story.watch.evolve(breakdown=None)
    assert progress_of(story.watch) == begin(statuses=("FAILED", "UNDELIVERED"))
    _read(story, ERRORS)
    assert story.watch.breakdown is not None
