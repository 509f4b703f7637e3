"""What holds for every history, however the API behaves and wherever the poller is restarted."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise

from hypothesis import given

from poller.tracking.answer import Verdict
from poller.tracking.lifecycle import EventType
from poller.tracking.watch import Outcome, Phase
from tests.tracking.histories import HISTORIES, ONE_WATCH, History

TERMINAL = {EventType.OPERATION_COMPLETED, EventType.OPERATION_CANCELED}
EPSILON = 1e-4  # instants hold microseconds


def _counters(stats: dict[str, object]) -> dict[str, int]:
    """Read counters the way a receiver of events would, from the contract alone."""
    return {
        name: value
        for name, value in stats.items()
        if isinstance(value, int) and not isinstance(value, bool) and value > 0
    }


@given(history=HISTORIES)
def test_deltas_add_up(history: History) -> None:
    """At every event the deltas so far sum to the counters of its snapshot."""
    total: Counter[str] = Counter()
    for event in history.events:
        total.update(event.data["delta"])
        stats = event.data["operation"].get("stats")
        if stats is not None:
            assert {name: value for name, value in total.items() if value} == _counters(stats)
        else:
            assert event.data["delta"] == {}


@given(history=HISTORIES)
def test_sequences_have_no_gap(history: History) -> None:
    """From 1, whatever was forgotten, lost and watched again."""
    sequences = [event.sequence for event in history.events]
    assert sequences == list(range(1, len(sequences) + 1))
    assert history.watch.emitted.sequence == len(sequences)


@given(history=HISTORIES)
def test_at_most_one_terminal_event(history: History) -> None:
    """An operation completes or is canceled once, however often it is registered."""
    assert sum(event.type in TERMINAL for event in history.events) <= 1


@given(history=ONE_WATCH)
def test_exactly_one_final_event_iff_it_ended(history: History) -> None:
    """And nothing after it."""
    finals = [event.final for event in history.events]
    assert finals.count(True) == int(history.watch.phase is Phase.ENDED)
    assert True not in finals[:-1]


@given(history=HISTORIES)
def test_only_a_lost_operation_has_a_life_after_its_final_event(history: History) -> None:
    """What follows a final event follows a loss."""
    for before, _ in pairwise(history.events):
        if before.final:
            assert before.type is EventType.OPERATION_LOST


@given(history=HISTORIES)
def test_an_alert_fires_once_and_at_the_first_answer_that_crosses(history: History) -> None:
    """Over restarts, losses and pruning, and at no answer that does not reach the threshold."""
    [rule] = history.policy.alerts
    fired = [event for event in history.events if event.type is EventType.OPERATION_ALERT]
    crossing = [
        turn
        for turn in history.turns
        if turn.verdict in {Verdict.CHANGED, Verdict.UNCHANGED}
        and turn.watch.counters.get("failed", 0) >= (rule.count or 0)
    ]
    assert len(fired) == min(1, len(crossing))
    if crossing:
        assert crossing[0].events[0] == fired[0]


@given(history=HISTORIES)
def test_previous_status_is_a_chain(history: History) -> None:
    """Each event has the status of the one before it."""
    last = None
    for event in history.events:
        assert event.data["previousStatus"] == last
        # an alert reports no change of status: the event after it does
        if event.type is not EventType.OPERATION_ALERT:
            last = event.data["operation"].get("status", last)
    assert history.watch.emitted.status == last


@given(history=HISTORIES)
def test_types_are_named_after_statuses(history: History) -> None:
    """Progress keeps the status, every other type changes it; settled follows completed."""
    for event in history.events:
        before, status = event.data["previousStatus"], event.data["operation"].get("status")
        match event.type:
            case EventType.OPERATION_PROGRESS:
                assert before == status
                assert event.data["delta"]
            case EventType.OPERATION_SETTLED:
                assert before == "COMPLETED"
                assert status in {None, "COMPLETED"}
            case EventType.OPERATION_LOST:
                assert event.data["reason"] in {"not_found", "rejected", "expired"}
                assert before not in {"COMPLETED", "CANCELED"}
            case EventType.OPERATION_CHANGED:
                assert status == "ODD"
                assert before != status
            case EventType.OPERATION_ALERT:
                assert event.data["alert"]["name"]
            case _:
                assert status == event.type.removeprefix("operation.").upper()
                assert before != status


@given(history=HISTORIES)
def test_progress_keeps_its_distance(history: History) -> None:
    """Two progress events are at least progress_interval apart."""
    progress = [
        event.time for event in history.events if event.type is EventType.OPERATION_PROGRESS
    ]
    interval = timedelta(seconds=history.policy.progress_interval)
    assert all(later - earlier >= interval for earlier, later in pairwise(progress))


@given(history=HISTORIES)
def test_the_next_look_is_within_its_bounds(history: History) -> None:
    """Not sooner than min_interval, but for the end of settling; not later than max_interval."""
    for turn in history.turns:
        if not turn.watch.is_watched:
            continue
        assert turn.watch.next_poll.set_at == turn.now
        assert turn.due_in <= history.policy.max_interval + EPSILON
        if turn.watch.next_poll.due_at == turn.watch.settle_until:
            assert turn.due_in >= 0
        else:
            assert turn.due_in >= history.policy.min_interval - EPSILON


@given(history=HISTORIES)
def test_a_held_back_change_is_looked_at_when_its_interval_ends(history: History) -> None:
    """Unless min_interval is longer than what is left of it."""
    for turn in history.turns:
        emitted = turn.watch.emitted
        if not turn.watch.is_watched or not turn.watch.unemitted or emitted.progress_at is None:
            continue
        held_until = emitted.progress_at + timedelta(seconds=history.policy.progress_interval)
        if held_until > turn.now:
            soonest = turn.now + timedelta(seconds=history.policy.min_interval)
            assert turn.watch.next_poll.due_at <= max(held_until, soonest)


@given(history=HISTORIES)
def test_what_is_reported_is_what_was_learned(history: History) -> None:
    """After an accepted answer only a change of counters may be untold, and only if held back."""
    for turn in history.turns:
        if turn.verdict in {Verdict.CHANGED, Verdict.UNCHANGED}:
            assert turn.watch.emitted.status == turn.watch.status
            if turn.watch.unemitted:
                assert turn.watch.emitted.progress_at is not None


@given(history=HISTORIES)
def test_dropped_answers_tell_nothing_but_ends(history: History) -> None:
    """A stale, nonsensical, failed or late answer makes no event, but for settled and lost."""
    for turn in history.turns:
        if turn.verdict not in {Verdict.CHANGED, Verdict.UNCHANGED}:
            assert {event.type for event in turn.events} <= {
                EventType.OPERATION_SETTLED,
                EventType.OPERATION_LOST,
            }
        if turn.verdict is Verdict.LATE:
            assert not turn.events


@given(history=HISTORIES)
def test_phase_and_outcome_agree(history: History) -> None:
    """An outcome without an end is a completed operation that settles."""
    watch = history.watch
    match watch.phase:
        case Phase.ACTIVE:
            assert (watch.outcome, watch.ended_at) == (None, None)
        case Phase.SETTLING:
            assert watch.outcome is Outcome.COMPLETED
            assert watch.settle_until is not None
        case Phase.ENDED:
            assert watch.outcome is not None
            assert watch.ended_at is not None
            assert history.events[-1].final
        case Phase.FORGOTTEN:
            assert watch.outcome in {None, Outcome.COMPLETED}
            assert watch.ended_at is not None
