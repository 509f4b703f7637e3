"""One pause, its single probe, and what each answer does to it; the rate of requests."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poller.comms.budget import Pace
from poller.comms.gate import LONGEST_THROTTLE, Gate, Pause, Reason, Refusal, Room
from tests.comms.scripted import NOW

PROBE_INTERVAL = 60.0
REFUSED_401 = Refusal(reason=Reason.UNAUTHORIZED, wait=PROBE_INTERVAL)


def after(seconds: float) -> datetime:
    """Return the moment this many seconds after the beginning."""
    return NOW + timedelta(seconds=seconds)


def throttled(wait: float | None = None) -> Refusal:
    """Return the refusal of a 429 that asks for such a wait."""
    return Refusal(reason=Reason.THROTTLED, wait=wait)


def paused(refusal: Refusal) -> Gate:
    """Return a gate that a first refusal has just closed."""
    return Gate().refused(refusal, NOW, probe=False)


def pause_of(gate: Gate) -> Pause:
    """Return the pause of a gate that has one."""
    assert gate.pause is not None
    return gate.pause


def test_an_open_gate_lets_everything_through() -> None:
    """However much is in flight; the throttle bounds that."""
    assert Gate().room(NOW, in_flight=100) is Room.OPEN


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (30.0, 30.0),
        (1.0, 1.0),
        (31_536_000.0, 300.0),
        (300.5, 300.0),
        (None, 1.0),
        (0.0, 1.0),
        (0.2, 1.0),
    ],
)
def test_a_429_pauses_for_what_it_asks(asked: float | None, seconds: float) -> None:
    """At most five minutes; a wait of zero counts as none given."""
    gate = paused(throttled(asked))
    assert pause_of(gate).until == after(seconds)
    assert gate.room(after(seconds - 0.001), in_flight=0) is Room.CLOSED
    assert gate.room(after(seconds), in_flight=0) is Room.ONE


def test_one_request_probes_once_nothing_else_is_in_flight() -> None:
    """Neither beside the stragglers nor beside another probe."""
    gate = paused(throttled(5))
    assert gate.room(after(6), in_flight=1) is Room.CLOSED
    assert gate.room(after(6), in_flight=0) is Room.ONE


def test_without_a_readable_wait_it_doubles_from_a_second() -> None:
    """With each probe that is refused, up to five minutes."""
    gate, now, waits = Gate(), NOW, []
    for _ in range(12):
        gate = gate.refused(throttled(), now, probe=True)
        waits.append(pause_of(gate).wait.total_seconds())
        now = pause_of(gate).until
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert pause_of(gate).since == NOW


def test_a_level_of_a_thousand_is_harmless() -> None:
    """A month of refusals overflows nothing."""
    gate = Gate(pause=Pause(reason=Reason.THROTTLED, since=NOW, set_at=NOW, until=NOW, level=5000))
    assert pause_of(gate.refused(throttled(), NOW, probe=True)).wait.total_seconds() == 300


def test_stragglers_do_not_raise_the_level_but_may_lengthen_the_pause() -> None:
    """Several requests in flight answer 429 together: that is one refusal."""
    gate = paused(throttled(2))
    shorter = gate.refused(throttled(), after(0.5), probe=False)
    assert pause_of(shorter) == pause_of(gate)
    longer = gate.refused(throttled(10), after(0.5), probe=False)
    assert (pause_of(longer).level, pause_of(longer).until) == (1, after(10.5))
    late = gate.refused(throttled(), after(3), probe=False)
    assert (pause_of(late).level, pause_of(late).until) == (1, after(4))


def test_only_the_probe_opens_the_gate() -> None:
    """A success of a request begun before the pause says nothing about now."""
    gate = paused(throttled(2))
    assert gate.answered(probe=False) == gate
    assert gate.answered(probe=True) == Gate()


def test_a_probe_without_an_answer_pauses_for_as_long_again() -> None:
    """The network failed: neither better nor worse is known."""
    gate = paused(throttled(7)).unanswered(after(20), probe=True)
    assert (pause_of(gate).level, pause_of(gate).until) == (1, after(27))
    assert pause_of(gate).since == NOW
    assert gate.unanswered(after(21), probe=False) == gate
    assert Gate().unanswered(NOW, probe=False) == Gate()


def test_a_401_pauses_for_the_probe_interval_each_time() -> None:
    """It does not grow: credentials may be corrected at any time."""
    gate = paused(REFUSED_401)
    again = gate.refused(REFUSED_401, after(61), probe=True)
    assert (pause_of(again).until, pause_of(again).level) == (after(121), 2)
    assert pause_of(again).since == NOW


def test_another_reason_begins_another_trouble() -> None:
    """A probe of a 429 that answers 401 starts from the first level, and says since when."""
    gate = paused(throttled(2)).refused(REFUSED_401, after(3), probe=True)
    assert pause_of(gate) == Pause(
        reason=Reason.UNAUTHORIZED, since=after(3), set_at=after(3), until=after(63), level=1
    )


def test_a_401_takes_over_a_pause_and_a_429_does_not() -> None:
    """Among stragglers the one that needs a person is shown; the later end counts."""
    taken = paused(throttled(300)).refused(REFUSED_401, after(1), probe=False)
    assert (pause_of(taken).reason, pause_of(taken).until) == (Reason.UNAUTHORIZED, after(300))
    kept = paused(REFUSED_401).refused(throttled(300), after(1), probe=False)
    assert (pause_of(kept).reason, pause_of(kept).until) == (Reason.UNAUTHORIZED, after(301))


def test_a_clock_that_went_back_ends_the_pause() -> None:
    """A pause set in the future is over, and does not stretch what comes next."""
    gate = paused(throttled(30))
    assert gate.room(after(-3600), in_flight=0) is Room.ONE
    renewed = gate.refused(throttled(2), after(-3600), probe=False)
    assert pause_of(renewed).until == after(-3598)


def test_a_hurried_gate_probes_without_the_wait() -> None:
    """Once; the next refusal waits again."""
    gate = paused(REFUSED_401).hurry()
    assert gate.room(after(1), in_flight=1) is Room.CLOSED
    assert gate.room(after(1), in_flight=0) is Room.ONE
    refused = gate.refused(REFUSED_401, after(1), probe=True)
    assert refused.room(after(2), in_flight=0) is Room.CLOSED
    assert Gate().hurry() == Gate()


class GateMachine(RuleBasedStateMachine):
    """Requests that begin as the gate allows and end in any way, under a clock that jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.now = NOW
        self.in_flight: list[bool] = []  # whether each is a probe

    @rule(seconds=st.floats(min_value=-4000, max_value=4000))
    def time_passes(self, seconds: float) -> None:
        """Or the clock is set, either way."""
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.gate.room(self.now, in_flight=len(self.in_flight)) != "closed")
    @rule()
    def begin(self) -> None:
        """Send a request where there is room."""
        room = self.gate.room(self.now, in_flight=len(self.in_flight))
        self.in_flight.append(room is Room.ONE)

    @precondition(lambda self: self.in_flight)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(["answered", "unanswered", "429", "401", "abandoned"]),
        wait=st.none() | st.floats(min_value=0, max_value=1e9),
    )
    def end(self, data: st.DataObject, outcome: str, wait: float | None) -> None:
        """One of those in flight ends in some way."""
        probe = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        before = self.gate
        if outcome == "answered":
            self.gate = before.answered(probe=probe)
            assert self.gate == (Gate() if probe else before)
        elif outcome == "unanswered":
            self.gate = before.unanswered(self.now, probe=probe)
        elif outcome != "abandoned":
            refusal = throttled(wait) if outcome == "429" else REFUSED_401
            self.gate = before.refused(refusal, self.now, probe=probe)
            assert pause_of(self.gate).until >= self.now
            if before.pause is not None and not probe:
                assert pause_of(self.gate).level <= before.pause.level

    @rule()
    def hurry(self) -> None:
        """Somebody asks for the probe now."""
        self.gate = self.gate.hurry()

    @invariant()
    def one_probe_at_most(self) -> None:
        """Two probes are never out together, and nothing follows one that is."""
        assert sum(self.in_flight) <= 1
        if any(self.in_flight) and self.gate.pause is not None:
            assert self.gate.room(self.now, in_flight=len(self.in_flight)) is Room.CLOSED

    @invariant()
    def no_wait_is_longer_than_its_bound(self) -> None:
        """Bound every wait, that of a Retry-After of a year included."""
        if self.gate.pause is not None:
            assert timedelta() <= self.gate.pause.wait <= timedelta(seconds=LONGEST_THROTTLE)

    @invariant()
    def never_stuck(self) -> None:
        """Once nothing is in flight, the end of the pause lets one through."""
        if self.gate.pause is not None:
            assert self.gate.room(self.gate.pause.until, in_flight=0) is Room.ONE


