"""What a registration does where the operation is known already."""

import pytest

from poller.tracking.pacing import Policy
from poller.tracking.registration import Conflict, Registration, forget, register
from poller.tracking.watch import AccountScope, NotFoundStreak, Outcome, Phase
from tests.tracking.story import HOME, ID, START, Story, at, new_watch

SETTLING = Policy(settle=600, progress_interval=0)


def test_a_new_operation_is_due_at_once() -> None:
    """Nothing is known of it, and the first look is now."""
    watch = new_watch(labels={"campaign": "autumn"})
    assert watch.is_watched
    assert watch.labels == {"campaign": "autumn"}
    assert watch.next_poll.due_at == watch.registered_at == START
    assert watch.emitted.sequence == 0
    assert watch.status is None


def test_new_labels_are_merged_and_show_from_the_next_event() -> None:
    """Old labels stay, equal names are overwritten, nothing is emitted for it."""
    story = Story()
    assert story.register(campaign="autumn", team="a") is False
    story.see(queued=1)
    story.register(team="b")
    story.see("COMPLETED", delivered=1)
    assert [event.labels for event in story.events] == [
        {"campaign": "autumn", "team": "a"},
        {"campaign": "autumn", "team": "b"},
    ]
    assert story.last["labels"] == {"campaign": "autumn", "team": "b"}


def test_labels_are_bounded_across_registrations() -> None:
    """At most 32 in all, also where a watch is resumed; known names take new values."""
    story = Story()
    story.register(**{f"l{number}": "" for number in range(31)})
    story.register(last="")
    with pytest.raises(Conflict, match=r"^labels: .* has 32 and would have 33 with these, at most"):
        story.register(one_more="")
    story.forget()
    with pytest.raises(Conflict, match=r"^labels: "):
        story.register(one_more="")
    story.register(last="new")
    assert (len(story.watch.labels), story.watch.labels["last"]) == (32, "new")


def test_a_watch_with_too_many_labels_can_be_registered_as_it_is() -> None:
    """A store from before the bound may have some: nothing is added to them."""
    many = {f"l{number}": "" for number in range(40)}
    story = Story()
    story.watch = story.watch.evolve(labels=many)
    story.register(l0="new")
    assert story.watch.labels == {**many, "l0": "new"}
    with pytest.raises(Conflict, match="has 40 and would have 41"):
        story.register(one_more="")


def test_a_repeated_registration_leaves_a_running_watch_as_it_is() -> None:
    """The next poll, the registration's time and everything emitted stay."""
    story = Story()
    story.see(queued=1)
    before = story.watch
    story.wait(5)
    assert story.register() is False
    assert story.watch == before


def test_another_kind_is_taken_over_while_nothing_was_seen() -> None:
    """A wrong kind is a slip that a second registration corrects."""
    story = Story(kind="emails")
    assert story.register(kind="messages") is False
    assert story.watch.kind == "messages"
    story.see(queued=1)
    assert story.events[0].source == f"{HOME.base_url}/Messages/Operations/{ID}"


@pytest.mark.parametrize("how", ["not_found", "rejected"])
def test_refusals_under_the_wrong_kind_do_not_count_for_the_right_one(how: str) -> None:
    """The count of refusals starts again with the kind, and the first poll is now."""
    story = Story(Policy(not_found_grace=0), kind="emails")
    getattr(story, how)()
    story.register(kind="messages")
    assert story.watch.not_found_streak == NotFoundStreak()
    assert story.due_in == 0
    getattr(story, how)()
    assert story.watch.is_watched


def test_another_kind_conflicts_once_something_was_seen() -> None:
    """The message names both kinds and the one to use."""
    story = Story()
    story.see(queued=1)
    with pytest.raises(Conflict, match=f"{ID} is watched as kind messages .*with kind messages"):
        story.register(kind="emails")


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELED"])
def test_another_kind_conflicts_with_an_end(status: str) -> None:
    """What has ended was seen."""
    story = Story()
    story.see(status)
    with pytest.raises(Conflict):
        story.register(kind="emails")


