"""Operations as clients may rely on them: sums, legal transitions, instants, repeatability."""

import math
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.simulator import (
    SCENARIOS,
    AlreadyEnded,
    Scenario,
    SimulatedOperation,
    SimulatorConfig,
    World,
)
from poller.simulator.formats import WELL_FORMED
from poller.simulator.kinds import KINDS
from tests.simulator.conftest import Clock

NOT_MESSAGES = {"total", "recipients", "attempts"}


def history(
    world: World, clock: Clock, operation: SimulatedOperation, steps: list[float]
) -> list[Any]:
    """Look at an operation after each step."""
    documents = [operation.document(clock())]
    for step in steps:
        clock.advance(step)
        found = world.find(operation.kind.name, operation.id)
        assert found is not None
        documents.append(found.document(clock()))
    return documents


@given(
    kind=st.sampled_from(sorted(KINDS)),
    fate=st.sampled_from(sorted(SCENARIOS)),
    recipients=st.integers(1, 10_000),
    speed=st.sampled_from([0.5, 1, 20, 3000]),
    wait=st.none() | st.integers(-10, 500),
    steps=st.lists(st.floats(0, 200), max_size=12),
    seed=st.integers(0, 5),
    group=st.none() | st.integers(1, 50),
)
def test_every_history_is_legal(
    *,
    kind: str,
    fate: str,
    recipients: int,
    speed: float,
    wait: int | None,
    steps: list[float],
    seed: int,
    group: int | None,
) -> None:
    """Counters add up, what ended stays ended, nothing returns to SCHEDULED, instants only grow."""
    clock = Clock()
    world = World(SimulatorConfig(seed=seed, speed=speed), clock=clock)
    scheduled_for = None
    if wait is not None and "SCHEDULED" in KINDS[kind].statuses:
        scheduled_for = clock() + timedelta(seconds=wait)
    size = group if KINDS[kind].conversations else None
    operation = world.send(
        recipients=recipients, fate=fate, kind=kind, scheduled_for=scheduled_for, group=size
    )
    seen = history(world, clock, operation, steps)
    for document in seen:
        stats = document["stats"]
        assert tuple(stats) == KINDS[kind].counters
        assert min(stats.values()) >= 0
        messages = [count for name, count in stats.items() if name not in NOT_MESSAGES]
        assert sum(messages) == stats["total"] == math.ceil(recipients / (size or 1))
        assert stats.get("recipients", recipients) == recipients
        assert document["status"] in KINDS[kind].statuses
    for before, after in pairwise(seen):
        assert before["updatedAt"] <= after["updatedAt"]
        if before["status"] != after["status"]:
            assert after["status"] != "SCHEDULED"
            assert before["status"] in {"SCHEDULED", "PROCESSING"}
            assert before["updatedAt"] < after["updatedAt"] or speed > 1
        if before["updatedAt"] == after["updatedAt"] and speed == 1:
            assert before == after


@given(recipients=st.integers(1, 3000), at=st.floats(0, 400), steps=st.lists(st.floats(0, 100)))
def test_a_canceled_operation_sends_nothing_more(
    recipients: int, at: float, steps: list[float]
) -> None:
    """After a cancellation the status and `canceled` stay; only receipts and fallbacks move."""
    clock = Clock()
    world = World(SimulatorConfig(), clock=clock)
    operation = world.send(recipients=recipients)
    clock.advance(at)
    if operation.status(clock()) == "COMPLETED":
        with pytest.raises(AlreadyEnded):
            world.cancel(operation.id)
        return
    canceled = world.cancel(operation.id)
    first, *later = history(world, clock, canceled, steps)
    assert first["status"] == "CANCELED"
    assert first["stats"]["queued"] == 0
    for document in later:
        assert document["status"] == "CANCELED"
        for name in ("canceled", "failed", "total"):
            assert document["stats"][name] == first["stats"][name]
        assert document["stats"]["attempts"] >= first["stats"]["attempts"]