TestGateMachine = GateMachine.TestCase


@given(st.floats(min_value=-1e6, max_value=1e6))
def test_a_pause_holds_from_its_setting_to_its_end(seconds: float) -> None:
    """And at no other time."""
    pause = pause_of(paused(throttled(30)))
    assert pause.holds(after(seconds)) is (0 <= timedelta(seconds=seconds).total_seconds() < 30)


@given(
    st.integers(min_value=1, max_value=50),
    st.lists(st.floats(min_value=0, max_value=0.5), min_size=1, max_size=150),
)
def test_no_second_holds_more_than_one_request_too_many(rate: int, delays: list[float]) -> None:
    """However late each request is sent after it might be, counted over any second."""
    pace, now, sent = Pace.of(rate), 0.0, list[float]()
    for delay in delays:
        now += pace.wait(now) + delay
        pace = pace.taken(now)
        sent.append(now)
    for first in sent:
        assert sum(first <= moment <= first + 0.999 for moment in sent) <= rate + 1


@given(st.floats(min_value=0.01, max_value=1000))
def test_the_rate_is_reached(rate: float) -> None:
    """Who sends as soon as allowed sends at the rate."""
    pace, now = Pace.of(rate), 0.0
    for _ in range(100):
        now += pace.wait(now)
        pace = pace.taken(now)
    assert now == pytest.approx(98.5 / rate)


def test_the_first_request_waits_for_nothing() -> None:
    """Even on a machine that has just started its clock."""
    assert Pace.of(5).wait(0.0) == 0


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match="requests_per_second"):
        Pace.of(rate)