def test_a_lost_operation_can_be_found_under_another_kind() -> None:
    """That is what the log line of `not_found` asks for; the sequence goes on."""
    story = Story(Policy(not_found_grace=0), kind="emails")
    for _ in range(3):
        story.not_found()
    assert story.watch.outcome is Outcome.LOST
    assert story.register(kind="messages") is True
    story.see("COMPLETED", delivered=2)
    assert story.types == ["lost", "completed"]
    assert [event.sequence for event in story.events] == [1, 2]
    assert [event.final for event in story.events] == [True, True]


def test_a_lost_operation_goes_on_where_it_was() -> None:
    """Watched again: deltas continue from the last emitted counters, refusals count from 0."""
    story = Story(Policy(not_found_grace=0))
    story.see(queued=5)
    for _ in range(3):
        story.not_found()
    story.wait(60)
    assert story.register() is True
    assert story.watch.registered_at == story.now
    assert story.due_in == 0
    assert story.watch.not_found_streak == NotFoundStreak()
    story.not_found()
    assert story.watch.is_watched
    story.see(queued=3, delivered=2)
    assert story.last["delta"] == {"queued": -2, "delivered": 2}
    assert story.last["previousStatus"] == "PROCESSING"
    assert [event.sequence for event in story.events] == [1, 2, 3]


def test_a_forgotten_operation_goes_on_where_it_was() -> None:
    """What was held back when it was forgotten is in the next event."""
    story = Story()
    story.see(queued=5)
    story.see(queued=4)
    story.see(queued=3)
    story.forget()
    assert not story.watch.is_watched
    story.wait(60)
    assert story.register() is True
    assert story.watch.phase is Phase.ACTIVE
    assert story.watch.ended_at is None
    story.see(queued=2)
    assert story.types == ["processing", "progress", "progress"]
    assert story.last["delta"] == {"queued": -2}


def test_a_stub_goes_on_where_it_was() -> None:
    """Pruning keeps what was emitted, and that is enough for sequence, delta and status."""
    story = Story()
    story.see("SCHEDULED", queued=5)
    story.see("PROCESSING", queued=4)
    story.forget()
    story.watch = story.watch.evolve(snapshot=None, counters={}, labels={})
    story.register()
    assert story.watch.status == "PROCESSING"
    story.see("SCHEDULED", queued=5)
    story.see("PROCESSING", queued=1)
    assert story.types == ["scheduled", "processing", "progress"]
    assert story.last["delta"] == {"queued": -3}


def test_what_was_forgotten_while_settling_settles_on() -> None:
    """Its terminal event was emitted, the final one was not: it follows."""
    story = Story(SETTLING)
    story.see("COMPLETED", sent=1)
    story.forget()
    assert story.watch.ended_at == story.now
    assert story.register() is True
    assert story.watch.phase is Phase.SETTLING
    story.see("COMPLETED", delivered=1)
    assert story.types == ["completed", "settled"]


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELED"])
def test_what_has_ended_answers_its_end(status: str) -> None:
    """Known, not watched, no event; new labels are kept."""
    story = Story()
    story.see(status, delivered=1)
    assert story.register(team="a") is False
    assert not story.watch.is_watched
    assert story.watch.outcome is Outcome(status.lower())
    assert story.watch.labels == {"team": "a"}
    assert len(story.events) == 1


def test_forgetting_is_repeatable_and_ends_nothing_twice() -> None:
    """What is not watched stays as it is: an end stays an end, a loss a loss."""
    story = Story()
    story.see("COMPLETED")
    ended = story.watch
    assert forget(ended, now=at(5)) is ended
    forgotten = forget(new_watch(), now=at(5))
    assert forget(forgotten, now=at(9)) is forgotten
    assert forgotten.ended_at == at(5)


@pytest.mark.parametrize(
    "other",
    [
        AccountScope(account="AC2", base_url=HOME.base_url),
        AccountScope(account="AC1", base_url="http://x/v1"),
    ],
    ids=["account", "base_url"],
)
def test_an_operation_of_another_home_is_refused(other: AccountScope) -> None:
    """The message names both scopes and what to do."""
    with pytest.raises(Conflict) as caught:
        register(new_watch(), Registration(id=ID, kind="messages"), scope=other, now=at(1))
    for part in (HOME.account, HOME.base_url, other.account, other.base_url, "store.url"):
        assert part in str(caught.value)