def test_a_scheduled_operation_waits_and_can_be_canceled(clock: Clock) -> None:
    """It is SCHEDULED until its time, then PROCESSING; canceled before, it never sends."""
    world = World(SimulatorConfig(), clock=clock)
    later = clock() + timedelta(hours=1)
    first, second = (world.send(recipients=10, scheduled_for=later) for _ in range(2))
    clock.advance(1800)
    document = first.document(clock())
    assert document["status"] == "SCHEDULED"
    assert document["stats"]["scheduled"] == 10
    assert document["updatedAt"] == document["createdAt"]
    canceled = world.cancel(second.id).document(clock())
    assert canceled["status"] == "CANCELED"
    assert canceled["stats"]["canceled"] == 10
    assert canceled["updatedAt"] == "2026-11-22T10:30:00.000Z"
    clock.advance(1800)
    document = first.document(clock())
    assert document["status"] == "PROCESSING"
    assert document["updatedAt"] == "2026-11-22T11:00:00.000Z"


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_recipients_take_a_minute_or_two(clock: Clock, seed: int) -> None:
    """At speed 1 a send of 1,000 is processed after one to two minutes, receipts a bit later."""
    world = World(SimulatorConfig(seed=seed), clock=clock)
    operation = world.send(recipients=1000)
    clock.advance(55)
    assert operation.status(clock()) == "PROCESSING"
    clock.advance(65)
    document = operation.document(clock())
    assert document["status"] == "COMPLETED"
    clock.advance(100)
    stats = operation.document(clock())["stats"]
    assert stats["queued"] == stats["sent"] == 0
    assert stats["read"] == 300


def test_receipts_move_after_the_end(clock: Clock) -> None:
    """COMPLETED means processed: some messages are still only sent, and move on."""
    world = World(SimulatorConfig(), clock=clock)
    operation = world.send(recipients=1000)
    while operation.status(clock()) != "COMPLETED":
        clock.advance(0.5)
    before = operation.document(clock())
    assert before["stats"]["sent"] > 0
    clock.advance(30)
    after = operation.document(clock())
    assert after["stats"]["sent"] < before["stats"]["sent"]
    assert after["updatedAt"] > before["updatedAt"]


def test_speed_shortens_and_keeps_the_clock(clock: Clock) -> None:
    """Twenty times as fast, a send ends in a twentieth of the time, by the same clock."""
    world = World(SimulatorConfig(speed=20), clock=clock)
    operation = world.send(recipients=1000)
    clock.advance(6)
    document = operation.document(clock())
    assert document["status"] == "COMPLETED"
    assert document["createdAt"] < document["updatedAt"] <= "2026-11-22T10:00:06.000Z"


def test_the_same_seed_repeats(clock: Clock) -> None:
    """Ids and fates follow from the seed and the order of sends; another seed has others."""

    def run(seed: int) -> list[Any]:
        world = World(SimulatorConfig(seed=seed), clock=clock)
        sent = [world.send(recipients=200, kind=kind) for kind in KINDS for _ in range(3)]
        return [each.document(clock() + timedelta(seconds=9)) for each in sent]

    assert run(1) == run(1)
    assert not {each["id"] for each in run(1)} & {each["id"] for each in run(2)}
    assert all(WELL_FORMED.fullmatch(each["id"]) for each in run(3))


def test_records_vanish_after_seven_days(clock: Clock) -> None:
    """An older operation is not found, not listed, and forgotten at the next send."""
    world = World(SimulatorConfig(), clock=clock)
    old = world.send(recipients=1)
    clock.advance(7 * 86400)
    assert world.find("messages", old.id) is not None
    clock.advance(1)
    assert world.find("messages", old.id) is None
    assert list(world.newest_first("messages")) == []
    new = world.send(recipients=1)
    assert list(world.newest_first("messages")) == [new]
    with pytest.raises(KeyError):
        world.cancel(old.id)


@pytest.mark.parametrize(
    "wrong", [{"recipients": 0}, {"recipients": 10_001}, {"fate": "no"}, {"kind": "no"}]
)
def test_a_wrong_send_is_refused(clock: Clock, wrong: dict[str, Any]) -> None:
    """What cannot be sent says why."""
    with pytest.raises(ValueError, match=r"recipients|fate|kind"):
        World(SimulatorConfig(), clock=clock).send(**{"recipients": 1, **wrong})


@pytest.mark.parametrize("wrong", [{"failed": 1.5}, {"canceled_at": 1.0}, {"seconds": 0.0}])
def test_an_impossible_fate_is_refused(wrong: dict[str, Any]) -> None:
    """A scenario whose shares do not fit, or that ends before it begins, is refused."""
    with pytest.raises(ValueError, match=r"share|canceled_at|seconds"):
        Scenario(**wrong)
