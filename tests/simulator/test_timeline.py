"""The closed formulas say what counting message by message would."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from poller.simulator.kinds import KINDS
from poller.simulator.scenarios import SCENARIOS, Scenario
from poller.simulator.timeline import CARDS, Timeline, deck_for

SHARES = st.floats(0, 0.16)


def fates() -> st.SearchStrategy[Scenario]:
    """Any fate, canceled or not."""
    return st.builds(
        Scenario,
        fallback=SHARES,
        late=SHARES,
        read=SHARES,
        undelivered=SHARES,
        failed=SHARES,
        unaddressable=SHARES,
        codes=st.sampled_from([(), ((61337, 0.02), (30006, 0.01)), ((12345, 0.03),)]),
    )


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Any send of any kind."""
    span = draw(st.floats(0.1, 1000))
    return Timeline(
        total=draw(st.integers(1, 2500)),
        deck=deck_for(
            KINDS[draw(st.sampled_from(sorted(KINDS)))], draw(fates()), draw(st.integers(0, 9))
        ),
        shift=draw(st.integers(0, CARDS - 1)),
        latency=1.0,
        span=span,
        canceled_at=draw(st.none() | st.floats(-10, span)),
    )


@given(timeline=timelines(), part=st.floats(-0.1, 1.5))
def test_counting_agrees_with_every_message(timeline: Timeline, part: float) -> None:
    """A tally is the sum over all messages of what each says of itself."""
    moment = timeline.at(part * timeline.span)
    seen = Counter(moment.status_of(index)[0] for index in range(timeline.total))
    tally = moment.tally
    assert tally.waiting == seen.pop(None, 0)
    assert +Counter(tally.statuses) == seen


@given(timeline=timelines(), part=st.floats(-0.1, 1.5))
def test_the_last_change_is_the_latest_message(timeline: Timeline, part: float) -> None:
    """`changed_at` is the latest moment at which a message took the status that it has."""
    moment = timeline.at(part * timeline.span)
    since = [moment.status_of(index)[1] for index in range(timeline.total)]
    moved = [each for each in since if each is not None]
    cancels = [timeline.canceled_at] if moment.canceled and timeline.canceled_at is not None else []
    assert moment.tally.changed_at == max(moved + cancels, default=None)


@given(timeline=timelines(), part=st.just(float("inf")) | st.floats(-0.1, 1.5))
def test_attempts_are_those_of_the_paths(timeline: Timeline, part: float) -> None:
    """They are those that the dealt paths have made, each at its time."""
    moment = timeline.at(part * timeline.span)
    expected = sum(
        moment.has_left(index, lag=attempt.lag)
        for index in range(timeline.total)
        for attempt in moment.path_of(index).attempts
    )
    assert moment.tally.attempts == expected


def test_a_long_send_has_exactly_its_shares() -> None:
    """Of 10,000 messages as many fail as the fate says."""
    fate = Scenario(failed=0.07, undelivered=0.03)
    timeline = Timeline(
        total=10_000, deck=deck_for(KINDS["messages"], fate, 1), shift=333, latency=1, span=10
    )
    statuses = timeline.at(1000).tally.statuses
    assert (statuses["FAILED"], statuses["UNDELIVERED"]) == (700, 300)


def test_a_code_ends_as_its_kind_knows_it() -> None:
    """By the kind's own path where it has one for the code; else it fails."""
    fate = Scenario(codes=((30003, 0.5), (12345, 0.5)))
    ends = {
        kind: {
            path.error: path.hops[-1].status
            for path in deck_for(KINDS[kind], fate, 1).paths
            if path.error is not None
        }
        for kind in KINDS
    }
    assert ends["messages"] == {30003: "UNDELIVERED", 12345: "FAILED"}
    assert ends["sender-pools"] == {30003: "FAILED", 12345: "FAILED"}


def test_every_named_fate_fills_a_deck_of_every_kind() -> None:
    """Decks hold all their cards, whatever a kind knows of the fate's outcomes."""
    for kind in KINDS:
        for fate in SCENARIOS.values():
            deck = deck_for(KINDS[kind], fate, 1)
            assert len(deck.cards) == CARDS
